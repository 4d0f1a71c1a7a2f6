"""`verify`: compares every file of a store with its digest, and those of its indexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vision_recs import indexes
from vision_recs import store as stores
from vision_recs.errors import StoreDamaged
from vision_recs.store.layout import read_current, read_manifest
from vision_recs.store.verification import MENDED, RECLAIMED, with_remedy


def verify(store: str | Path = ".visrec") -> Iterator[str]:
    """Yield a sentence for each file of *store*, indexes included, that is missing or altered, and what helps.

    Raises StoreNotFound where there is no store, UnknownFormat for one of a newer visrec.
    """
    yield from stores.verify(store)
    layout = stores.Layout(Path(store))
    used = _published(layout)
    for folder in sorted(layout.indexes.glob("*")):
        is_used = used is not None and folder == layout.index_of(used)
        remedy = MENDED if is_used else RECLAIMED
        problems = indexes.verify(folder)
        yield from (with_remedy(problem, remedy) for problem in problems)
        if used is not None and is_used and not problems and not _fits(used, folder):
            yield with_remedy(f"{folder} was not made from the generation that {layout.current} says", remedy)


def _published(layout: stores.Layout) -> stores.Manifest | None:
    try:
        return read_manifest(layout, *read_current(layout))
    except StoreDamaged:
        return None


def _fits(manifest: stores.Manifest, folder: Path) -> bool:
    """Return whether the index in *folder* has as many vectors as the generation of *manifest* has without what waits.

    Vectors that are dead in the index count.
    """
    index, pending = indexes.base.read_manifest(folder), manifest.index_pending
    vectors = sum(shard.in_use for shard in manifest.shards) - pending.added_count + pending.removed_count
    expected = manifest.index_type, manifest.space, manifest.index_generation, vectors
    return (index.type, index.space, index.generation, index.vectors) == expected

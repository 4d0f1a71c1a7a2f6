"""`verify`: compares every file of a store with its digest, and those of its indexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vision_recs import indexes
from vision_recs import store as stores
from vision_recs.errors import SpaceMismatch, StoreDamaged, StoreError, StoreUnavailable
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store.bucket.pushing import bucket_problems
from vision_recs.store.layout import read_current, read_manifest
from vision_recs.store.partitions import Partition, Stores, store_folders
from vision_recs.store.verification import MENDED, RECLAIMED, with_remedy


def verify(store: Stores = ".visrec") -> Iterator[str]:
    """Yield a sentence for each file of *store*, indexes included, that is missing or altered, and what helps.

    Of a partition of a catalog, the items have to be its own. Of several stores, each is verified, and whether they can
    answer as one. Raises StoreNotFound where there is no store, UnknownFormat for one of a newer visrec.
    """
    folders = store_folders(store)
    for folder in folders:
        yield from _verify_one(folder)
    if len(folders) > 1:
        try:
            OpenedStores.open(folders).close()
        except (StoreDamaged, StoreUnavailable):
            pass  # which is said above
        except (StoreError, SpaceMismatch) as error:
            yield str(error)


def _verify_one(store: Path) -> Iterator[str]:
    yield from bucket_problems(store)
    yield from stores.verify(store)
    layout = stores.Layout(store)
    used = _published(layout)
    if used is not None and used.partition is not None:
        yield from _strangers(store, Partition(*used.partition))
    for folder in sorted(layout.indexes.glob("*")):
        is_used = used is not None and folder == layout.index_of(used)
        remedy = MENDED if is_used else RECLAIMED
        problems = indexes.verify(folder)
        yield from (with_remedy(problem, remedy) for problem in problems)
        if used is not None and is_used and not problems and not _fits(used, folder):
            yield with_remedy(f"{folder} was not made from the generation that {layout.current} says", remedy)


def _strangers(store: Path, partition: Partition) -> Iterator[str]:
    """Yield a sentence if an item of *store* does not belong to *partition*."""
    try:
        with stores.Store.open(store) as opened:
            ids = (item for page in opened.items.pages_of_ids() for item in page)
            stranger = next((item for item in ids if not partition.has(item)), None)
    except StoreDamaged:
        return  # which is said already
    if stranger is not None:
        yield f"{store} is {partition}, but has the item {stranger!r} of another one; run `visrec index` again"


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

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
    used = _index_in_use(layout)
    for folder in sorted(layout.indexes.glob("*")):
        remedy = MENDED if folder == used else RECLAIMED
        yield from (with_remedy(problem, remedy) for problem in indexes.verify(folder))


def _index_in_use(layout: stores.Layout) -> Path | None:
    try:
        return layout.index_of(read_manifest(layout, *read_current(layout)))
    except StoreDamaged:
        return None

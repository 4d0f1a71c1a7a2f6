"""`verify`: compares every file of a store with its digest, and those of its indexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vision_recs import indexes
from vision_recs import store as stores


def verify(store: str | Path = ".visrec") -> Iterator[str]:
    """Yield a sentence for each file of *store*, indexes included, that is missing or altered.

    Raises StoreNotFound where there is no store, UnknownFormat for one of a newer visrec.
    """
    yield from stores.verify(store)
    for folder in sorted(stores.Layout(Path(store)).indexes.glob("*")):
        yield from indexes.verify(folder)

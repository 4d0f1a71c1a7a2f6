"""The part of a catalog that one store gets, where the catalog is split into several stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from vision_recs.errors import StoreError
from vision_recs.jobs.options import IndexOptions
from vision_recs.store import Writer
from vision_recs.store.partitions import Partition, listed_partition, no_store, split_of
from vision_recs.types import Catalog, ImageSource, Item

LeaveOut: TypeAlias = Callable[[tuple[str, str, str, str]], None]
"""What is told of a row or value that is not among the items: its item and image, a reason and a sentence."""


class CatalogPart:
    """The items of a catalog that belong to one partition: a `Catalog`."""

    def __init__(self, catalog: Catalog, partition: Partition) -> None:
        """Have the items of *catalog* in *partition*."""
        self._catalog = catalog
        self._partition = partition

    @property
    def location(self) -> str:
        """The path of the whole catalog."""
        return self._catalog.location

    @property
    def root(self) -> str:
        """The folder that image references are relative to."""
        return self._catalog.root

    @property
    def images(self) -> ImageSource:
        """What reads the images of the items."""
        return self._catalog.images

    def __iter__(self) -> Iterator[Item]:
        """Yield each item of the partition once, in the order of the catalog."""
        return self._of_partition(self._catalog)

    def read_items(self, leave_out: LeaveOut) -> Iterator[Item]:
        """Do what iterating does, and tell *leave_out* of what the catalog leaves out of the partition."""
        read = getattr(self._catalog, "read_items", None)  # which catalogs of visrec have

        def leave_out_own(each: tuple[str, str, str, str]) -> None:
            if self._partition.has(each[0]):
                leave_out(each)

        return self._of_partition(self._catalog if read is None else read(leave_out_own))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what catalogs of visrec tell beyond the protocol
        """Return what the whole catalog says."""
        return getattr(self._catalog, name)

    def _of_partition(self, items: Iterable[Item]) -> Iterator[Item]:
        return (item for item in items if self._partition.has(item.id))


def partition_count(store: Path, options: IndexOptions) -> int | None:
    """Return into how many partitions the catalog is split that *options* index into the folder *store*; None for one.

    Raises StoreError where the folder holds a store that is not split, and StoreNotFound where it is that of a
    partition which is not there: a store that was made in it without a word would have the items of all.
    """
    if listed_partition(store) is not None and not (store / "CURRENT").exists():
        raise no_store(store)
    wanted = options.partition.count if options.partition is not None else options.partitions
    if wanted is None:
        return split_of(store)
    if (store / "CURRENT").exists():
        raise StoreError(f"{store} holds a store that is not split; split the catalog into another folder")
    return wanted


def partition_of(writer: Writer, wanted: Partition | None) -> Partition | None:
    """Return the partition of the store of *writer*: what its last generation has, or *wanted* for a new store.

    Raises StoreError where the two differ.
    """
    if writer.base is None:
        return wanted
    has = writer.base.manifest.partition
    known = None if has is None else Partition(*has)
    if wanted is not None and wanted != known:
        raise StoreError(
            f"{writer.layout.root} holds {known or 'a whole catalog'}, not {wanted}; index into another folder"
        )
    return known

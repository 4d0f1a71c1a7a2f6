"""Several stores, opened to be answered from as one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Self

from vision_recs.indexes.base import open_published
from vision_recs.recommend.partitions import PartitionedIndex, PartitionedItems, require_partitions
from vision_recs.store import Store
from vision_recs.store.partitions import Stores, store_folders
from vision_recs.types import ImageSource

if TYPE_CHECKING:  # a query without a filter imports no filters
    from vision_recs.filters import Filter


class OpenedStores:
    """The published generations of several *stores*, which have no item in common. Close it when nobody asks it."""

    def __init__(self, stores: Sequence[Store]) -> None:
        """Answer from *stores*; raises SpaceMismatch, and StoreError where they are not all, or have items in common.

        They are closed with this.
        """
        self.stores = tuple(stores)
        self.items = PartitionedItems(self.stores)
        require_partitions(self.stores)

    @classmethod
    def open(cls, stores: Stores, *, images: ImageSource | None = None) -> OpenedStores:
        """Open all that *stores* name; see `Store.open` for *images*. Raises as `__init__`."""
        with ExitStack() as opened:
            several = cls([opened.enter_context(Store.open(each, images=images)) for each in store_folders(stores)])
            opened.pop_all()
        return several

    def __enter__(self) -> Self:
        """Return itself; it is closed at the end of the `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the stores."""
        self.__dict__.pop("index", None)  # whose files are open as long as it is there
        for store in self.stores:
            store.close()

    @cached_property
    def index(self) -> PartitionedIndex:
        """The published indexes of all stores."""
        return PartitionedIndex(self.items, [open_published(store) for store in self.stores])

    def pin(self) -> None:
        """Open every file now, so that nobody can remove one before it is needed."""
        for store in self.stores:
            store.pin()

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text that *where* looks for and no item has, with the nearest one that one has."""
        from vision_recs.store.attributes.suggestions import unknown_values

        return list(unknown_values(where, [each for store in self.stores for each in store.attribute_columns()]))

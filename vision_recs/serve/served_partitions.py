"""The items of several stores, served as those of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vision_recs.recommend.partitions import PartitionedItems
from vision_recs.serve.cached_items import CachedItems

if TYPE_CHECKING:
    from vision_recs.filters import Filter


class ServedPartitions(PartitionedItems):
    """The items of several stores together, with what only a server asks for."""

    def __init__(self, partitions: Sequence[CachedItems]) -> None:
        """Join *partitions*, two at least; raises SpaceMismatch where their vectors cannot be compared."""
        super().__init__(partitions)
        self._cached = tuple(partitions)

    def ids_where(self, where: Filter) -> Iterator[str]:
        """Yield the id of each item that matches *where* once, store by store; raises FilterError."""
        from vision_recs.filters.folding import fold

        where.check(self.attribute_types())
        for part in self._cached:
            folded = fold(where, part.attribute_types())
            if folded is True:
                yield from part.ids()
            elif folded is not False:
                yield from part.ids_where(folded)

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text that *where* looks for and no item has, with the nearest one that one has."""
        from vision_recs.store.attributes.suggestions import unknown_values

        return list(unknown_values(where, [each for part in self._cached for each in part.attribute_columns()]))

    def image_with(self, digest: str) -> str | None:
        """Return the reference of an image whose bytes have *digest*, or None where no item shows one."""
        return next((found for part in self._cached if (found := part.image_with(digest)) is not None), None)

"""The items of one generation as arrays: what a job over all of them works on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.candidates import Group, group_of
from vision_recs.store import Store, StoredRow
from vision_recs.types import Match

if TYPE_CHECKING:  # most jobs have no filter
    from vision_recs.filters import Filter

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Inventory:
    """Items by number, in the order of their ids, and rows by number, by id, then by image.

    Row r shows the vector at positions[r] as images[r], and belongs to the item item_of[r]. The rows of the item i
    are those from starts[i] to starts[i + 1].
    """

    ids: list[str]
    starts: NDArray[np.int64]
    item_of: NDArray[np.int64]
    positions: NDArray[np.int64]
    images: list[str]

    @classmethod
    def of(cls, store: Store) -> Inventory:
        """Read the rows of *store*; raises StoreDamaged."""
        rows = sorted((row.id, row.image, row.position) for row in _rows(store))
        ids = sorted({item for item, _, _ in rows})
        number_of = {item: number for number, item in enumerate(ids)}
        item_of = np.array([number_of[item] for item, _, _ in rows], dtype=np.int64)
        return cls(
            ids,
            np.searchsorted(item_of, np.arange(len(ids) + 1)),
            item_of,
            np.array([position for _, _, position in rows], dtype=np.int64),
            [image for _, image, _ in rows],
        )

    def row(self, match: Match) -> int:
        """Return the row of *match*."""
        item = bisect_left(self.ids, match.id)
        return bisect_left(self.images, match.image, int(self.starts[item]), int(self.starts[item + 1]))

    def rows_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of *items*, item by item."""
        return ranges(self.starts[items], self.starts[items + 1])


@dataclass(frozen=True, slots=True)
class Traits:
    """What the attributes of items say: which of them match each of some filters, and the group of each.

    Items of the same group have the same number in *groups*; an item without a group is one by itself.
    """

    matches: tuple[NDArray[np.bool_], ...]
    groups: NDArray[np.int64]

    @classmethod
    def of(cls, store: Store, inventory: Inventory, filters: Sequence[Filter | None], one_per: str | None) -> Traits:
        """Test the items of *inventory* by *filters*, of which None matches all, and group them by *one_per*.

        Raises FilterError for a filter that does not fit the attributes of *store*.
        """
        count = len(inventory.ids)
        matches = tuple(np.ones(count, dtype=np.bool_) for _ in filters)
        groups = np.arange(count)
        for where in filters:
            if where is not None:
                where.check(store.attribute_types())
        if not any(filters) and one_per not in store.attribute_types():
            return cls(matches, groups)
        first_of: dict[Group, int] = {}
        for number, (_, attributes) in enumerate(store.items.all_attributes()):
            for mask, where in zip(matches, filters, strict=True):
                mask[number] = where is None or where.matches(attributes)
            group = group_of(attributes, one_per)
            if group is not None:
                groups[number] = first_of.setdefault(group, number)
        return cls(matches, groups)


def ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers from each of *starts* up to the one of *stops* in the same place, one range after another."""
    lengths = stops - starts
    begins = np.cumsum(lengths) - lengths
    numbers: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(starts - begins, lengths)
    return numbers


def _rows(store: Store) -> Iterator[StoredRow]:
    last: StoredRow | None = None
    while rows := store.items.rows_after(last, _AT_ONCE):
        yield from rows
        last = rows[-1]

"""The items of one generation as arrays: the input of a job over the whole catalog."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Group, group_of
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import Match

if TYPE_CHECKING:  # most jobs have no filter
    from vision_recs.filters import Filter


@dataclass(frozen=True, slots=True)
class ItemArrays:
    """The items of a store, numbered in the order of their ids, and their images as rows.

    Rows are sorted by id, then by image. Row r is the image `images[r]` of the item number `item_of[r]`, and its vector
    is at `positions[r]` of the store. The rows of item i are `starts[i]` to `starts[i + 1]`.
    """

    ids: list[str]
    starts: NDArray[np.int64]
    item_of: NDArray[np.int64]
    positions: NDArray[np.int64]
    images: list[str]

    @classmethod
    def of(cls, store: WholeItems) -> ItemArrays:
        """Read the rows of *store*; raises StoreDamaged."""
        rows = sorted((row.id, row.image, row.position) for row in store.stored_rows())
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
        """Return the row of the image of *match*; raises StoreDamaged where no item has that id."""
        item = bisect_left(self.ids, match.id)
        if item == len(self.ids) or self.ids[item] != match.id:
            raise StoreDamaged(f"the item {match.id!r} was found, but has no images; run `visrec verify`")
        return bisect_left(self.images, match.image, int(self.starts[item]), int(self.starts[item + 1]))

    def rows_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of *items*, item by item."""
        return ranges(self.starts[items], self.starts[items + 1])


def masks_and_groups(
    store: WholeItems, arrays: ItemArrays, filters: Sequence[Filter | None], one_per: str | None
) -> tuple[list[NDArray[np.bool_]], NDArray[np.int64]]:
    """Return a mask over the items for each of *filters*, and the group number of each item by *one_per*.

    A filter that is None matches every item. Items with an equal value of the attribute *one_per* have the same group
    number; an item without a value is a group of its own. The attributes are read once for all filters. Raises
    FilterError for a filter that does not fit the attributes of *store*.
    """
    count = len(arrays.ids)
    masks = [np.ones(count, dtype=np.bool_) for _ in filters]
    groups = np.arange(count)
    for where in filters:
        if where is not None:
            where.check(store.attribute_types())
    if not any(filters) and one_per not in store.attribute_types():
        return masks, groups
    first_of: dict[Group, int] = {}
    for number, (item, attributes) in enumerate(store.all_attributes()):
        if number == count or item != arrays.ids[number]:
            raise StoreDamaged(f"the items and the images of {store.place} do not fit together; run `visrec verify`")
        for mask, where in zip(masks, filters, strict=True):
            mask[number] = where is None or where.matches(attributes, item)
        group = group_of(attributes, one_per)
        if group is not None:
            groups[number] = first_of.setdefault(group, number)
    return masks, groups


def ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers from starts[i] up to, not including, stops[i], for one i after another.

    `ranges([3, 10], [5, 12])` is `[3, 4, 10, 11]`.
    """
    lengths = stops - starts
    begins = np.cumsum(lengths) - lengths
    numbers: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(starts - begins, lengths)
    return numbers

"""Which items show which image, and the pairs of items that are alike, by their best pair of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.duplicates.report import Looked, Placeholder
from vision_recs.batch.item_arrays import ItemArrays, ranges
from vision_recs.errors import TooManyPairs
from vision_recs.knn_join import KnnJoin, Nearest, Pairs
from vision_recs.types import VectorReader

_MOST = 20_000_000
"""Pairs of items in memory, of 36 bytes each."""

_DEPTH = 8
"""How many times as many images as an item has are looked at, so that variants do not hide the other items."""


@dataclass(frozen=True)
class ImageUsage:
    """The images of a catalog, by their bytes, and the rows that show each of them.

    Image p is at `positions[p]` of the store, and the rows `rows[starts[p]:starts[p + 1]]` show it, ascending. An image
    that is a placeholder is not among these; *placeholders* has the rows of each one. `groups[i]` is the group of item
    i.
    """

    arrays: ItemArrays
    groups: NDArray[np.int64]
    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    placeholders: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, arrays: ItemArrays, groups: NDArray[np.int64], *, placeholder: int) -> ImageUsage:
        """Sort the rows of *arrays* by image; what *placeholder* or more groups show is a placeholder."""
        order = np.argsort(arrays.positions, kind="stable")
        positions, counts = np.unique(arrays.positions, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(counts)])
        is_placeholder = np.zeros(len(positions), dtype=np.bool_)
        for image in np.flatnonzero(counts >= placeholder).tolist():
            group_of = groups[arrays.item_of[order[starts[image] : starts[image + 1]]]]
            is_placeholder[image] = len(np.unique(group_of)) >= placeholder
        kept = np.flatnonzero(~is_placeholder)
        return cls(
            arrays,
            groups,
            positions[kept],
            np.concatenate([[0], np.cumsum(counts[kept])]),
            order[ranges(starts[kept], starts[kept + 1])],
            tuple(order[starts[p] : starts[p + 1]] for p in np.flatnonzero(is_placeholder).tolist()),
        )

    @cached_property
    def compared(self) -> frozenset[int]:
        """The positions of all images but placeholders."""
        return frozenset(self.positions.tolist())

    def named_placeholders(self) -> tuple[Placeholder, ...]:
        """Return the placeholders, with those that most items show first."""
        arrays = self.arrays
        found = [
            Placeholder(
                arrays.images[rows[0]], tuple(arrays.ids[item] for item in np.unique(arrays.item_of[rows]).tolist())
            )
            for rows in self.placeholders
        ]
        return tuple(sorted(found, key=lambda placeholder: (-len(placeholder.items), placeholder.image)))


class ItemPairs(NamedTuple):
    """Pairs of items, each pair once, sorted by *one*, then by *other*; *one* is below *other*.

    *one_row* and *other_row* are the rows of the two images that are most alike.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    scores: NDArray[np.float32]
    one_row: NDArray[np.int64]
    other_row: NDArray[np.int64]

    def triples(self) -> Iterator[tuple[int, int, float]]:
        """Yield (one, other, score)."""
        return zip(self.one.tolist(), self.other.tolist(), self.scores.tolist(), strict=True)

    def among(self, items: Sequence[int]) -> list[int]:
        """Return the places of the pairs of *items*, which are ascending; every two of them are a pair."""
        places = []
        for one, other in combinations(items, 2):
            start, stop = np.searchsorted(self.one, [one, one + 1]).tolist()
            places.append(start + int(np.searchsorted(self.other[start:stop], other)))
        return places


def nearest_images(images: VectorReader, usage: ImageUsage, *, device: str = "auto") -> Nearest:
    """Return the nearest images of every image of *usage*, by its number there; an image is among its own."""
    depth = _DEPTH * (1 + len(usage.rows) // max(1, len(usage.arrays.ids)))
    bands = list(KnnJoin(images, usage.positions, usage.positions, device=device).nearest(depth))
    return Nearest(0, *(np.concatenate([each[part] for each in bands]) for part in (1, 2)))


def alike_items(usage: ImageUsage, alike: Iterable[Pairs], progress: Looked) -> ItemPairs:
    """Return the pairs of items that show *alike* images, and those that show the same bytes.

    Two items of one group are a pair by the same bytes only. Raises TooManyPairs for more than 20,000,000 pairs.
    """
    found = [_same_bytes(usage)]
    count = len(found[0].one)
    for pairs in alike:
        found.append(_alike_images(usage, pairs))
        count += len(found[-1].one)
        if count > _MOST:
            raise TooManyPairs(f"more than {_MOST:,} pairs of items are alike; raise the threshold")
        progress(pairs.done, len(usage.positions))
    return _best(ItemPairs(*(np.concatenate(part) for part in zip(*found, strict=True))))


def _same_bytes(usage: ImageUsage) -> ItemPairs:
    """Return the pairs of items that show an image of the same bytes."""
    rows = [
        pair
        for image in np.flatnonzero(np.diff(usage.starts) > 1).tolist()
        for pair in combinations(usage.rows[usage.starts[image] : usage.starts[image + 1]].tolist(), 2)
    ]
    one, other = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return _of_rows(usage, one, other, np.ones(len(rows), dtype=np.float32))


def _alike_images(usage: ImageUsage, pairs: Pairs) -> ItemPairs:
    """Return the pairs of items of different groups that show the *pairs* of images."""
    starts, counts = usage.starts, np.diff(usage.starts)
    # Each image of a pair is shown by some rows: the pair becomes one of each row with each row.
    ones = ranges(starts[pairs.one], starts[pairs.one + 1])
    which = np.repeat(np.arange(len(pairs.one)), counts[pairs.one])
    others = ranges(starts[pairs.other[which]], starts[pairs.other[which] + 1])
    times = counts[pairs.other[which]]
    one, other = usage.rows[np.repeat(ones, times)], usage.rows[others]
    scores = np.repeat(pairs.scores[which], times)
    groups = usage.groups[usage.arrays.item_of]
    differ = groups[one] != groups[other]
    return _of_rows(usage, one[differ], other[differ], scores[differ])


def _of_rows(
    usage: ImageUsage, one: NDArray[np.int64], other: NDArray[np.int64], scores: NDArray[np.float32]
) -> ItemPairs:
    """Return the best pair of rows for each pair of different items."""
    item_of = usage.arrays.item_of
    is_turned = item_of[one] > item_of[other]
    first, second = np.where(is_turned, other, one), np.where(is_turned, one, other)
    pairs = ItemPairs(item_of[first], item_of[second], scores, first, second)
    return _best(ItemPairs(*(part[pairs.one != pairs.other] for part in pairs)))


def _best(pairs: ItemPairs) -> ItemPairs:
    """Return the best of *pairs* of the same items; of equal scores, the one with the lowest rows."""
    order = np.lexsort((pairs.other_row, pairs.one_row, -pairs.scores, pairs.other, pairs.one))
    one, other = pairs.one[order], pairs.other[order]
    is_first = np.append(True, (one[1:] != one[:-1]) | (other[1:] != other[:-1]))[: len(order)]
    return ItemPairs(*(part[order[is_first]] for part in pairs))

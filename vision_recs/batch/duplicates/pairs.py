"""Pairs of items that are alike, by their best pair of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.duplicates.image_usage import Showing
from vision_recs.batch.duplicates.report import Progress
from vision_recs.batch.item_arrays import ranges
from vision_recs.errors import VisionRecsError
from vision_recs.knn_join import AllPairs, Pairs, pairs_above
from vision_recs.store import Store

_MOST = 20_000_000  # pairs in memory, of 36 bytes each
_ASKED = 4_000  # items whose nearest other ones show how alike items usually are
_DEEP = 8  # times as many images as items have are looked at for that, so that variants do not hide the others


class ItemPairs(NamedTuple):
    """Pairs of items by number, each once, *one* below *other*, ascending; the rows by which they are most alike."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    scores: NDArray[np.float32]
    one_row: NDArray[np.int64]
    other_row: NDArray[np.int64]

    def triples(self) -> Iterator[tuple[int, int, float]]:
        """Yield (one, other, score)."""
        return zip(self.one.tolist(), self.other.tolist(), self.scores.tolist(), strict=True)

    def among(self, items: Sequence[int]) -> list[int]:
        """Return where the pairs of *items*, ascending, stand, of which every two are a pair."""
        places = []
        for one, other in combinations(items, 2):
            start, stop = np.searchsorted(self.one, [one, one + 1]).tolist()
            places.append(start + int(np.searchsorted(self.other[start:stop], other)))
        return places


def alike_items(
    store: Store, showing: Showing, threshold: float, *, device: str = "auto", progress: Progress
) -> ItemPairs:
    """Return the pairs of items with a score of at least *threshold*, and those that show the same bytes.

    Two items of one group are a pair by the same bytes only. Raises VisionRecsError for more than can be grouped.
    """
    found = [_by_bytes(showing)]
    count = len(found[0].one)
    for pairs in pairs_above(store, showing.positions, threshold, device=device):
        found.append(_by_looks(showing, pairs))
        count += len(found[-1].one)
        if count > _MOST:
            raise VisionRecsError(
                f"more than {_MOST:,} pairs of items are alike at a threshold of {threshold}; raise it"
            )
        progress(pairs.done, len(showing.positions))
    return _best(ItemPairs(*(np.concatenate(part) for part in zip(*found, strict=True))))


def usual_scores(store: Store, showing: Showing, *, device: str = "auto") -> NDArray[np.float32]:
    """Return the scores of some items, spread over all, with the nearest item of another group."""
    inventory = showing.inventory
    items = np.unique(inventory.item_of[showing.rows])
    items = items[np.linspace(0, len(items) - 1, min(_ASKED, len(items))).astype(np.int64)]
    is_asking = np.isin(inventory.item_of[showing.rows], items)
    images = np.repeat(np.arange(len(showing.positions)), np.diff(showing.starts))[is_asking]
    owners = inventory.item_of[showing.rows[is_asking]]
    asking, places = np.unique(images, return_inverse=True)
    deep = _DEEP * (1 + len(showing.rows) // max(1, len(inventory.ids)))
    near = AllPairs(store, showing.positions[asking], showing.positions, device=device)
    lists = list(near.nearest(deep))
    columns, scores = (np.concatenate([each[part] for each in lists])[places] for part in (1, 2))
    shown_by = showing.groups[inventory.item_of[showing.rows[showing.starts[columns]]]]
    others = np.where(shown_by == showing.groups[owners][:, None], -np.inf, scores).max(axis=1, initial=-np.inf)
    best = np.full(len(inventory.ids), -np.inf, dtype=np.float32)
    np.maximum.at(best, owners, others)
    return best[np.isfinite(best)]


def _by_bytes(showing: Showing) -> ItemPairs:
    """Return the pairs of items that show an image of the same bytes."""
    rows = [
        pair
        for image in np.flatnonzero(np.diff(showing.starts) > 1).tolist()
        for pair in combinations(showing.rows[showing.starts[image] : showing.starts[image + 1]].tolist(), 2)
    ]
    one, other = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return _of_rows(showing, one, other, np.ones(len(rows), dtype=np.float32))


def _by_looks(showing: Showing, pairs: Pairs) -> ItemPairs:
    """Return the pairs of items of different groups that the *pairs* of images make."""
    starts, counts = showing.starts, np.diff(showing.starts)
    # Each image of a pair is shown by some rows: the pair becomes one of each row with each row.
    ones = ranges(starts[pairs.one], starts[pairs.one + 1])
    which = np.repeat(np.arange(len(pairs.one)), counts[pairs.one])
    others = ranges(starts[pairs.other[which]], starts[pairs.other[which] + 1])
    times = counts[pairs.other[which]]
    one, other = showing.rows[np.repeat(ones, times)], showing.rows[others]
    scores = np.repeat(pairs.scores[which], times)
    groups = showing.groups[showing.inventory.item_of]
    differ = groups[one] != groups[other]
    return _of_rows(showing, one[differ], other[differ], scores[differ])


def _of_rows(
    showing: Showing, one: NDArray[np.int64], other: NDArray[np.int64], scores: NDArray[np.float32]
) -> ItemPairs:
    """Return the best pair of rows of each pair of different items."""
    item_of = showing.inventory.item_of
    is_turned = item_of[one] > item_of[other]
    first, second = np.where(is_turned, other, one), np.where(is_turned, one, other)
    pairs = ItemPairs(item_of[first], item_of[second], scores, first, second)
    return _best(ItemPairs(*(part[pairs.one != pairs.other] for part in pairs)))


def _best(pairs: ItemPairs) -> ItemPairs:
    """Return the best of *pairs* of the same items, equal ones by their rows."""
    order = np.lexsort((pairs.other_row, pairs.one_row, -pairs.scores, pairs.other, pairs.one))
    one, other = pairs.one[order], pairs.other[order]
    is_first = np.append(True, (one[1:] != one[:-1]) | (other[1:] != other[:-1]))[: len(order)]
    return ItemPairs(*(part[order[is_first]] for part in pairs))

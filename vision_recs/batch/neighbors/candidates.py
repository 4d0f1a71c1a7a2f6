"""Candidate generation: from the hits of query vectors to the best rows for each item.

This is what `recommend.retrieve` does for one query, done for many items at once: rows by falling score, then by id
and image; no row of the query item or of a variant of it; each item and each group of variants once; the bytes of an
image once, unless there is a filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import ItemArrays, ranges
from vision_recs.batch.neighbors.retrieve import Hits, Retriever, TargetVectors, query_positions
from vision_recs.knn_join.keys import Keys, best_of_each, pack, require_countable, unpack

_ITEMS = 4_096
"""Items that are worked on at once."""

_WIDER = 4
"""The factor by which a search is made wider for an item that has too few candidates."""

_CELLS = 1 << 24
"""Hits in memory at a time for items that need a wider search."""


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """The candidates of some items, best first: items[i] has the rows `rows[starts[i]:starts[i + 1]]` with *scores*."""

    items: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many candidates each item has."""
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class CandidateGenerator:
    """Finds up to *count* candidates for each item, at most one of each group and none with a score below *min_score*.

    `groups[i]` is the group of item i, which has no candidate of this group. The score of a candidate is that of the
    best pair of images. With *in_stock*, which says for each item whether it is in stock, an image that several items
    show is shown once: with an item in stock, or else with the first, at the place of the first.
    """

    arrays: ItemArrays
    targets: TargetVectors
    retriever: Retriever
    groups: NDArray[np.int64]
    count: int
    min_score: float | None = None
    in_stock: NDArray[np.bool_] | None = None

    def generate(self, items: NDArray[np.int64], width: int) -> Iterator[CandidateLists]:
        """Yield the candidates of *items*, some items at a time, in their order.

        The first search is for the vectors of about *width* groups; it is made wider for items that need more.
        Raises TooManyVectors.
        """
        require_countable(len(self.arrays.positions), _ITEMS)
        positions, places, starts = query_positions(self.arrays, items)
        ready = np.maximum.accumulate(np.maximum.reduceat(places, starts[:-1])) if len(items) else places
        needed_by = np.zeros(len(positions), dtype=np.int64)
        np.maximum.at(needed_by, places, np.repeat(np.arange(len(items)), np.diff(starts)))
        buffer = _HitsBuffer()
        done = 0
        for hits in self.retriever.nearest(positions, width):
            buffer.add(hits)
            stop = int(np.searchsorted(ready, buffer.stop))
            for begin in range(done, stop, _ITEMS):
                end = min(begin + _ITEMS, stop)
                here = ranges(starts[begin:end], starts[begin + 1 : end + 1])
                image_counts = np.diff(starts[begin : end + 1])
                yield self._lists(items[begin:end], image_counts, buffer.of(places[here]), width)
            buffer.drop(needed_by < stop)
            done = stop

    def _lists(
        self, items: NDArray[np.int64], image_counts: NDArray[np.int64], hits: Hits, width: int
    ) -> CandidateLists:
        """Return the candidates of *items*; the first image_counts[0] query vectors of *hits* are of the first item."""
        who = np.repeat(np.arange(len(items)), image_counts)
        bounds = np.maximum.reduceat(hits.bounds, np.cumsum(image_counts) - image_counts)
        keys = pack(np.repeat(who, np.diff(hits.starts)), hits.scores, hits.numbers)
        if len(who) > len(items):  # several images of an item may hit the same vector
            keys = best_of_each(keys)
        whose, _, numbers = unpack(keys)
        has_shared = np.zeros(len(items), dtype=np.bool_)
        has_shared[whose[~self.targets.is_alone[numbers]]] = True
        found = self._best_rows(items, keys, has_shared & (self.in_stock is not None))
        is_wanting = ~self._is_final(found, bounds, in_order=(image_counts == 1) & ~has_shared)
        if not is_wanting.any():
            return found
        wanting = items[is_wanting]
        step = max(1, _CELLS // (_WIDER * width * int(image_counts.max())))
        wider = [
            part
            for start in range(0, len(wanting), step)
            for part in self.generate(wanting[start : start + step], _WIDER * width)
        ]
        return _merged(items, [_subset(found, ~is_wanting), *wider])

    def _is_final(
        self, found: CandidateLists, bounds: NDArray[np.float32], *, in_order: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return for which items no vector outside the hits can be a candidate, given the *bounds* of their scores.

        For the items for which *in_order* holds, a vector outside the hits comes after a hit with the same score.
        """
        lasts = np.full(len(bounds), -np.inf, dtype=np.float32)
        possible = self.targets.group_count - self.targets.has_group[self.groups[found.items]]
        is_full = (found.counts >= np.minimum(self.count, possible)) & (found.counts > 0)
        lasts[is_full] = found.scores[found.starts[1:][is_full] - 1]
        is_final: NDArray[np.bool_] = (lasts > bounds) | ((lasts == bounds) & in_order) | np.isneginf(bounds)
        if self.min_score is not None:
            is_final |= bounds.astype(np.float64) < self.min_score
        return is_final

    def _best_rows(self, items: NDArray[np.int64], keys: Keys, shows_once: NDArray[np.bool_]) -> CandidateLists:
        """Return the best rows for each of *items*, out of those that show the target vectors of *keys*.

        `shows_once[i]` says that list i shows an image once, and has an image that several rows show.
        """
        who, scores, numbers = unpack(keys)
        starts, stops = self.targets.starts[numbers], self.targets.starts[numbers + 1]
        times = stops - starts
        rows = self.targets.rows[ranges(starts, stops)]
        who, scores, rows = unpack(np.sort(pack(np.repeat(who, times), np.repeat(scores, times), rows)))
        passes = self.groups[self.arrays.item_of[rows]] != self.groups[items[who]]
        if self.min_score is not None:
            passes &= scores.astype(np.float64) >= self.min_score
        who, scores, rows = who[passes], scores[passes], rows[passes]
        for item in np.flatnonzero(shows_once).tolist():
            here = slice(*np.searchsorted(who, [item, item + 1]))
            rows[here] = self._stock_first(rows[here], scores[here])
        is_kept = self._is_new(who, rows, shows_once)
        who, scores, rows = who[is_kept], scores[is_kept], rows[is_kept]
        starts = np.searchsorted(who, np.arange(len(items)))
        is_kept = np.arange(len(who)) - starts[who] < self.count
        ends = np.searchsorted(who[is_kept], np.arange(len(items) + 1))
        return CandidateLists(items, ends, rows[is_kept], scores[is_kept])

    def _stock_first(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> list[int]:
        """Return the *rows* of one list in the order in which they are chosen, given their *scores*, which descend.

        Rows with the same score that show one image come together, at the place of the first of them, and those in
        stock before the others.
        """
        assert self.in_stock is not None
        positions = self.arrays.positions[rows].tolist()
        is_behind = (~self.in_stock[self.arrays.item_of[rows]]).tolist()
        showing: dict[tuple[float, int], list[tuple[bool, int]]] = {}
        for score, position, behind, row in zip(scores.tolist(), positions, is_behind, rows.tolist(), strict=True):
            showing.setdefault((score, position), []).append((behind, row))
        place: dict[float, list[list[tuple[bool, int]]]] = {}
        for (score, _), same in showing.items():
            place.setdefault(score, []).append(sorted(same))
        return [row for runs in place.values() for same in runs for _, row in same]

    def _is_new(
        self, who: NDArray[np.int64], rows: NDArray[np.int64], shows_once: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which of *rows* have a group that no earlier row of the same list has.

        Where `shows_once[i]`, list i has their image only once, too.
        """
        groups = self.groups[self.arrays.item_of[rows]]
        order = np.argsort(who * len(self.groups) + groups, kind="stable")
        is_new = np.ones(len(rows), dtype=np.bool_)
        same = (np.diff(who[order]) == 0) & (np.diff(groups[order]) == 0)
        is_new[order[1:][same]] = False
        for item in np.flatnonzero(shows_once).tolist():
            here = slice(*np.searchsorted(who, [item, item + 1]))
            is_new[here] = _first_of_each(groups[here].tolist(), self.arrays.positions[rows[here]].tolist())
        return is_new


class _HitsBuffer:
    """The hits of query vectors that some items have yet to use."""

    def __init__(self) -> None:
        self.stop = 0  # how many query vectors have hits so far
        self._parts: list[tuple[int, Hits]] = []

    def add(self, hits: Hits) -> None:
        """Add the hits of the query vectors that come next."""
        self._parts.append((self.stop, hits))
        self.stop += len(hits.bounds)

    def drop(self, is_done: NDArray[np.bool_]) -> None:
        """Drop the parts in which every query vector is done."""
        self._parts = [
            (first, hits) for first, hits in self._parts if not is_done[first : first + len(hits.bounds)].all()
        ]

    def of(self, queries: NDArray[np.int64]) -> Hits:
        """Return the hits of the query vectors with the numbers *queries*, one after another."""
        firsts = np.array([first for first, _ in self._parts])
        numbers = np.concatenate([hits.numbers for _, hits in self._parts])
        scores = np.concatenate([hits.scores for _, hits in self._parts])
        bounds = np.concatenate([hits.bounds for _, hits in self._parts])
        sizes = np.concatenate([np.diff(hits.starts) for _, hits in self._parts])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        lengths = np.array([len(hits.bounds) for _, hits in self._parts])
        part = np.searchsorted(firsts, queries, side="right") - 1
        place = queries - firsts[part] + (np.cumsum(lengths) - lengths)[part]
        chosen = ranges(starts[place], starts[place + 1])
        return Hits(np.concatenate([[0], np.cumsum(sizes[place])]), numbers[chosen], scores[chosen], bounds[place])


def _first_of_each(groups: Sequence[int], positions: Sequence[int]) -> list[bool]:
    """Return which rows have a group and a position that no row has which was taken before."""
    taken_groups: set[int] = set()
    taken_positions: set[int] = set()
    taken = []
    for group, position in zip(groups, positions, strict=True):
        taken.append(group not in taken_groups and position not in taken_positions)
        if taken[-1]:
            taken_groups.add(group)
            taken_positions.add(position)
    return taken


def _subset(lists: CandidateLists, chosen: NDArray[np.bool_]) -> CandidateLists:
    """Return the lists of the *chosen* items."""
    here = ranges(lists.starts[:-1][chosen], lists.starts[1:][chosen])
    starts = np.concatenate([[0], np.cumsum(lists.counts[chosen])])
    return CandidateLists(lists.items[chosen], starts, lists.rows[here], lists.scores[here])


def _merged(items: NDArray[np.int64], parts: Sequence[CandidateLists]) -> CandidateLists:
    """Return the lists of all *items* in their order; each item is in one of *parts*."""
    lists = CandidateLists(
        np.concatenate([part.items for part in parts]),
        np.concatenate([[0], np.cumsum(np.concatenate([part.counts for part in parts]))]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )
    order = np.argsort(lists.items)
    here = ranges(lists.starts[:-1][order], lists.starts[1:][order])
    starts = np.concatenate([[0], np.cumsum(lists.counts[order])])
    return CandidateLists(items, starts, lists.rows[here], lists.scores[here])

"""From near images to candidates: the best rows of each item's answer, an item and a group of variants once.

It is what `Sieve` does for one query, for many items at once: rows by falling score, then by id and image, none of
the asking item, none of an item or a group that is there already, and no image's bytes twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import Inventory, ranges
from vision_recs.batch.neighbors.eligible import Answering, Askers
from vision_recs.batch.neighbors.max_sim import best_pairs
from vision_recs.batch.neighbors.retrieve import Lists, Near

_ITEMS = 4_096  # that are worked on at once
_WIDER = 4  # times as many images are looked at for an item where they were too few
_AT_ONCE = 1 << 24  # of them in memory, for items that want many

# A candidate is one integer, so that sorting puts those of an item together, the best of them first: 14 bits for the
# item, 26 for how far its score is below 1, in steps of 2^-24, and 24 for the row, or for the number of its vector.
_ITEM, _STEP, _TURNED = np.uint64(50), np.uint64(24), np.uint64(26)
_LOW_BITS, _STEP_BITS = np.uint64((1 << 24) - 1), np.uint64((1 << 26) - 1)
_STEPS = 2.0**24

_Keys: TypeAlias = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Shortlists:
    """The candidates of some items, best first: those of items[i] are the rows from starts[i] to starts[i + 1]."""

    items: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many candidates each item has."""
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class Shortlister:
    """Finds up to *count* candidates for each item, none with a score below *floor*, one of each of *groups*.

    Scores are those of the best pair of images.
    """

    inventory: Inventory
    answering: Answering
    near: Near
    groups: NDArray[np.int64]
    count: int
    floor: float | None = None

    def shortlists(self, items: NDArray[np.int64], wide: int) -> Iterator[Shortlists]:
        """Yield the shortlists of *items*, some at a time, in their order; at first *wide* groups are looked at."""
        positions, asked, starts = asking(self.inventory, items)
        ready = np.maximum.accumulate(np.maximum.reduceat(asked, starts[:-1])) if len(items) else asked
        needed_by = np.zeros(len(positions), dtype=np.int64)
        np.maximum.at(needed_by, asked, np.repeat(np.arange(len(items)), np.diff(starts)))
        held = _Held()
        done = 0
        for lists in self.near.lists(positions, wide):
            held.add(lists)
            stop = int(np.searchsorted(ready, held.stop))
            for begin in range(done, stop, _ITEMS):
                end = min(begin + _ITEMS, stop)
                here = ranges(starts[begin:end], starts[begin + 1 : end + 1])
                own = np.diff(starts[begin : end + 1])
                yield self._shorten(items[begin:end], own, held.of(asked[here]), wide)
            held.forget(needed_by < stop)
            done = stop

    def _shorten(self, items: NDArray[np.int64], own: NDArray[np.int64], lists: Lists, wide: int) -> Shortlists:
        """Return the shortlists of *items*, the first own[0] of *lists* being those of the first item."""
        who = np.repeat(np.arange(len(items)), own)
        bounds = np.maximum.reduceat(lists.bounds, np.cumsum(own) - own)
        is_single = len(who) == len(items)
        keys = _by_best_image(
            _keys(np.repeat(who, np.diff(lists.starts)), lists.scores, lists.numbers), is_single=is_single
        )
        if self.near.margin:
            keys = self._mended(keys, items)
        asking, _, numbers = _parts(keys)
        shares = np.zeros(len(items), dtype=np.bool_)
        shares[asking[~self.answering.alone[numbers]]] = True
        found = self._chosen(items, keys, shares)
        is_wanting = ~self._is_settled(found, bounds, in_order=(own == 1) & ~shares)
        if not is_wanting.any():
            return found
        wanting = items[is_wanting]
        step = max(1, _AT_ONCE // (_WIDER * wide * int(own.max())))
        wider = [
            part
            for start in range(0, len(wanting), step)
            for part in self.shortlists(wanting[start : start + step], _WIDER * wide)
        ]
        return _together(items, [_only(found, ~is_wanting), *wider])

    def _mended(self, keys: _Keys, items: NDArray[np.int64]) -> _Keys:
        """Return *keys* with the exact scores of those that may be in the wrong order, or on the wrong side."""
        who, scores, numbers = _parts(np.sort(keys))
        is_close = (np.diff(who) == 0) & (np.diff(scores) > -self.near.margin)
        is_wrong = np.zeros(len(keys), dtype=np.bool_)
        is_wrong[:-1] |= is_close
        is_wrong[1:] |= is_close
        if self.floor is not None:
            is_wrong |= np.abs(scores - self.floor) < self.near.margin
        wrong = np.flatnonzero(is_wrong)
        scores[wrong] = best_pairs(
            self.inventory, self.near.vectors, items[who[wrong]], self.answering.positions[numbers[wrong]]
        )
        return _keys(who, scores, numbers)

    def _is_settled(
        self, found: Shortlists, bounds: NDArray[np.float32], *, in_order: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether nothing that was not looked at, of which *bounds* are the highest scores, belongs to the *found*.

        For items *in_order*, it comes behind what was looked at where it has the same score.
        """
        lasts = np.full(len(bounds), -np.inf, dtype=np.float32)
        is_full = (found.counts >= min(self.count, self.answering.groups)) & (found.counts > 0)
        lasts[is_full] = found.scores[found.starts[1:][is_full] - 1]
        settled: NDArray[np.bool_] = (lasts > bounds) | ((lasts == bounds) & in_order) | np.isneginf(bounds)
        if self.floor is not None:
            settled |= bounds.astype(np.float64) < self.floor
        return settled

    def _chosen(self, items: NDArray[np.int64], keys: _Keys, shares: NDArray[np.bool_]) -> Shortlists:
        """Return the best rows of each of *items* that show the vectors of *keys*."""
        who, scores, numbers = _parts(keys)
        starts, stops = self.answering.starts[numbers], self.answering.starts[numbers + 1]
        times = stops - starts
        rows = self.answering.rows[ranges(starts, stops)]
        who, scores, rows = _parts(np.sort(_keys(np.repeat(who, times), np.repeat(scores, times), rows)))
        passes = self.inventory.item_of[rows] != items[who]
        if self.floor is not None:
            passes &= scores.astype(np.float64) >= self.floor
        who, scores, rows = who[passes], scores[passes], rows[passes]
        is_kept = self._is_new(who, rows, shares)
        who, scores, rows = who[is_kept], scores[is_kept], rows[is_kept]
        starts = np.searchsorted(who, np.arange(len(items)))
        is_kept = np.arange(len(who)) - starts[who] < self.count
        ends = np.searchsorted(who[is_kept], np.arange(len(items) + 1))
        return Shortlists(items, ends, rows[is_kept], scores[is_kept])

    def _is_new(self, who: NDArray[np.int64], rows: NDArray[np.int64], shares: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of *rows*, item by item, show a group and an image that are not shown before.

        *shares* says for which items there are images that several rows show; where there are none, every image is
        new whose group is.
        """
        groups = self.groups[self.inventory.item_of[rows]]
        order = np.argsort(who * len(self.groups) + groups, kind="stable")
        is_new = np.ones(len(rows), dtype=np.bool_)
        same = (np.diff(who[order]) == 0) & (np.diff(groups[order]) == 0)
        is_new[order[1:][same]] = False
        for item in np.flatnonzero(shares).tolist():
            here = slice(*np.searchsorted(who, [item, item + 1]))
            is_new[here] = _walk(groups[here].tolist(), self.inventory.positions[rows[here]].tolist())
        return is_new


def asking(
    inventory: Inventory, items: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the vectors of *items*, each once, in the order in which the items need them.

    Besides, the place in them of each row of the items, and where the rows of each item begin and end.
    """
    shown = inventory.positions[inventory.rows_of(items)]
    _, firsts, which = np.unique(shown, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    lengths = inventory.starts[items + 1] - inventory.starts[items]
    return shown[firsts[order]], place[which], np.concatenate([[0], np.cumsum(lengths)])


def askers(inventory: Inventory, items: NDArray[np.int64], *, rough: bool = False) -> Askers:
    """Return who asks with the vectors of *items*: see `asking`."""
    positions, places, starts = asking(inventory, items)
    owners = np.repeat(items, np.diff(starts))
    lowest = np.full(len(positions), len(inventory.ids))
    highest = np.full(len(positions), -1)
    np.minimum.at(lowest, places, owners)
    np.maximum.at(highest, places, owners)
    return Askers(positions, np.where(lowest == highest, lowest, -1), rough)


class _Held:
    """The lists of the vectors that items have yet to use."""

    def __init__(self) -> None:
        self.stop = 0  # vectors whose lists came so far
        self._parts: list[tuple[int, Lists]] = []

    def add(self, lists: Lists) -> None:
        """Take the lists of the vectors that come next."""
        self._parts.append((self.stop, lists))
        self.stop += len(lists.bounds)

    def forget(self, is_done: NDArray[np.bool_]) -> None:
        """Give up the parts of which every vector is done."""
        self._parts = [
            (first, lists) for first, lists in self._parts if not is_done[first : first + len(lists.bounds)].all()
        ]

    def of(self, asked: NDArray[np.int64]) -> Lists:
        """Return the lists of the vectors *asked*, one after another."""
        firsts = np.array([first for first, _ in self._parts])
        numbers = np.concatenate([lists.numbers for _, lists in self._parts])
        scores = np.concatenate([lists.scores for _, lists in self._parts])
        bounds = np.concatenate([lists.bounds for _, lists in self._parts])
        sizes = np.concatenate([np.diff(lists.starts) for _, lists in self._parts])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        lengths = np.array([len(lists.bounds) for _, lists in self._parts])
        part = np.searchsorted(firsts, asked, side="right") - 1
        place = asked - firsts[part] + (np.cumsum(lengths) - lengths)[part]
        chosen = ranges(starts[place], starts[place + 1])
        return Lists(np.concatenate([[0], np.cumsum(sizes[place])]), numbers[chosen], scores[chosen], bounds[place])


def _walk(groups: Sequence[int], positions: Sequence[int]) -> list[bool]:
    """Return which of the rows, in turn, show a group and an image that none shows which was taken before."""
    shown_groups: set[int] = set()
    shown_positions: set[int] = set()
    taken = []
    for group, position in zip(groups, positions, strict=True):
        taken.append(group not in shown_groups and position not in shown_positions)
        if taken[-1]:
            shown_groups.add(group)
            shown_positions.add(position)
    return taken


def _by_best_image(keys: _Keys, *, is_single: bool) -> _Keys:
    """Return, of the *keys* of an item with the same number, the one of the highest score."""
    if is_single:
        return keys
    turned: _Keys = ((keys >> _ITEM) << _ITEM) | ((keys & _LOW_BITS) << _TURNED) | ((keys >> _STEP) & _STEP_BITS)
    turned.sort()
    whose = turned >> _TURNED
    best: _Keys = turned[np.append(True, whose[1:] != whose[:-1])[: len(turned)]]
    numbers, steps = (best >> _TURNED) & _LOW_BITS, best & _STEP_BITS
    found: _Keys = ((best >> _ITEM) << _ITEM) | (steps << _STEP) | numbers
    return found


def _keys(who: NDArray[np.int64], scores: NDArray[np.float32], low: NDArray[np.int64]) -> _Keys:
    steps: _Keys = np.rint((1.0 - scores.astype(np.float64)) * _STEPS).astype(np.uint64)
    high: _Keys = (who.astype(np.uint64) << _ITEM) | (steps << _STEP)
    return high | low.astype(np.uint64)


def _parts(keys: _Keys) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    steps = (keys >> _STEP) & _STEP_BITS
    scores = (1.0 - steps.astype(np.float64) / _STEPS).astype(np.float32)
    return (keys >> _ITEM).astype(np.int64), scores, (keys & _LOW_BITS).astype(np.int64)


def _only(lists: Shortlists, chosen: NDArray[np.bool_]) -> Shortlists:
    """Return the shortlists of the *chosen* items."""
    here = ranges(lists.starts[:-1][chosen], lists.starts[1:][chosen])
    starts = np.concatenate([[0], np.cumsum(lists.counts[chosen])])
    return Shortlists(lists.items[chosen], starts, lists.rows[here], lists.scores[here])


def _together(items: NDArray[np.int64], parts: Sequence[Shortlists]) -> Shortlists:
    """Return the shortlists of all *items*, each of which is in one of *parts*."""
    lists = Shortlists(
        np.concatenate([part.items for part in parts]),
        np.concatenate([[0], np.cumsum(np.concatenate([part.counts for part in parts]))]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )
    order = np.argsort(lists.items)
    here = ranges(lists.starts[:-1][order], lists.starts[1:][order])
    starts = np.concatenate([[0], np.cumsum(lists.counts[order])])
    return Shortlists(items, starts, lists.rows[here], lists.scores[here])

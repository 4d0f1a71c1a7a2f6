"""What may be among the nearest of some rows: many candidates by approximate scores, few by exact ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.groups import Groups
from vision_recs.knn_join.keys import QUERY_SHIFT, Keys, pack, unpack
from vision_recs.knn_join.matmul import ErrorBound

# A candidate with an approximate score is one integer, too, so that plain sorting puts those of a row together, the
# best first: 16 bits for the row, 16 for how far its score is below the highest one, and 32 for its column.
_ROW, _LEVEL = np.uint64(48), np.uint64(32)
_COLUMN_BITS = np.uint64((1 << 32) - 1)
_HIGHEST = 1.02  # above all approximate scores
_LEVELS = 32_000.0  # in a difference of 1
_LAST_LEVEL = 65_535


class CorpusOrder(NamedTuple):
    """The *number* of each column, which orders equal scores, and the *column_of* each number; *groups*, if any."""

    number: NDArray[np.int64]
    column_of: NDArray[np.int64]
    groups: Groups | None


Score: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Returns the exact scores (n,) of rows (n,) with columns (n,), in steps of 2^-24."""


def approximate_keys(rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float32]) -> Keys:
    """Return the keys of candidates: *values* are the approximate scores of *rows*, counted from 0, with *columns*."""
    levels = np.clip((_HIGHEST - values) * _LEVELS, 0, _LAST_LEVEL).astype(np.uint64)
    keys: Keys = (rows.astype(np.uint64) << _ROW) | (levels << _LEVEL) | columns.astype(np.uint64)
    return keys


class Candidates:
    """The candidates of some rows for their *k* best columns."""

    def __init__(
        self, k: int, score: Score, *, order: CorpusOrder, bound: ErrorBound, low: NDArray[np.float32]
    ) -> None:
        """Begin without candidates.

        *score* computes exact scores; *bound* is that of the approximate scores. A candidate is
        every column whose approximate score reaches `low[row]`, which rises in place as it becomes known what the *k*
        best columns of the row reach.
        """
        self._k = k
        self._score = score
        self._order = order
        self._bound = bound
        self._low = low
        self._first_low = low.copy()
        self.count = 0
        self._keys: list[Keys] = []
        self._needed = k * len(low)

    def clear(self) -> None:
        """Forget all candidates."""
        self._keep()

    def add(self, keys: Keys) -> None:
        """Add candidates with these `approximate_keys`; a candidate must not be added twice."""
        self._keys.append(keys)
        self.count += len(keys)

    @property
    def should_prune(self) -> bool:
        """Whether so many candidates were added since the last time that it is worth while to `prune`."""
        return self.count > 2 * self._needed

    def prune(self) -> None:
        """Raise the thresholds to what the best candidates reach, and forget the candidates that do not reach them."""
        keys = np.sort(np.concatenate([np.empty(0, np.uint64), *self._keys]))
        keys, counted = self._by_group(keys)
        starts = self._starts(counted, _ROW)
        full = np.flatnonzero(np.diff(starts) >= self._k)
        reached = np.full(len(self._low), -np.inf)
        reached[full] = _reached(counted[starts[full] + self._k - 1])
        self._raise_low(self._bound.lower(reached))
        last = _last_level(self._low)
        self._keep(keys[_levels(keys) <= np.repeat(last, np.diff(self._starts(keys, _ROW)))])
        self._needed = max(self._needed, self.count)

    def _by_group(self, keys: Keys) -> tuple[Keys, Keys]:
        """Return those of *keys* that may be the best of their group, and those that seem to be, one of each group."""
        groups = self._order.groups
        if groups is None:
            return keys, keys
        rows, columns = _places(keys)
        may_be_results = groups.may_be_results(rows, columns)
        keys = keys[may_be_results]
        order, begins = groups.grouped(rows[may_be_results], columns[may_be_results])
        keys = keys[order]
        seeming = keys[begins]
        row, _ = _places(seeming)
        bound = ErrorBound(self._bound.fixed[row], self._bound.unit)
        last = _last_level(bound.lower(bound.lower(_reached(seeming))))
        may_be_best = _levels(keys) <= last[np.cumsum(begins) - 1]
        return np.sort(keys[may_be_best]), np.sort(seeming)

    def compact(self) -> None:
        """Score all candidates exactly, and forget all but the *k* best of each row."""
        exact, starts = self._best()
        rows, scores, numbers = unpack(exact)
        self._keep(approximate_keys(rows, self._order.column_of[numbers], scores))
        full = np.flatnonzero(np.diff(starts) == self._k)
        reached = np.full(len(self._low), -np.inf)
        reached[full] = scores[starts[full] + self._k - 1]
        self._raise_low(reached)

    def nearest(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return the numbers (rows, k) of the best columns of each row, best first, and their exact scores (rows, k).

        The third array says for which rows these are certainly the best of all: not where *low* was too high at first.
        """
        exact, starts = self._best()
        _, found_scores, found_numbers = unpack(exact)
        is_full = np.diff(starts) == self._k
        numbers = np.zeros((len(is_full), self._k), dtype=np.int64)
        scores = np.full((len(is_full), self._k), -np.inf, dtype=np.float32)
        is_there = np.repeat(is_full, np.diff(starts))
        numbers[is_full] = found_numbers[is_there].reshape(-1, self._k)
        scores[is_full] = found_scores[is_there].reshape(-1, self._k)
        return numbers, scores, self._bound.lower(scores[:, -1]) >= self._first_low

    def _best(self) -> tuple[Keys, NDArray[np.int64]]:
        """Return the *k* best of each row by their exact scores, as packed keys, and where each row begins in them."""
        self.prune()
        (keys,) = self._keys
        rows, columns = _places(keys)
        exact = pack(rows, self._score(rows, columns), self._order.number[columns])
        exact.sort()
        exact = self._best_of_groups(exact)
        starts = self._starts(exact, QUERY_SHIFT)
        exact = exact[np.arange(len(exact)) - np.repeat(starts[:-1], np.diff(starts)) < self._k]
        return exact, self._starts(exact, QUERY_SHIFT)

    def _best_of_groups(self, exact: Keys) -> Keys:
        """Return the best of each group."""
        groups = self._order.groups
        if groups is None:
            return exact
        rows, _, numbers = unpack(exact)
        order, begins = groups.grouped(rows, self._order.column_of[numbers])
        return np.sort(exact[order[begins]])

    def _keep(self, *keys: Keys) -> None:
        self._keys = list(keys)
        self.count = sum(map(len, keys))

    def _raise_low(self, reached: NDArray[np.floating]) -> None:
        """Note that the exact scores of the *k* best of each row are *reached* or more."""
        np.maximum(self._low, self._bound.lower(reached), out=self._low)

    def _starts(self, keys: Keys, shift: np.uint64) -> NDArray[np.int64]:
        """Return where each row begins in the sorted *keys*, and where the last one ends."""
        rows = np.arange(len(self._low) + 1, dtype=np.uint64)
        return np.searchsorted(keys, rows << shift).astype(np.int64)


def _places(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the columns of *keys*."""
    return (keys >> _ROW).astype(np.int64), (keys & _COLUMN_BITS).astype(np.int64)


def _levels(keys: Keys) -> NDArray[np.int64]:
    return (keys >> _LEVEL).astype(np.int64) & _LAST_LEVEL


def _reached(keys: Keys) -> NDArray[np.float64]:
    """Return what the approximate scores of *keys* reach."""
    reached: NDArray[np.float64] = _HIGHEST - (_levels(keys) + 1) / _LEVELS
    return reached


def _last_level(low: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the last level at which a score may reach *low*: one more, since keys were made in float32."""
    last: NDArray[np.float64] = np.ceil((_HIGHEST - low.astype(np.float64)) * _LEVELS) + 1
    return last

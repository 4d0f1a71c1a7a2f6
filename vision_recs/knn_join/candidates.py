"""What may be among the nearest of some rows: many candidates by their approximate scores, few by their exact ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.groups import Kinds
from vision_recs.knn_join.matmul import Errors

Keys: TypeAlias = NDArray[np.uint64]

# A candidate is one integer, so that plain sorting puts those of a row together, the best of them first. While its
# score is approximate: 16 bits for the row, 16 for how far below the top its score is, 32 for its column.
_ROW, _LEVEL = np.uint64(48), np.uint64(32)
_COLUMN_BITS = np.uint64((1 << 32) - 1)
_TOP = 1.02  # above all approximate scores
_LEVELS = 32_000.0  # in a difference of 1
_LAST = 65_535
# And once it is exact: 14 bits for the row, 26 for how far below 1 it is, in steps of 2^-24, 24 for the column's rank.
_EXACT_ROW, _STEP = np.uint64(50), np.uint64(24)
_RANK_BITS = np.uint64((1 << 24) - 1)
_STEP_BITS = np.uint64((1 << 26) - 1)
_STEPS = 2.0**24

MOST_ROWS = 1 << 14
MOST_COLUMNS = 1 << 24


class Columns(NamedTuple):
    """What orders columns of equal score, their *rank*, the column of each rank, and what kinds they are, if any."""

    rank: NDArray[np.int64]
    of_rank: NDArray[np.int64]
    kinds: Kinds | None


class Score(NamedTuple):
    """*of* returns the score of each row with the column in the same place, in steps of 2^-24.

    Of two that differ by less than *margin*, either may be the greater one.
    """

    of: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
    margin: float


def keys_of(rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float32]) -> Keys:
    """Return candidates: *values* are the approximate scores of *rows*, counted from 0, with *columns*."""
    levels = np.clip((_TOP - values) * _LEVELS, 0, _LAST).astype(np.uint64)
    keys: Keys = (rows.astype(np.uint64) << _ROW) | (levels << _LEVEL) | columns.astype(np.uint64)
    return keys


class Candidates:
    """The candidates of some rows for their *k* best columns."""

    def __init__(self, k: int, score: Score, *, columns: Columns, errors: Errors, low: NDArray[np.float32]) -> None:
        """Begin without any.

        *score* computes what is exact, but for its margin. *errors* are those of the approximate scores. Candidates are
        all columns whose approximate score reaches *low* of the row, which is raised in place as it becomes known what
        the *k* best reach.
        """
        self._k = k
        self._score = score
        self._columns = columns
        self._errors = errors
        self._low = low
        self._first_low = low.copy()
        self.count = 0
        self._keys: list[Keys] = []
        self._needed = k * len(low)

    def clear(self) -> None:
        """Forget all."""
        self._keep()

    def add(self, keys: Keys) -> None:
        """Take in candidates that `keys_of` made; none may come twice."""
        self._keys.append(keys)
        self.count += len(keys)

    @property
    def is_slack(self) -> bool:
        """Whether so many came since the last time that it is worth while to `tighten`."""
        return self.count > 2 * self._needed

    def tighten(self) -> None:
        """Raise what is reached by the best so far, and forget the candidates that do not reach it."""
        keys = np.sort(np.concatenate([np.empty(0, np.uint64), *self._keys]))
        keys, counted = self._of_kinds(keys)
        starts = self._starts(counted, _ROW)
        full = np.flatnonzero(np.diff(starts) >= self._k)
        reached = np.full(len(self._low), -np.inf)
        reached[full] = _reached(counted[starts[full] + self._k - 1])
        self._raise(self._errors.below(reached))
        last = _last_level(self._low)
        self._keep(keys[_levels(keys) <= np.repeat(last, np.diff(self._starts(keys, _ROW)))])
        self._needed = max(self._needed, self.count)

    def _of_kinds(self, keys: Keys) -> tuple[Keys, Keys]:
        """Return the *keys* that may be the best of their kind, and those that seem to be, one of each kind."""
        kinds = self._columns.kinds
        if kinds is None:
            return keys, keys
        rows, columns = _places(keys)
        are_answers = kinds.are_answers(rows, columns)
        keys = keys[are_answers]
        order, begins = kinds.together(rows[are_answers], columns[are_answers])
        keys = keys[order]
        seeming = keys[begins]
        row, _ = _places(seeming)
        errors = Errors(self._errors.fixed[row], self._errors.unit)
        last = _last_level(errors.below(errors.below(_reached(seeming))))
        may_be = _levels(keys) <= last[np.cumsum(begins) - 1]
        return np.sort(keys[may_be]), np.sort(seeming)

    def drop(self) -> None:
        """Compute all exactly and forget all but the *k* best of each row."""
        exact, starts = self._best()
        rows, ranks, scores = _parts(exact)
        self._keep(keys_of(rows, self._columns.of_rank[ranks], scores))
        full = np.flatnonzero(np.diff(starts) == self._k)
        reached = np.full(len(self._low), -np.inf)
        reached[full] = scores[starts[full] + self._k - 1]
        self._raise(reached)

    def nearest(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return the ranks (rows, k) of the best columns of each row, best first, and their exact scores.

        And for which rows these are sure to be the best of all: not where *low* was too high at first.
        """
        exact, starts = self._best()
        _, found_ranks, found_scores = _parts(exact)
        is_full = np.diff(starts) == self._k
        ranks = np.zeros((len(is_full), self._k), dtype=np.int64)
        scores = np.full((len(is_full), self._k), -np.inf, dtype=np.float32)
        is_there = np.repeat(is_full, np.diff(starts))
        ranks[is_full] = found_ranks[is_there].reshape(-1, self._k)
        scores[is_full] = found_scores[is_there].reshape(-1, self._k)
        return ranks, scores, self._errors.below(scores[:, -1]) >= self._first_low

    def _best(self) -> tuple[Keys, NDArray[np.int64]]:
        """Return the *k* best of each row by their exact scores, as exact keys, and where each row begins in them."""
        self.tighten()
        (keys,) = self._keys
        rows, columns = _places(keys)
        steps = np.rint((1.0 - self._score.of(rows, columns).astype(np.float64)) * _STEPS).astype(np.uint64)
        ranks = self._columns.rank[columns].astype(np.uint64)
        exact: Keys = (rows.astype(np.uint64) << _EXACT_ROW) | (steps << _STEP) | ranks
        exact.sort()
        exact = self._best_of_kinds(exact)
        starts = self._starts(exact, _EXACT_ROW)
        exact = exact[np.arange(len(exact)) - np.repeat(starts[:-1], np.diff(starts)) < self._k]
        return exact, self._starts(exact, _EXACT_ROW)

    def _best_of_kinds(self, exact: Keys) -> Keys:
        """Return the best of each kind, and those that are as good but for the margin of the scores."""
        kinds = self._columns.kinds
        if kinds is None:
            return exact
        rows, ranks, scores = _parts(exact)
        order, begins = kinds.together(rows, self._columns.of_rank[ranks])
        scores = scores[order]
        is_best = begins | (scores > scores[begins][np.cumsum(begins) - 1] - np.float32(self._score.margin))
        return np.sort(exact[order[is_best]])

    def _keep(self, *keys: Keys) -> None:
        self._keys = list(keys)
        self.count = sum(map(len, keys))

    def _raise(self, reached: NDArray[np.floating]) -> None:
        """Note that the *k* best of each row have exact scores from *reached* on."""
        np.maximum(self._low, self._errors.below(reached), out=self._low)

    def _starts(self, keys: Keys, shift: np.uint64) -> NDArray[np.int64]:
        """Return where each row begins in the sorted *keys*, and where the last one ends."""
        rows = np.arange(len(self._low) + 1, dtype=np.uint64)
        return np.searchsorted(keys, rows << shift).astype(np.int64)


def _places(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the columns of *keys*."""
    return (keys >> _ROW).astype(np.int64), (keys & _COLUMN_BITS).astype(np.int64)


def _levels(keys: Keys) -> NDArray[np.int64]:
    return (keys >> _LEVEL).astype(np.int64) & _LAST


def _reached(keys: Keys) -> NDArray[np.float64]:
    """Return what the approximate scores of *keys* reach."""
    reached: NDArray[np.float64] = _TOP - (_levels(keys) + 1) / _LEVELS
    return reached


def _last_level(low: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the last level at which a score may reach *low*: one more, since keys were made in float32."""
    last: NDArray[np.float64] = np.ceil((_TOP - low.astype(np.float64)) * _LEVELS) + 1
    return last


def _parts(exact: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows, ranks and scores of exact keys."""
    steps = (exact >> _STEP) & _STEP_BITS
    scores = (1.0 - steps.astype(np.float64) / _STEPS).astype(np.float32)
    return (exact >> _EXACT_ROW).astype(np.int64), (exact & _RANK_BITS).astype(np.int64), scores

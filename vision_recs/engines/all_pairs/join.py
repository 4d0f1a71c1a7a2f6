"""The k nearest columns of every row."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.all_pairs.candidates import Candidates, Keys, keys_of
from vision_recs.engines.all_pairs.products import Hits, Products, Rows
from vision_recs.engines.all_pairs.scan import ROWS, Scores, in_order, rows_from, scan
from vision_recs.engines.all_pairs.sides import Sides

_BAND = 8  # times as many rows are finished together as are scanned by one task
_SAMPLE = 8_192  # columns whose products give the thresholds
_PENDING = 1 << 26  # candidates in memory, of 8 bytes each, from which on all are computed, and all but k dropped


class Nearest(NamedTuple):
    """What is nearest to the asking vectors from number *first* on, in their order.

    *columns* (n, k) are numbers of answering vectors, best first, equal scores by number; *scores* are their cosines.
    """

    first: int
    columns: NDArray[np.int64]
    scores: NDArray[np.float32]


class Join:
    """The k nearest columns of every row, some rows at a time."""

    def __init__(self, sides: Sides, products: Products, k: int, pool: Executor, scores: Scores) -> None:
        """Find the thresholds, in *pool*, as all that follows; exact scores, or rough ones, are made by *scores*."""
        self._sides = sides
        self._scores = scores
        self._products = products
        self._pool = pool
        self._k = k
        every = len(sides.columns)
        self._sample = np.sort(np.random.default_rng(0).permutation(every)[: max(_SAMPLE, k)])
        self._starts = range(0, len(sides.rows), ROWS)
        self._low = np.concatenate(list(pool.map(lambda start: self._guess(rows_from(start)), self._starts)))
        rows = np.arange(len(sides.rows))
        self._blocks = [self._candidates(rows[here], self._low[here]) for here in map(rows_from, self._starts)]

    def bands(self) -> Iterator[Nearest]:
        """Yield the nearest of all rows, in their order."""
        for first in range(0, len(self._blocks), _BAND):
            for found in in_order(self._pool, self._scan, self._starts[first : first + _BAND]):
                for number, keys in found.items():
                    self._blocks[number].add(keys)
                if sum(block.count for block in self._blocks) > _PENDING:
                    for block in self._blocks:
                        block.drop()
            yield self._finished(first)
            list(self._pool.map(Candidates.tighten, [block for block in self._blocks if block.is_slack]))

    def _finished(self, first: int) -> Nearest:
        """Return the nearest of the rows of the blocks from *first* on, and forget their candidates."""
        blocks = self._blocks[first : first + _BAND]
        found = list(self._pool.map(Candidates.nearest, blocks))
        columns, scores, is_sure = (np.concatenate([each[part] for each in found]) for part in range(3))
        for block in blocks:
            block.clear()
        unsure = np.flatnonzero(~is_sure)
        for start in range(0, len(unsure), ROWS):
            some = unsure[start : start + ROWS]
            columns[some], scores[some] = self._surely_nearest(some + self._starts[first])
        return Nearest(self._starts[first], columns, scores)

    def _guess(self, rows: slice) -> NDArray[np.float32]:
        """Return, for each of *rows*, what the products of the k nearest columns almost certainly reach.

        Of the k nearest, about expected = k * sample / columns are in a random sample. Its vector at a rank far beyond
        that is almost never nearer than the k-th of all: with this margin, for less than 1 row in 1,000.
        """
        expected = self._k * len(self._sample) / len(self._sides.columns)
        rank = int(expected + 3.7 * expected**0.5 + 4)
        if rank >= self._k:
            return self._certain(rows)
        return self._products.errors(rows).below(self._products.reached(rows, self._sample, rank))

    def _certain(self, rows: Rows) -> NDArray[np.float32]:
        """Return, for each of *rows*, what the products of the k nearest columns reach."""
        errors = self._products.errors(rows)
        found = self._products.reached(rows, self._sample, self._k)
        # such scores are exactly a little less, and the products of those that are as good may be less once more
        return errors.below(errors.below(found))

    def _surely_nearest(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest of a few *rows* of which too much was guessed."""
        low = self._certain(rows)
        candidates = self._candidates(rows, low)
        candidates.add(keys_of(*scan(self._products, rows, range(len(self._sides.columns)), low)))
        columns, scores, is_sure = candidates.nearest()
        assert is_sure.all(), "the bound on the error of a product does not hold"
        return columns, scores

    def _candidates(self, rows: NDArray[np.int64], low: NDArray[np.float32]) -> Candidates:
        def score(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
            return self._scores(self._sides.rows, rows[row], self._sides.columns, column)

        return Candidates(self._k, score, rank=self._sides.rank, errors=self._products.errors(rows), low=low)

    def _scan(self, start: int) -> dict[int, Keys]:
        """Return the candidates, by the number of their block, that the products of the rows from *start* on give.

        A column that is a row before *start* has served all rows that are columns, too, when that row was scanned.
        """
        sides, rows = self._sides, rows_from(start)
        low, partner = self._low[rows], sides.column_of[rows]
        begin, end = np.searchsorted(sides.row_of, [start, start + ROWS]).tolist()
        other_low = np.full(len(sides.columns), np.inf, dtype=np.float32)
        other_low[end : len(sides.row_of)] = self._low[sides.row_of[end:]]
        hits = scan(self._products, rows, range(begin, len(sides.columns)), low, other_low)
        found = _mirrored(hits, sides, hits.values >= other_low[hits.columns], partner)
        own = hits.values >= low[hits.rows]
        keys = [keys_of(hits.rows[own], hits.columns[own], hits.values[own])]
        only_asking = np.flatnonzero(partner < 0)
        if len(only_asking):
            hits = scan(self._products, start + only_asking, range(begin), low[only_asking])
            keys.append(keys_of(only_asking[hits.rows], hits.columns, hits.values))
        found[start // ROWS] = np.concatenate(keys)
        return found


def _mirrored(hits: Hits, sides: Sides, passes: NDArray[np.bool_], partner: NDArray[np.int64]) -> dict[int, Keys]:
    """Return, by block, the candidates that those of *hits* which pass are for the rows that their columns are."""
    chosen = passes & (partner[hits.rows] >= 0)
    asking = sides.row_of[hits.columns[chosen]]
    keys = keys_of(asking % ROWS, partner[hits.rows[chosen]], hits.values[chosen])
    return {block: keys[places] for block, places in _grouped(asking // ROWS)}


def _grouped(values: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each of *values* once, ascending, with the places where it stands."""
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(np.diff(values[order], prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        yield int(values[order[start]]), order[start:stop]

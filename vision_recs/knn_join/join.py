"""The k nearest columns of every row."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.blocks import ROWS, Scores, in_order, rows_from, scan
from vision_recs.knn_join.candidates import Candidates, Columns, Keys, Score, keys_of
from vision_recs.knn_join.matmul import Products, Rows
from vision_recs.knn_join.operands import Sides

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
        """Find the thresholds, in *pool*, as all that follows; *scores* are `EXACT` or `ROUGH`."""
        self._sides = sides
        self._scores = scores
        self._products = products
        self._pool = pool
        self._k = k
        self._sample = _sample(sides, k)
        self._starts = range(0, len(sides.rows), ROWS)
        self._low = np.concatenate(list(pool.map(lambda start: self._guess(rows_from(start)), self._starts)))
        rows = np.arange(len(sides.rows))
        self._only_asking = np.setdiff1d(rows, sides.row_of, assume_unique=True)
        self._blocks = [self._candidates(rows[here], self._low[here]) for here in map(rows_from, self._starts)]

    def bands(self) -> Iterator[Nearest]:
        """Yield the nearest of all rows, in their order."""
        for first in range(0, len(self._blocks), _BAND):
            for found in self._scans(self._starts[first : first + _BAND]):
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
        parts = [unsure[here] for here in map(rows_from, range(0, len(unsure), ROWS))]
        surely = self._pool.map(self._surely_nearest, [part + self._starts[first] for part in parts])
        for part, (its_columns, its_scores) in zip(parts, surely, strict=True):
            columns[part], scores[part] = its_columns, its_scores
        return Nearest(self._starts[first], columns, scores)

    def _guess(self, rows: slice) -> NDArray[np.float32]:
        """Return, for each of *rows*, what the products of the k nearest columns almost certainly reach.

        Of the k nearest, about expected = k * share are in a random sample, by the hypergeometric distribution. Its
        vector at a rank far beyond that is almost never nearer than the k-th of all: with this margin, for less than 1
        row in 100, which costs less than the candidates of a wider one. With kinds it is the same for them, of each of
        which at most one vector is in the sample.
        """
        kinds = self._sides.kinds
        share = len(self._sample) / (len(self._sides.columns) if kinds is None else kinds.count)
        expected = self._k * share
        rank = int(expected + 3 * (expected * (1 - share)) ** 0.5 + 3)
        if rank > self._k:
            return self._certain(rows)
        return self._products.errors(rows).below(self._products.reached(rows, self._sample, rank))

    def _certain(self, rows: Rows) -> NDArray[np.float32]:
        """Return, for each of *rows*, what the products of the k nearest columns reach."""
        errors = self._products.errors(rows)
        own = 0 if self._sides.kinds is None else 1  # that may be of the kind of who asks, and so no answer
        found = self._products.reached(rows, self._sample, self._k + own)
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
        sides = self._sides

        def score(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
            return self._scores.of(sides.rows, rows[row], sides.columns, column)

        kinds = None if sides.kinds is None else sides.kinds.asked_by(sides.kinds.asker[rows])
        columns = Columns(sides.rank, sides.column_of_rank, kinds)
        errors = self._products.errors(rows)
        return Candidates(self._k, Score(score, self._scores.margin), columns=columns, errors=errors, low=low)

    def _scans(self, starts: range) -> Iterator[dict[int, Keys]]:
        """Yield candidates by the number of their block; with those of earlier *starts*, the blocks there have all."""
        first, last = np.searchsorted(self._only_asking, [starts.start, starts.stop]).tolist()
        only_asking = self._only_asking[first:last]
        return chain(
            in_order(self._pool, self._scan, starts),
            in_order(self._pool, partial(self._scan_only_asking, only_asking), range(0, len(only_asking), ROWS)),
        )

    def _scan(self, start: int) -> dict[int, Keys]:
        """Return what the rows from *start* on give that are columns, and no columns before these.

        What those gave served these rows as well.
        """
        sides = self._sides
        begin, end = np.searchsorted(sides.row_of, [start, start + ROWS]).tolist()
        low = self._low[sides.row_of]
        other_low = np.full(len(sides.columns), np.inf, dtype=np.float32)
        other_low[end : len(low)] = low[end:]
        every = range(begin, len(sides.columns))
        hits = scan(self._products.of_columns, slice(begin, end), every, low[begin:end], other_low)
        passes = hits.values >= other_low[hits.columns]
        found = _by_block(sides.row_of[hits.columns[passes]], begin + hits.rows[passes], hits.values[passes])
        own = hits.values >= low[begin + hits.rows]
        rows = sides.row_of[begin + hits.rows[own]]
        found[start // ROWS] = keys_of(rows - start, hits.columns[own], hits.values[own])
        return found

    def _scan_only_asking(self, only_asking: NDArray[np.int64], start: int) -> dict[int, Keys]:
        """Return what the rows *only_asking*, from number *start* on, give with all columns."""
        rows = only_asking[start : start + ROWS]
        hits = scan(self._products, rows, range(len(self._sides.columns)), self._low[rows])
        return _by_block(rows[hits.rows], hits.columns, hits.values)


def _sample(sides: Sides, k: int) -> NDArray[np.int64]:
    """Return some columns at random, or of some kinds one each."""
    random = np.random.default_rng(0)
    if sides.kinds is not None:
        return sides.kinds.one_each(random, max(_SAMPLE, k + 1))
    return np.sort(random.permutation(len(sides.columns))[: max(_SAMPLE, k)])


def _by_block(rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float32]) -> dict[int, Keys]:
    """Return candidates by the number of the block of their row."""
    keys = keys_of(rows % ROWS, columns, values)
    blocks = (rows // ROWS).astype(np.uint16)  # which are sorted much faster than longer numbers
    return {block: keys[places] for block, places in _grouped(blocks)}


def _grouped(values: NDArray[np.uint16]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each of *values* once, ascending, with the places where it stands."""
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(np.diff(values[order].astype(np.int64), prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        yield int(values[order[start]]), order[start:stop]

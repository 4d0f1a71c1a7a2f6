"""The k nearest corpus vectors of every query vector, some bands of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.blocks import AHEAD, ROWS, exact_scores, rows_from, scan
from vision_recs.knn_join.candidates import Candidates, CorpusOrder, approximate_keys
from vision_recs.knn_join.keys import Keys
from vision_recs.knn_join.matmul import Matmul, Rows
from vision_recs.knn_join.operands import Operands
from vision_recs.ordered_map import ordered_map

_BAND = 8  # blocks of rows that are finished together; one task scans one block
_SAMPLE = 8_192  # columns whose products give the thresholds
_PENDING = 1 << 26  # candidates in memory, of 8 bytes each, from which on all blocks are compacted


class Nearest(NamedTuple):
    """The nearest corpus vectors of some query vectors: the one with the number *first*, and those that follow.

    *numbers* (n, k) are the numbers of corpus vectors, best first, equal scores by number; *scores* (n, k) are theirs.
    """

    first: int
    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]


class BlockedJoin:
    """The k nearest columns of every row, computed block by block in a pool."""

    def __init__(self, operands: Operands, matmul: Matmul, k: int, pool: Executor) -> None:
        """Find the thresholds, in *pool*."""
        self._operands = operands
        self._matmul = matmul
        self._pool = pool
        self._k = k
        self._sample = _sample(operands, k)
        self._starts = range(0, len(operands.queries), ROWS)
        self._low = np.concatenate(list(pool.map(lambda start: self._guess(rows_from(start)), self._starts)))
        rows = np.arange(len(operands.queries))
        self._queries_only = np.setdiff1d(rows, operands.row_of, assume_unique=True)
        self._blocks = [self._candidates(rows[here], self._low[here]) for here in map(rows_from, self._starts)]

    def bands(self) -> Iterator[Nearest]:
        """Yield the nearest of all rows, in their order."""
        for first in range(0, len(self._blocks), _BAND):
            for found in self._scans(self._starts[first : first + _BAND]):
                for number, keys in found.items():
                    self._blocks[number].add(keys)
                if sum(block.count for block in self._blocks) > _PENDING:
                    for block in self._blocks:
                        block.compact()
            yield self._finished(first)
            list(self._pool.map(Candidates.prune, [block for block in self._blocks if block.should_prune]))

    def _finished(self, first: int) -> Nearest:
        """Return the nearest of the rows of the blocks from *first* on, and forget their candidates."""
        blocks = self._blocks[first : first + _BAND]
        found = list(self._pool.map(Candidates.nearest, blocks))
        numbers, scores, is_sure = (np.concatenate([each[part] for each in found]) for part in range(3))
        for block in blocks:
            block.clear()
        unsure = np.flatnonzero(~is_sure)
        parts = [unsure[here] for here in map(rows_from, range(0, len(unsure), ROWS))]
        again = self._pool.map(self._certainly_nearest, [part + self._starts[first] for part in parts])
        for part, (its_numbers, its_scores) in zip(parts, again, strict=True):
            numbers[part], scores[part] = its_numbers, its_scores
        return Nearest(self._starts[first], numbers, scores)

    def _guess(self, rows: slice) -> NDArray[np.float32]:
        """Return, for each of *rows*, a threshold that the products of the k nearest columns almost certainly reach.

        Of the k nearest columns, about expected = k * share are in a random sample (hypergeometric distribution). So
        the vector at a rank of the sample far beyond *expected* is almost never nearer than the k-th of all: with the
        margin below for less than 1 row in 100, which costs less than the candidates of a wider margin. With groups,
        the same holds for groups, since at most one vector of each is in the sample.
        """
        groups = self._operands.groups
        share = len(self._sample) / (len(self._operands.corpus) if groups is None else groups.count)
        expected = self._k * share
        rank = int(expected + 3 * (expected * (1 - share)) ** 0.5 + 3)
        if rank > self._k:
            return self._certain(rows)
        return self._matmul.error_bound(rows).lower(self._matmul.kth_best(rows, self._sample, rank))

    def _certain(self, rows: Rows) -> NDArray[np.float32]:
        """Return, for each of *rows*, a threshold that the products of the k nearest columns certainly reach."""
        bound = self._matmul.error_bound(rows)
        own = 0 if self._operands.groups is None else 1  # vector of the sample may be of the group of the query
        found = self._matmul.kth_best(rows, self._sample, self._k + own)
        # exact scores may be less by the bound, and products of vectors with such scores less by the bound once more
        return bound.lower(bound.lower(found))

    def _certainly_nearest(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest of a few *rows* whose guessed threshold was too high."""
        low = self._certain(rows)
        candidates = self._candidates(rows, low)
        candidates.add(approximate_keys(*scan(self._matmul, rows, range(len(self._operands.corpus)), low)))
        numbers, scores, is_sure = candidates.nearest()
        assert is_sure.all(), "the bound on the error of a product does not hold"
        return numbers, scores

    def _candidates(self, rows: NDArray[np.int64], low: NDArray[np.float32]) -> Candidates:
        operands, groups = self._operands, self._operands.groups

        def score(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
            return exact_scores(operands.queries, rows[row], operands.corpus, column)

        groups = None if groups is None else groups.for_queries(groups.query_owner[rows])
        order = CorpusOrder(operands.number, operands.column_of, groups)
        bound = self._matmul.error_bound(rows)
        return Candidates(self._k, score, order=order, bound=bound, low=low)

    def _scans(self, starts: range) -> Iterator[dict[int, Keys]]:
        """Yield candidates by the number of their block. After all earlier starts, the blocks at *starts* have all."""
        first, last = np.searchsorted(self._queries_only, [starts.start, starts.stop]).tolist()
        queries_only = self._queries_only[first:last]
        others = range(0, len(queries_only), ROWS)
        return chain(
            ordered_map(self._pool, self._scan, starts, window=AHEAD),
            ordered_map(self._pool, partial(self._scan_queries_only, queries_only), others, window=AHEAD),
        )

    def _scan(self, start: int) -> dict[int, Keys]:
        """Return the candidates from the products of the block at *start* with the columns from that block on.

        Only rows that are columns as well are scanned. Their products with earlier columns were computed with the
        blocks of these, and served both sides.
        """
        operands = self._operands
        begin, end = np.searchsorted(operands.row_of, [start, start + ROWS]).tolist()
        low = self._low[operands.row_of]
        other_low = np.full(len(operands.corpus), np.inf, dtype=np.float32)
        other_low[end : len(low)] = low[end:]
        columns = range(begin, len(operands.corpus))
        hits = scan(self._matmul.of_columns, slice(begin, end), columns, low[begin:end], other_low)
        passes = hits.values >= other_low[hits.columns]
        found = _by_block(operands.row_of[hits.columns[passes]], begin + hits.rows[passes], hits.values[passes])
        own = hits.values >= low[begin + hits.rows]
        rows = operands.row_of[begin + hits.rows[own]]
        found[start // ROWS] = approximate_keys(rows - start, hits.columns[own], hits.values[own])
        return found

    def _scan_queries_only(self, queries_only: NDArray[np.int64], start: int) -> dict[int, Keys]:
        """Return the candidates of some of the rows *queries_only*, from place *start* on, among all columns."""
        rows = queries_only[start : start + ROWS]
        hits = scan(self._matmul, rows, range(len(self._operands.corpus)), self._low[rows])
        return _by_block(rows[hits.rows], hits.columns, hits.values)


def _sample(operands: Operands, k: int) -> NDArray[np.int64]:
    """Return some columns at random, or one random column of each of some groups."""
    random = np.random.default_rng(0)
    if operands.groups is not None:
        return operands.groups.sample_one_each(random, max(_SAMPLE, k + 1))
    return np.sort(random.permutation(len(operands.corpus))[: max(_SAMPLE, k)])


def _by_block(rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float32]) -> dict[int, Keys]:
    """Return candidates by the number of the block of their row."""
    keys = approximate_keys(rows % ROWS, columns, values)
    blocks = rows // ROWS
    if int(blocks.max(initial=0)) <= np.iinfo(np.uint16).max:  # such short numbers are sorted much faster
        blocks = blocks.astype(np.uint16)
    return {block: keys[places] for block, places in _places_of_each(blocks)}


def _places_of_each(values: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each of *values* once, ascending, with the places where it stands."""
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(np.diff(values[order].astype(np.int64), prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        yield int(values[order[start]]), order[start:stop]

"""Maximal marginal relevance for many items at once: what `recommend` does for one query with `Policy.diversity`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs.batch.item_arrays import ItemArrays
from vision_recs.batch.neighbors.candidates import CandidateLists
from vision_recs.knn_join.matmul import cosines_between
from vision_recs.recommend.diversity import marginal_relevance
from vision_recs.types import Vectors

_ITEMS = 128
"""Items whose lists are chosen at once."""

_COMPARED = 4
"""Items whose candidates NumPy compares at once: their vectors stay in the cache of the processor."""

RowsAt: TypeAlias = Callable[[NDArray[np.int64]], tuple[Vectors, NDArray[np.int64]]]
"""A function that returns vectors (m, dim), and the rows (n,) of these that are the vectors at n positions."""


@dataclass(frozen=True, slots=True)
class DiversityReranker:
    """Chooses *k* of the candidates of each item, one after another, by maximal marginal relevance; see `Policy`."""

    arrays: ItemArrays
    rows_at: RowsAt
    k: int
    diversity: float

    def rerank(self, lists: CandidateLists, pool: Executor) -> CandidateLists:
        """Return up to *k* of the candidates of each item, in the order in which they are chosen."""
        starts = range(0, len(lists.items), _ITEMS)
        places = np.concatenate([np.empty(0, np.int64), *pool.map(partial(self._places, lists), starts)])
        ends = np.concatenate([[0], np.cumsum(np.minimum(lists.counts, self.k))])
        return CandidateLists(lists.items, ends, lists.rows[places], lists.scores[places])

    def _places(self, lists: CandidateLists, first: int) -> NDArray[np.int64]:
        """Return which candidates are chosen for the items from *first* on, item by item."""
        starts = lists.starts[first : first + _ITEMS + 1]
        here = slice(starts[0], starts[-1])
        vectors, rows = self.rows_at(self.arrays.positions[lists.rows[here]])
        chosen = diversify(vectors, rows, lists.scores[here], starts - starts[0], self.k, self.diversity)
        chosen += starts[0]
        return chosen


def diversify(  # noqa: PLR0913, PLR0917 - an object for them would be made for every call
    vectors: Vectors,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    starts: NDArray[np.int64],
    k: int,
    diversity: float,
) -> NDArray[np.int64]:
    """Return which candidates are chosen from each of some pools, up to *k* of each, in order, pool by pool.

    Candidate i has `scores[i]` and the vector `vectors[rows[i]]`, and pool p the candidates from `starts[p]` up to
    `starts[p + 1]`. The cosines between candidates are computed in float32: so of two candidates whose marginal
    relevance differs by less than 1e-6, either may be chosen.
    """
    counts = np.diff(starts)
    if _native.kernels is not None:
        chosen = np.empty(np.minimum(counts, k).sum(), np.int64)
        _native.kernels.diversify(vectors, rows, scores, starts, chosen, k, diversity, vectors.shape[1])
        return chosen
    widest = int(counts.max(initial=0))
    if not widest:
        return np.empty(0, np.int64)
    # The table has as many columns as the largest pool; a cell beyond the end of a smaller one has the rank -inf.
    cells = np.minimum(starts[:-1, None] + np.arange(widest), len(rows) - 1)
    is_there = np.arange(widest) < counts[:, None]
    ranks = np.where(is_there, scores[cells].astype(np.float64), -np.inf)
    columns = _chosen(vectors, rows[cells], ranks, k, diversity)
    places: NDArray[np.int64] = (columns + starts[:-1, None])[is_there[:, : columns.shape[1]]]
    return places


def _chosen(
    vectors: Vectors, rows: NDArray[np.int64], ranks: NDArray[np.float64], k: int, diversity: float
) -> NDArray[np.int64]:
    """Return which columns (n, k) of each row of *ranks* (n, p) are chosen, in order, all rows in step.

    *rows* (n, p) are those of the candidates' *vectors*. A cell with a rank of -inf is not a candidate.
    """
    near = np.empty((*ranks.shape, ranks.shape[1]), np.float32)
    for start in range(0, len(ranks), _COMPARED):
        some = vectors[rows[start : start + _COMPARED]]
        near[start : start + _COMPARED] = cosines_between(some)
    lines = np.arange(len(ranks))
    left = ranks.copy()
    nearest = np.full(ranks.shape, -np.inf)
    chosen = np.empty((len(ranks), min(k, ranks.shape[1])), dtype=np.int64)
    for step in range(chosen.shape[1]):
        if step:
            np.maximum(nearest, near[lines, chosen[:, step - 1]], out=nearest)
        chosen[:, step] = np.argmax(marginal_relevance(left, nearest, diversity), axis=1)
        left[lines, chosen[:, step]] = -np.inf
    return chosen

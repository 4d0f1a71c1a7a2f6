"""Maximal marginal relevance for many items at once: what `recommend` does for one query with `Policy.diversity`."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import ItemArrays
from vision_recs.batch.neighbors.candidates import CandidateLists
from vision_recs.batch.neighbors.retrieve import VectorsAt, max_sim
from vision_recs.knn_join.matmul import cosines_between
from vision_recs.recommend.diversity import marginal_relevance
from vision_recs.types import Vectors

_ITEMS = 128
"""Items whose lists are chosen at once, in step."""

_FIRST = 2
"""The cosines of the best _FIRST * k candidates are computed beforehand; a candidate behind them is seldom chosen."""

_COMPARED = 4
"""Items whose candidates are compared at once: their vectors stay in the cache of the processor."""


@dataclass(frozen=True, slots=True)
class DiversityReranker:
    """Chooses *k* of the candidates of each item, one after another, by maximal marginal relevance; see `Policy`.

    The cosines between candidates are computed in float32. So of two candidates whose marginal relevance differs by
    less than 1e-6, either may be chosen.
    """

    arrays: ItemArrays
    vectors_at: VectorsAt
    k: int
    diversity: float

    def rerank(self, lists: CandidateLists, pool: Executor) -> CandidateLists:
        """Return up to *k* of the candidates of each item, in the order in which they are chosen, with exact scores."""
        starts = range(0, len(lists.items), _ITEMS)
        places = np.concatenate([np.empty(0, np.int64), *pool.map(partial(self._places, lists), starts)])
        ends = np.concatenate([[0], np.cumsum(np.minimum(lists.counts, self.k))])
        chosen = CandidateLists(lists.items, ends, lists.rows[places], lists.scores[places])
        scores = np.concatenate([np.empty(0, np.float32), *pool.map(partial(self._scores, chosen), starts)])
        return CandidateLists(lists.items, ends, chosen.rows, scores)

    def _places(self, lists: CandidateLists, first: int) -> NDArray[np.int64]:
        """Return which candidates are chosen for the items from *first* on, item by item."""
        starts = lists.starts[first : first + _ITEMS + 1]
        counts = np.diff(starts)
        widest = int(counts.max())
        if not widest:
            return np.empty(0, np.int64)
        # The table has as many columns as the longest list; a cell beyond the end of a shorter list has the rank -inf.
        cells = np.minimum(starts[:-1, None] + np.arange(widest), len(lists.rows) - 1)
        is_there = np.arange(widest) < counts[:, None]
        ranks = np.where(is_there, lists.scores[cells].astype(np.float64), -np.inf)
        positions = self.arrays.positions[lists.rows[cells]]
        chosen = self._chosen(ranks, positions)
        places: NDArray[np.int64] = (chosen + starts[:-1, None])[is_there[:, : chosen.shape[1]]]
        return places

    def _chosen(self, ranks: NDArray[np.float64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which columns (n, k) of each row of *ranks* (n, p) are chosen, in order.

        A cell with a rank of -inf is not a candidate. *positions* (n, p) are those of the candidates' vectors.
        """
        first = max(1, _FIRST * self.k)
        near = np.empty((len(ranks), min(first, ranks.shape[1]), ranks.shape[1]), np.float32)
        for start in range(0, len(ranks), _COMPARED):
            vectors = self._vectors(positions[start : start + _COMPARED])
            near[start : start + _COMPARED] = cosines_between(vectors[:, :first], vectors)
        rows = np.arange(len(ranks))
        left = ranks.copy()
        nearest = np.full(ranks.shape, -np.inf)
        chosen = np.empty((len(ranks), min(self.k, ranks.shape[1])), dtype=np.int64)
        for step in range(chosen.shape[1]):
            if step:
                last = chosen[:, step - 1]
                its = near[rows, np.minimum(last, first - 1)]
                far = np.flatnonzero(last >= first)
                if len(far):
                    its[far] = self._cosines_with(positions[far], last[far])
                np.maximum(nearest, its, out=nearest)
            chosen[:, step] = np.argmax(marginal_relevance(left, nearest, self.diversity), axis=1)
            left[rows, chosen[:, step]] = -np.inf
        return chosen

    def _cosines_with(self, positions: NDArray[np.int64], which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines (n, p) of column which[i] of row i of *positions* (n, p) with all columns of that row."""
        vectors = self._vectors(positions)
        return cosines_between(vectors[np.arange(len(which)), which][:, None], vectors)[:, 0]

    def _vectors(self, positions: NDArray[np.int64]) -> Vectors:
        return self.vectors_at(positions.ravel()).reshape(*positions.shape, -1)

    def _scores(self, lists: CandidateLists, first: int) -> NDArray[np.float32]:
        """Return the exact score of each candidate of the items from *first* on."""
        here = slice(first, first + _ITEMS)
        rows = lists.rows[lists.starts[first] : lists.starts[here.stop : here.stop + 1].min(initial=len(lists.rows))]
        items = np.repeat(lists.items[here], lists.counts[here])
        return max_sim(self.arrays, self.vectors_at, items, self.arrays.positions[rows])

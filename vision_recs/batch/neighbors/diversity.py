"""Maximal marginal relevance for many items at once: what `diversity.Pool` does for one query."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import Inventory
from vision_recs.batch.neighbors.candidates import Shortlists
from vision_recs.batch.neighbors.max_sim import VectorsAt, best_pairs
from vision_recs.knn_join.matmul import cosines_between
from vision_recs.recommend.diversity import marginal
from vision_recs.types import Vectors

_ITEMS = 128  # for which one after another is chosen at once
_FIRST = (
    2  # times as many as are chosen: of the best ones, all cosines are computed beforehand; others are seldom chosen
)
_COMPARED = 4  # whose candidates are compared with one another at once: their vectors stay in the cache


@dataclass(frozen=True, slots=True)
class Variety:
    """Chooses *k* of many candidates with a *diversity*; see `Policy`.

    Cosines between candidates are computed in float32, so that of two candidates whose marginal relevance differs by
    less than 1e-6 either may be chosen.
    """

    inventory: Inventory
    vectors_at: VectorsAt
    k: int
    diversity: float

    def choose(self, lists: Shortlists, pool: Executor) -> Shortlists:
        """Return up to *k* of the candidates of each item, in the order in which they are chosen, with exact scores."""
        starts = range(0, len(lists.items), _ITEMS)
        places = np.concatenate([np.empty(0, np.int64), *pool.map(partial(self._places, lists), starts)])
        ends = np.concatenate([[0], np.cumsum(np.minimum(lists.counts, self.k))])
        chosen = Shortlists(lists.items, ends, lists.rows[places], lists.scores[places])
        scores = np.concatenate([np.empty(0, np.float32), *pool.map(partial(self._scores, chosen), starts)])
        return Shortlists(lists.items, ends, chosen.rows, scores)

    def _places(self, lists: Shortlists, first: int) -> NDArray[np.int64]:
        """Return which candidates are chosen for the items from *first* on, item by item."""
        starts = lists.starts[first : first + _ITEMS + 1]
        counts = np.diff(starts)
        widest = int(counts.max())
        if not widest:
            return np.empty(0, np.int64)
        # Each item has as many cells as the one with the most candidates; what is in a cell too many does not count.
        cells = np.minimum(starts[:-1, None] + np.arange(widest), len(lists.rows) - 1)
        is_there = np.arange(widest) < counts[:, None]
        ranks = np.where(is_there, lists.scores[cells].astype(np.float64), -np.inf)
        positions = self.inventory.positions[lists.rows[cells]]
        chosen = self._chosen(ranks, positions)
        places: NDArray[np.int64] = (chosen + starts[:-1, None])[is_there[:, : chosen.shape[1]]]
        return places

    def _chosen(self, ranks: NDArray[np.float64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which columns (n, k) of each row of *ranks* (n, p) are chosen, in order; -inf is nobody."""
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
                    its[far] = self._near(positions[far], last[far])
                np.maximum(nearest, its, out=nearest)
            chosen[:, step] = np.argmax(marginal(left, nearest, self.diversity), axis=1)
            left[rows, chosen[:, step]] = -np.inf
        return chosen

    def _near(self, positions: NDArray[np.int64], which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines (n, p) of the vector at *which* of each row of *positions* (n, p) with all of the row."""
        vectors = self._vectors(positions)
        return cosines_between(vectors[np.arange(len(which)), which][:, None], vectors)[:, 0]

    def _vectors(self, positions: NDArray[np.int64]) -> Vectors:
        return self.vectors_at(positions.ravel()).reshape(*positions.shape, -1)

    def _scores(self, lists: Shortlists, first: int) -> NDArray[np.float32]:
        """Return the score of each candidate of the items from *first* on: that of the best pair of images."""
        here = slice(first, first + _ITEMS)
        rows = lists.rows[lists.starts[first] : lists.starts[here.stop : here.stop + 1].min(initial=len(lists.rows))]
        asking = np.repeat(lists.items[here], lists.counts[here])
        return best_pairs(self.inventory, self.vectors_at, asking, self.inventory.positions[rows])

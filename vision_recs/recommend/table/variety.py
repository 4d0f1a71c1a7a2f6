"""Maximal marginal relevance for many items at once: what `diversity.Pool` does for one query."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.all_pairs.products import cosines_within
from vision_recs.recommend.diversity import marginal
from vision_recs.recommend.inventory import Inventory
from vision_recs.recommend.table.pairing import VectorsAt, best_pairs
from vision_recs.recommend.table.shortlists import Shortlists

_ITEMS = 128  # for which one after another is chosen at once
_COMPARED = 8  # whose candidates are compared with one another at once: their vectors stay in the cache


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
        # Hardly ever one is chosen from the far end, so that the cosines of those are seldom needed.
        chosen = self._chosen(ranks, positions, min(2 * self.k + 8, widest))
        is_beyond = chosen[:, -1] < 0
        chosen[is_beyond] = self._chosen(ranks[is_beyond], positions[is_beyond], widest)
        places: NDArray[np.int64] = (chosen + starts[:-1, None])[is_there[:, : chosen.shape[1]]]
        return places

    def _chosen(self, ranks: NDArray[np.float64], positions: NDArray[np.int64], first: int) -> NDArray[np.int64]:
        """Return which columns of each row of *ranks* (n, p) are chosen, in order; -inf is nobody.

        From where one is not of the *first* on, they are -1.
        """
        near = np.empty((len(ranks), first, ranks.shape[1]), np.float32)
        for start in range(0, len(ranks), _COMPARED):
            some = positions[start : start + _COMPARED]
            vectors = self.vectors_at(some.ravel()).reshape(*some.shape, -1)
            near[start : start + _COMPARED] = cosines_within(vectors, first)
        rows = np.arange(len(ranks))
        left = ranks.copy()
        nearest = np.full(ranks.shape, -np.inf)
        chosen = np.empty((len(ranks), min(self.k, ranks.shape[1])), dtype=np.int64)
        is_known = np.ones(len(ranks), dtype=np.bool_)
        for step in range(chosen.shape[1]):
            best = np.argmax(marginal(left, nearest, self.diversity), axis=1)
            is_known &= best < first
            chosen[:, step] = np.where(is_known, best, -1)
            left[rows, best] = -np.inf
            np.maximum(nearest, near[rows, np.minimum(best, first - 1)], out=nearest)
        return chosen

    def _scores(self, lists: Shortlists, first: int) -> NDArray[np.float32]:
        """Return the score of each candidate of the items from *first* on: that of the best pair of pictures."""
        here = slice(first, first + _ITEMS)
        rows = lists.rows[lists.starts[first] : lists.starts[here.stop : here.stop + 1].min(initial=len(lists.rows))]
        asking = np.repeat(lists.items[here], lists.counts[here])
        return best_pairs(self.inventory, self.vectors_at, asking, self.inventory.positions[rows])

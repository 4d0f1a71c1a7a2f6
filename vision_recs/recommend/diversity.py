"""Variety: a pool of candidates from which one after another is taken by maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.ranking import cosines
from vision_recs.recommend.sieve import Candidate
from vision_recs.types import Vectors


class Pool:
    """Candidates for one question, best first, and how near each is to what is chosen already."""

    def __init__(self, candidates: Sequence[Candidate], *, diversity: float, vectors: Vectors | None = None) -> None:
        """Offer *candidates*, whose *vectors* (n, dim) are needed where *diversity* is above 0."""
        self._candidates = candidates
        self._diversity = diversity
        self._vectors = vectors
        self._ranks = np.array([candidate.rank for candidate in candidates], dtype=np.float64)
        self._nearest = np.full(len(candidates), -np.inf)
        self._is_gone = np.zeros(len(candidates), dtype=bool)
        self._values = marginal(self._ranks, self._nearest, diversity)

    def move_away_from(self, vector: Vectors) -> None:
        """Let what is chosen from now on be unlike *vector* (dim,), which is part of the answer."""
        if self._vectors is not None:
            self._nearest = np.maximum(self._nearest, cosines(self._vectors, vector))
            self._values = marginal(self._ranks, self._nearest, self._diversity)
            self._values[self._is_gone] = -np.inf

    def take(self, is_open: Callable[[Candidate], bool]) -> tuple[Candidate, Vectors | None] | None:
        """Return the best candidate that is open, with its vector; equal ones in the order of the pool.

        No candidate is returned twice, and one that was not open once is not looked at again.
        """
        for _ in self._candidates:
            best = int(np.argmax(self._values))
            if self._is_gone[best]:
                break
            self._is_gone[best] = True
            self._values[best] = -np.inf
            if is_open(self._candidates[best]):
                return self._candidates[best], None if self._vectors is None else self._vectors[best]
        return None


def marginal(ranks: NDArray[np.float64], nearest: NDArray[np.float64], diversity: float) -> NDArray[np.float64]:
    """Return the marginal relevance of candidates with *ranks*, *nearest* being their best cosine with one chosen.

    A *nearest* of -inf, where nothing is chosen yet, takes nothing off. Any shape will do.
    """
    return (1 - diversity) * ranks - diversity * np.where(np.isinf(nearest), 0.0, nearest)

"""Variety: a pool of candidates from which one after another is taken by maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.candidates import Candidate
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine


class Pool:
    """Candidates for one question, best first, to be taken in that order."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Offer *candidates*."""
        self._left = iter(candidates)

    def move_away_from(self, vector: Vectors) -> None:
        """Let what is taken from now on be unlike *vector* (dim,), which is part of the answer."""

    def take(self, is_open: Callable[[Candidate], bool]) -> tuple[Candidate, Vectors | None] | None:
        """Return the best candidate that is open, with its vector where that is known; None where there is none.

        No candidate is returned twice, and one that was not open once is not looked at again.
        """
        return next(((candidate, None) for candidate in self._left if is_open(candidate)), None)


class DiversePool(Pool):
    """Candidates that lose by *diversity* for how near they are to what is chosen already."""

    def __init__(self, candidates: Sequence[Candidate], *, diversity: float, vectors: Vectors) -> None:
        """Offer *candidates*, of which there is one at least, with their *vectors* (n, dim)."""
        super().__init__(candidates)
        self._candidates = candidates
        self._diversity = diversity
        self._vectors = vectors
        self._ranks = np.array([candidate.rank for candidate in candidates], dtype=np.float64)
        self._nearest = np.full(len(candidates), -np.inf)
        self._is_gone = np.zeros(len(candidates), dtype=bool)
        self._values = marginal(self._ranks, self._nearest, diversity)

    def move_away_from(self, vector: Vectors) -> None:
        """Let what is taken from now on be unlike *vector* (dim,), which is part of the answer."""
        self._nearest = np.maximum(self._nearest, exact_cosine(self._vectors, vector))
        self._values = marginal(self._ranks, self._nearest, self._diversity)
        self._values[self._is_gone] = -np.inf

    def take(self, is_open: Callable[[Candidate], bool]) -> tuple[Candidate, Vectors | None] | None:
        """Return the best candidate that is open, with its vector; equal ones in the order of the pool."""
        while not self._is_gone.all():
            best = int(np.argmax(self._values))
            self._is_gone[best] = True
            self._values[best] = -np.inf
            if is_open(self._candidates[best]):
                return self._candidates[best], self._vectors[best]
        return None


def marginal(ranks: NDArray[np.float64], nearest: NDArray[np.float64], diversity: float) -> NDArray[np.float64]:
    """Return the marginal relevance of candidates with *ranks*, *nearest* being their best cosine with one chosen.

    A *nearest* of -inf, where nothing is chosen yet, takes nothing off. Any shape will do.
    """
    return (1 - diversity) * ranks - diversity * np.where(np.isinf(nearest), 0.0, nearest)

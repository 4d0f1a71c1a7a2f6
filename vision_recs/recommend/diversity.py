"""Diversity: a pool of candidates, from which one after another is taken by maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.eligibility import Candidate, ranks_of
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine


class Pool:
    """Candidates for one sub-query, the best first; they are taken in that order."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Hold *candidates*."""
        self._left = iter(candidates)

    def move_away_from(self, vector: Vectors) -> None:
        """Make the next candidates unlike *vector* (dim,), which the answer shows; this pool keeps its order."""

    def take(self, is_open: Callable[[Candidate], bool]) -> tuple[Candidate, Vectors | None] | None:
        """Return the best candidate for which *is_open* is true, and its vector where that is known, or None.

        No candidate is returned twice, and a candidate for which *is_open* was false is not tried again.
        """
        return next(((candidate, None) for candidate in self._left if is_open(candidate)), None)


class DiversePool(Pool):
    """Candidates whose value falls, by *diversity*, with their likeness to the matches before them."""

    def __init__(self, candidates: Sequence[Candidate], *, diversity: float, vectors: Vectors) -> None:
        """Hold *candidates*, one at least, with their *vectors* (n, dim)."""
        super().__init__(candidates)
        self._candidates = candidates
        self._diversity = diversity
        self._vectors = vectors
        self._own = (1 - diversity) * np.array(ranks_of(candidates), np.float64)
        self._nearest: NDArray[np.floating] | None = None
        self._values = self._own

    def move_away_from(self, vector: Vectors) -> None:
        """Make the next candidates unlike *vector* (dim,), which the answer shows."""
        near = exact_cosine(self._vectors, vector)
        self._nearest = near if self._nearest is None else np.maximum(self._nearest, near, out=self._nearest)
        self._values = self._own - self._diversity * self._nearest.astype(np.float64)

    def take(self, is_open: Callable[[Candidate], bool]) -> tuple[Candidate, Vectors | None] | None:
        """Return the candidate of the highest value for which *is_open* is true, and its vector, or None.

        Equal values are taken in the order of the pool.
        """
        while True:
            best = int(self._values.argmax())
            if self._values[best] == -np.inf:  # that of one that is gone
                return None
            self._own[best] = self._values[best] = -np.inf
            candidate = self._candidates[best]
            if is_open(candidate):
                return candidate, self._vectors[best]


def marginal_relevance(
    ranks: NDArray[np.float64], nearest: NDArray[np.float64], diversity: float
) -> NDArray[np.float64]:
    """Return the marginal relevance of candidates, from their *ranks* and *nearest*, in arrays of any one shape.

    *nearest* is the highest cosine of each candidate with a match before it, or -inf where there is no match yet.
    """
    return (1 - diversity) * ranks - diversity * np.where(np.isinf(nearest), 0.0, nearest)

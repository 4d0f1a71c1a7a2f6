"""A query as vectors, and the score that it gives an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import TermScore, Vectors
from vision_recs.vectors import exact_cosine


class Part(NamedTuple):
    """One thing that is asked for, or asked against: its vectors, and the image that each belongs to, if any."""

    kind: str
    asked: str
    weight: float
    vectors: Vectors
    images: tuple[str | None, ...]

    def nearest(self, vectors: Vectors) -> NDArray[np.float64]:
        """Return the best cosine of each of *vectors* (n, dim) with a vector of this part."""
        best: NDArray[np.float64] = np.max([exact_cosine(vectors, own) for own in self.vectors], axis=0).astype(
            np.float64
        )
        return best

    def explain(self, vector: Vectors) -> TermScore:
        """Return how *vector* (1, dim) stands to this part, by the first of its vectors that are nearest."""
        scores = [float(exact_cosine(vector, own)[0]) for own in self.vectors]
        best = scores.index(max(scores))
        return TermScore(self.kind, self.asked, self.weight, scores[best], self.images[best])


class Question(NamedTuple):
    """What one search asks: everything of a query, or of one interest in it, which has a *share* of the answer.

    The score of an image x is

        ( sum over parts p of  weight(p) * max over v in p of cos(x, v)
          - sum over negatives u of  weight(u) * max(0, max over v in u of cos(x, v)) ) / sum over parts p of weight(p)

    so that one vector alone gives its cosine, and an item to move away from takes something off what is like it and
    adds nothing to what is its opposite. It is at most 1, and below -1 where heavy weights take more off.
    """

    parts: tuple[Part, ...]
    negatives: tuple[Part, ...] = ()
    share: float = 1.0

    @property
    def is_single(self) -> bool:
        """Whether the score is the cosine with one vector."""
        return len(self.parts) == 1 and len(self.parts[0].vectors) == 1 and not self.negatives

    @property
    def vectors(self) -> Vectors:
        """The vectors to search with, (n, dim): those of all parts, in their order."""
        return np.concatenate([part.vectors for part in self.parts])

    @property
    def asked(self) -> tuple[str, ...]:
        """The items that are asked for, which rules look at."""
        return tuple(part.asked for part in self.parts if part.kind in {"item", "interest"})

    def scores(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return the score of each of *vectors* (n, dim)."""
        total = np.zeros(len(vectors))
        for part in self.parts:
            total += part.weight * part.nearest(vectors)
        for part in self.negatives:
            total -= part.weight * np.maximum(part.nearest(vectors), 0.0)
        return (total / self._weight).astype(np.float32)

    def bound(self, lasts: Sequence[float]) -> float:
        """Return a score that no image exceeds which the search for vector i gives at most *lasts[i]*.

        The operations are those of `scores`, in the same order, each of which rounds monotonically.
        """
        left = iter(lasts)
        total = 0.0
        for part in self.parts:
            total += part.weight * max(next(left) for _ in part.vectors)
        return float(np.float32(total / self._weight))

    @property
    def _weight(self) -> float:
        return sum(part.weight for part in self.parts)

"""What an index is measured with: queries that are not in it, and what exact search answers."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.ranking import blocks
from vision_recs.types import Vectors, VectorSource, unit_rows

DEPTHS = (1, 10, 100)
"""The numbers of answers at which recall is measured."""

_NOTHING = np.float32(-2)
"""The score of an answer that there is not: below any cosine."""
_BLOCK = 16_384
_TIE = 1e-5  # the exact answers come out of float32, which errs by less
_PERTURBED_COSINE = 0.95
"""How near a perturbed query stays to the vector that it comes from."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries (n, dim), and the scores of their exact answers (n, depth), best first; -2 where there are no more.

    *left_out* is the position of the vector that a query is, or -1: such a query is asked as if the index were without
    that vector, since a shopper's picture is not in the catalogue either.
    """

    vectors: Vectors
    left_out: NDArray[np.int64]
    scores: NDArray[np.float32]

    def recall(self, answers: list[tuple[NDArray[np.int64], NDArray[np.float32]]], depth: int) -> float:
        """Return recall@*depth* of *answers*, the positions and exact scores that an index gave for each query.

        Whatever scores as much as the last of the exact answers is right: which of the tied ones it is does not matter.
        """
        found = wanted = 0
        for (positions, scores), left_out, exact in zip(answers, self.left_out, self.scores, strict=True):
            right = exact[:depth][exact[:depth] > _NOTHING]
            if len(right):
                kept = np.sort(scores[positions != left_out])[::-1][:depth]
                found += min(len(right), int((kept >= right[-1] - _TIE).sum()))
                wanted += len(right)
        return found / wanted if wanted else 1.0


def draw(
    source: VectorSource, count: int, *, seed: int, within: NDArray[np.int64] | None = None, depth: int = DEPTHS[-1]
) -> Questions:
    """Return about *count* questions: half of them vectors of *source*, half such vectors moved in a random direction.

    The exact answers are among all positions, or among those of *within*.
    """
    random = np.random.default_rng(seed)
    alive = source.positions()
    chosen = np.sort(random.choice(alive, min(len(alive), count), replace=False))
    vectors = source.vectors(chosen)
    moved = np.arange(len(chosen)) % 2 == 1
    noise = unit_rows(random.standard_normal(vectors.shape))
    sine = np.sqrt(1 - _PERTURBED_COSINE**2)
    vectors[moved] = unit_rows(_PERTURBED_COSINE * vectors[moved] + sine * noise[moved])
    left_out = np.where(moved, -1, chosen)
    return Questions(vectors, left_out, _exact(source, vectors, left_out, within, depth))


def _exact(
    source: VectorSource,
    queries: Vectors,
    left_out: NDArray[np.int64],
    within: NDArray[np.int64] | None,
    depth: int,
) -> NDArray[np.float32]:
    scores = np.full((len(queries), depth + 1), _NOTHING, np.float32)
    found = np.full((len(queries), depth + 1), -1, np.int64)
    for positions, vectors in blocks(source, _BLOCK, within):
        near, ordinals = faiss.knn(queries, vectors, min(depth + 1, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.concatenate([scores, near], axis=1)
        found = np.concatenate([found, positions[ordinals]], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : depth + 1]
        scores, found = np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)
    own = (found == left_out[:, None]) & (left_out[:, None] >= 0)
    scores[own] = _NOTHING
    return -np.sort(-scores, axis=1)[:, :depth]

"""What an index is measured with: queries that are not in it, and what exact search answers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import blocks
from vision_recs.indexes.inverted_lists import among
from vision_recs.types import Vectors, VectorSource
from vision_recs.vectors import normalize_or_raise

DEPTHS = (1, 10, 100)
"""The numbers of answers at which recall is measured."""

_NOTHING = np.float32(-2)
"""The score of an answer that there is not: below any cosine."""
_BLOCK = 16_384
_FILE = "questions.npz"
_DEPTH = DEPTHS[-1] + 40  # of answers that are kept: some are deleted with time
_TIE = 1e-5  # the exact answers come out of float32, which errs by less
_PERTURBED_COSINE = 0.95
"""How near a perturbed query stays to the vector that it comes from."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries (n, dim), and the scores and positions (n, depth) of their exact answers, best first; -2 for no more.

    *left_out* is the position of the vector that a query is, or -1: such a query is asked as if the index were without
    that vector, since a shopper's image is not in the catalog either.
    """

    vectors: Vectors
    left_out: NDArray[np.int64]
    scores: NDArray[np.float32]
    positions: NDArray[np.int64]

    def save(self, directory: Path) -> None:
        """Keep them in *directory*, with their answers."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(directory / _FILE, **arrays)

    @classmethod
    def load(cls, directory: Path) -> Questions:
        """Return what `save` kept in *directory*; raises StoreDamaged."""
        path = directory / _FILE
        try:
            with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                return cls(**{field.name: kept[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise StoreDamaged(f"{path} cannot be read ({error}); rebuild it with `visrec index`") from error

    def after(self, source: VectorSource, fresh: NDArray[np.int64], dead: NDArray[np.int64]) -> Questions | None:
        """Return the questions with the answers that they have once *fresh* positions came and *dead* ones went.

        Only the fresh vectors of *source* are read. None where too many answers are dead to know all of the others.
        """
        depth = self.scores.shape[1]
        complete_to = self.scores[:, -1:].copy()  # no position was left out that scores more
        left = self.scores.copy()
        left[among(self.positions.ravel(), np.sort(dead)).reshape(left.shape)] = _NOTHING
        scores, positions = _exact(source, self.vectors, self.left_out, fresh, depth)
        merged = _best_of(np.hstack([left, scores]), np.hstack([self.positions, positions]), depth)
        known = (merged[0] >= complete_to) & (merged[0] > _NOTHING)
        if ((known.sum(axis=1) < DEPTHS[-1]) & (complete_to[:, 0] > _NOTHING)).any():
            return None
        merged[0][~known] = _NOTHING
        return Questions(self.vectors, self.left_out, *merged)

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
    source: VectorSource, count: int, *, seed: int, within: NDArray[np.int64] | None = None, depth: int = _DEPTH
) -> Questions:
    """Return about *count* questions: half of them vectors of *source*, half such vectors moved in a random direction.

    The exact answers are among all positions, or among those of *within*.
    """
    random = np.random.default_rng(seed)
    alive = source.positions()
    chosen = np.sort(random.choice(alive, min(len(alive), count), replace=False))
    vectors = source.vectors(chosen)
    moved = np.arange(len(chosen)) % 2 == 1
    noise = normalize_or_raise(random.standard_normal(vectors.shape))
    sine = np.sqrt(1 - _PERTURBED_COSINE**2)
    vectors[moved] = normalize_or_raise(_PERTURBED_COSINE * vectors[moved] + sine * noise[moved])
    left_out = np.where(moved, -1, chosen)
    return Questions(vectors, left_out, *_exact(source, vectors, left_out, within, depth))


def _exact(
    source: VectorSource,
    queries: Vectors,
    left_out: NDArray[np.int64],
    within: NDArray[np.int64] | None,
    depth: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and positions (n, depth), best first, of the vectors nearest to each of *queries*."""
    scores = np.full((len(queries), depth + 1), _NOTHING, np.float32)
    found = np.full((len(queries), depth + 1), -1, np.int64)
    for positions, vectors in blocks(source, _BLOCK, within):
        near, ordinals = faiss.knn(queries, vectors, min(depth + 1, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, found = _best_of(np.hstack([scores, near]), np.hstack([found, positions[ordinals]]), depth + 1)
    own = (found == left_out[:, None]) & (left_out[:, None] >= 0)
    scores[own] = _NOTHING
    return _best_of(scores, found, depth)


def _best_of(
    scores: NDArray[np.float32], positions: NDArray[np.int64], depth: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)

"""Holdout queries: what an index is tuned and measured with, and what exact search answers to them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import read_error
from vision_recs.indexes.base import Scored, blocks
from vision_recs.indexes.exact import recall_at
from vision_recs.indexes.inverted_lists import is_in_sorted
from vision_recs.types import VectorReader, Vectors
from vision_recs.vectors import normalize_or_raise

DEPTHS = (1, 10, 100)
"""The values of k at which recall is measured."""

NO_SCORE = np.float32(-2)
"""Stands for an answer that does not exist: it is below every cosine."""

_BLOCK = 16_384
_FILE = "holdout.npz"
_UNREADABLE = (BadZipFile, EOFError, NotImplementedError, RuntimeError, struct.error, zlib.error)  # of a zip archive
_DEPTH = DEPTHS[-1] + 40  # exact answers that are kept: some of them are deleted with time
_PERTURBED_COSINE = 0.95  # of a perturbed query with the vector that it comes from


@dataclass(frozen=True, slots=True)
class HoldoutQueries:
    """Queries, and what exact search answers to them.

    *vectors* (n, dim) are the queries. *scores* and *positions* (n, depth) are their exact answers, best first; the
    score -2 stands for an answer that does not exist. *excluded* (n,) is the position of the vector that a query was
    taken from, or -1: that vector is left out of the answers, since a shopper's image is not in the catalog either.
    """

    vectors: Vectors
    excluded: NDArray[np.int64]
    scores: NDArray[np.float32]
    positions: NDArray[np.int64]

    def save(self, directory: Path) -> None:
        """Write the queries and their answers into *directory*."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(directory / _FILE, **arrays)

    @classmethod
    def load(cls, directory: Path) -> HoldoutQueries:
        """Return what `save` wrote into *directory*; raises StoreDamaged."""
        path = directory / _FILE
        try:
            with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (*_UNREADABLE, OSError, LookupError, TypeError, ValueError) as error:
            raise read_error(path, error, "rebuild it with `visrec index`") from error

    def updated(
        self, source: VectorReader, added: NDArray[np.int64], deleted: NDArray[np.int64]
    ) -> HoldoutQueries | None:
        """Return the queries with their answers after the positions *added* came and the positions *deleted* went.

        Only the added vectors of *source* are read. Returns None where too many answers were deleted to know all that
        are left.
        """
        depth = self.scores.shape[1]
        complete_to = self.scores[:, -1:].copy()  # every vector with a higher score is among the answers
        left = self.scores.copy()
        left[is_in_sorted(self.positions.ravel(), np.sort(deleted)).reshape(left.shape)] = NO_SCORE
        scores, positions = _exact_answers(source, self.vectors, self.excluded, added, depth)
        merged = _best_of(np.hstack([left, scores]), np.hstack([self.positions, positions]), depth)
        is_known = (merged[0] >= complete_to) & (merged[0] > NO_SCORE)
        if ((is_known.sum(axis=1) < DEPTHS[-1]) & (complete_to[:, 0] > NO_SCORE)).any():
            return None
        merged[0][~is_known] = NO_SCORE
        return HoldoutQueries(self.vectors, self.excluded, *merged)

    def recall(self, answers: list[Scored], k: int) -> float:
        """Return recall@*k* of *answers*, the positions that an index found for each query, with their scores."""
        found = [
            np.sort(scores[positions != excluded])[::-1]
            for (positions, scores), excluded in zip(answers, self.excluded, strict=True)
        ]
        return recall_at(k, found, [exact[exact > NO_SCORE] for exact in self.scores])


def sample_queries(
    source: VectorReader, count: int, *, seed: int, within: NDArray[np.int64] | None = None, depth: int = _DEPTH
) -> HoldoutQueries:
    """Return about *count* holdout queries: half are vectors of *source*, half such vectors moved at random.

    The *depth* exact answers are among all positions of *source*, or among the positions *within*.
    """
    random = np.random.default_rng(seed)
    alive = source.positions()
    chosen = np.sort(random.choice(alive, min(len(alive), count), replace=False))
    vectors = source.vectors(chosen)
    is_moved = np.arange(len(chosen)) % 2 == 1
    noise = normalize_or_raise(random.standard_normal(vectors.shape))
    sine = np.sqrt(1 - _PERTURBED_COSINE**2)
    vectors[is_moved] = normalize_or_raise(_PERTURBED_COSINE * vectors[is_moved] + sine * noise[is_moved])
    excluded = np.where(is_moved, -1, chosen)
    return HoldoutQueries(vectors, excluded, *_exact_answers(source, vectors, excluded, within, depth))


def _exact_answers(
    source: VectorReader,
    queries: Vectors,
    excluded: NDArray[np.int64],
    within: NDArray[np.int64] | None,
    depth: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and positions (n, depth), best first, of the vectors nearest to each of *queries*."""
    scores = np.full((len(queries), depth + 1), NO_SCORE, np.float32)
    found = np.full((len(queries), depth + 1), -1, np.int64)
    for positions, vectors in blocks(source, _BLOCK, within):
        near, ordinals = faiss.knn(queries, vectors, min(depth + 1, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, found = _best_of(np.hstack([scores, near]), np.hstack([found, positions[ordinals]]), depth + 1)
    is_excluded = (found == excluded[:, None]) & (excluded[:, None] >= 0)
    scores[is_excluded] = NO_SCORE
    return _best_of(scores, found, depth)


def _best_of(
    scores: NDArray[np.float32], positions: NDArray[np.int64], depth: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)

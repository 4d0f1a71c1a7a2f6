"""Holdout queries: what an index is tuned and measured with, and what exact search answers to them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import read_error
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.base import Scored, blocks
from vision_recs.indexes.exact import TIE
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
_NEIGHBORS = 10  # of a vector, between which a query lies
_SHORTEST = 1e-3  # of a sum of unit vectors that has a direction
_SURE = 1.645  # standard errors below the mean: what is measured with other queries is above that 19 times in 20


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
        hits, wanted = self._hits(answers, k)
        return float(hits.sum() / wanted.sum()) if wanted.any() else 1.0

    def sure_recall(self, answers: list[Scored], k: int) -> float:
        """Return what recall@*k* of *answers* is at least for other queries, as sure as these are many."""
        hits, wanted = self._hits(answers, k)
        shares = np.where(wanted, hits / np.maximum(1, wanted), 1.0)
        if len(shares) < 2:  # noqa: PLR2004 - of which there is a deviation
            return float(np.mean(shares)) if len(shares) else 1.0
        return float(np.mean(shares) - _SURE * np.std(shares, ddof=1) / np.sqrt(len(shares)))

    def _hits(self, answers: list[Scored], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many of the *k* best each of *answers* has, and how many there are: see `recall_at`."""
        wanted = np.minimum(k, (self.scores > NO_SCORE).sum(axis=1))
        least = np.take_along_axis(self.scores, np.maximum(0, wanted - 1)[:, None], 1)[:, 0] - TIE
        found = [
            np.count_nonzero((scores >= enough) & (positions != excluded))
            for (positions, scores), enough, excluded in zip(answers, least, self.excluded, strict=True)
        ]
        return np.minimum(wanted, np.array(found, np.int64)), wanted


def sample_queries(source: VectorReader, count: int, *, seed: int) -> HoldoutQueries:
    """Return about *count* holdout queries, see `fresh_queries`, and their exact answers among all of *source*."""
    return answered(source, fresh_queries(source, count, seed=seed))


def fresh_queries(source: VectorReader, count: int, *, seed: int) -> Vectors:
    """Return about *count* unit vectors (n, dim) that lie among those of *source*, as those of new images do.

    Each is a vector of *source*, moved in the directions of its nearest neighbors, about as far as they are away: a
    draw from the Gaussian that they span around it. A graph finds the neighbors of its own vectors more easily: it has
    links from each to them.
    """
    random = np.random.default_rng(seed)
    alive = source.positions()
    chosen = np.sort(random.choice(alive, min(len(alive), count), replace=False))
    vectors = source.vectors(chosen)
    scores, near = _exact_answers(source, vectors, chosen, None, _NEIGHBORS)
    known = max(1, int((scores > NO_SCORE).sum(axis=1).min(initial=_NEIGHBORS)))
    if not len(alive) or (near[:, :known] < 0).any():
        return vectors  # a single vector has no neighbors
    steps = random.standard_normal((len(chosen), known), dtype=np.float32) / np.float32(np.sqrt(known))
    neighbors = source.vectors(near[:, :known].ravel()).reshape(*steps.shape, -1)
    moved = vectors + np.einsum("ij,ijk->ik", steps, neighbors - vectors[:, None])
    lengths = np.linalg.norm(moved, axis=1)
    moved[lengths < _SHORTEST] = vectors[lengths < _SHORTEST]
    return normalize_or_raise(moved)


def answered(
    source: VectorReader, queries: Vectors, *, within: NDArray[np.int64] | None = None, depth: int = _DEPTH
) -> HoldoutQueries:
    """Return *queries* with their *depth* exact answers among all positions of *source*, or among those *within*."""
    nothing = np.full(len(queries), -1, np.int64)
    return HoldoutQueries(queries, nothing, *_exact_answers(source, queries, nothing, within, depth))


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

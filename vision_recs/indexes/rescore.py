"""Exact scores for what an approximate search proposes, and exact search among few vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import Scored, best
from vision_recs.types import Vectors, VectorSource
from vision_recs.vectors import exact_cosine

_READ_AT_ONCE = 1 << 24  # numbers of vectors in memory
_FEW = 64  # vectors, of which finding out which can be among the best takes as long as scoring them
_NOTHING = Scored(np.empty(0, np.int64), np.empty(0, np.float32))


def refine(source: VectorSource, queries: Vectors, proposed: NDArray[np.int64], k: int) -> list[Scored]:
    """Return the *k* best of the positions *proposed* (n, m) for each query, and what ties with the k-th.

    A negative position stands for nothing; no position may be there twice for one query. The scores are those of exact
    search.
    """
    if len(queries) == 1:
        own = proposed[0]
        own = own if own.min(initial=0) >= 0 else own[own >= 0]
        return [_best(own, source.vectors(own), queries[0], k)]
    keep = proposed >= 0
    if not keep.any():
        return [_NOTHING for _ in queries]
    every = np.where(keep, proposed, proposed.max())
    vectors = source.vectors(every.ravel()).reshape(*proposed.shape, source.dim)
    scores = exact_cosine(vectors, queries[:, None, :])
    scores[~keep] = -2
    if proposed.shape[1] > k:
        keep &= scores >= np.partition(scores, -k, axis=1)[:, -k, None]
    ends = np.cumsum(keep.sum(axis=1))[:-1]
    return [Scored(*pair) for pair in zip(np.split(proposed[keep], ends), np.split(scores[keep], ends), strict=True)]


def scan(source: VectorSource, positions: NDArray[np.int64], queries: Vectors, k: int) -> list[Scored]:
    """Return the *k* best of *positions* for each query, and what ties with the k-th, by comparing with all of them."""
    found = [_NOTHING for _ in queries]
    step = max(1, _READ_AT_ONCE // source.dim)
    for start in range(0, len(positions), step):
        some = positions[start : start + step]
        vectors = source.vectors(some)
        found = [
            best(_joined([known, _best(some, vectors, query, k)]), k)
            for known, query in zip(found, queries, strict=True)
        ]
    return found


def _best(positions: NDArray[np.int64], vectors: Vectors, query: Vectors, k: int) -> Scored:
    """Return the *k* best of *vectors*, exactly: float32 says which can be, `cosines` which are."""
    if len(positions) > max(k, _FEW):
        rough = vectors @ query
        lowest = np.partition(rough, -k)[-k] - _error(len(query))
        keep = rough >= lowest
        positions, vectors = positions[keep], vectors[keep]
    return best(Scored(positions, exact_cosine(vectors, query)), k)


def _error(dim: int) -> float:
    """Return how far two scores can be apart in float32 that are equal: each errs by less than dim * 2^-24."""
    return dim * 2.0**-22


def _joined(parts: Sequence[Scored]) -> Scored:
    return Scored(np.concatenate([part.positions for part in parts]), np.concatenate([part.scores for part in parts]))

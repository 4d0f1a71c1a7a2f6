"""Exact scores for what an approximate search proposes, and exact search among few vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.ranking import Scored, best, cosines
from vision_recs.types import Vectors, VectorSource

_READ_AT_ONCE = 1 << 24  # numbers of vectors in memory


def refine(source: VectorSource, queries: Vectors, proposed: NDArray[np.int64], k: int) -> list[Scored]:
    """Return the *k* best of the positions *proposed* (n, m) for each query, and what ties with the k-th.

    A negative position stands for nothing. The scores are those of exact search.
    """
    results: list[Scored] = []
    step = max(1, _READ_AT_ONCE // (proposed.shape[1] * source.dim + 1))
    for start in range(0, len(queries), step):
        some = proposed[start : start + step]
        positions = distinct(some)
        vectors = source.vectors(positions)
        for query, own in zip(queries[start : start + step], some, strict=True):
            rows = np.searchsorted(positions, own[own >= 0])
            results.append(_best(positions[rows], vectors[rows], query, k))
    return results


def scan(source: VectorSource, positions: NDArray[np.int64], queries: Vectors, k: int) -> list[Scored]:
    """Return the *k* best of *positions* for each query, and what ties with the k-th, by comparing with all of them."""
    found = [Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
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
    if len(positions) > k:
        rough = vectors @ query
        # float32 errs by less than dim * 2^-24 for unit vectors, on either side
        lowest = np.partition(rough, -k)[-k] - len(query) * 2.0**-22
        keep = rough >= lowest
        positions, vectors = positions[keep], vectors[keep]
    return best(Scored(positions, cosines(vectors, query)), k)


def distinct(proposed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of *proposed*, ascending, each once (np.unique would load numpy.ma, 10 ms)."""
    ordered = np.sort(proposed, axis=None)
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    return ordered[first & (ordered >= 0)]


def _joined(parts: Sequence[Scored] | Iterable[Scored]) -> Scored:
    parts = list(parts)
    return Scored(np.concatenate([part.positions for part in parts]), np.concatenate([part.scores for part in parts]))

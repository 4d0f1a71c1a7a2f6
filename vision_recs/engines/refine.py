"""Exact scores for what an approximate search proposes, and exact search among few vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.ranking import Scored, best, cosines
from vision_recs.types import Vectors, VectorSource

_READ_AT_ONCE = 1 << 24  # numbers of vectors in memory
_FEW = 64  # vectors, of which finding out which can be among the best takes as long as scoring them
_IN_CACHE = 1 << 21  # numbers of vectors that are scored at once: fewer cost more calls, more leave the cache


def refine(source: VectorSource, queries: Vectors, proposed: NDArray[np.int64], k: int) -> list[Scored]:
    """Return the *k* best of the positions *proposed* (n, m) for each query, and what ties with the k-th.

    A negative position stands for nothing; no position may be there twice for one query. The scores are those of exact
    search.
    """
    if len(queries) == 1:
        own = proposed[0]
        own = own if own.min(initial=0) >= 0 else own[own >= 0]
        return [_best(own, source.vectors(own), queries[0], k)]
    step = max(1, _IN_CACHE // (proposed.shape[1] * source.dim + 1))
    starts = range(0, len(queries), step)
    parts = _on_all_cores(lambda at: _refined(source, queries[at : at + step], proposed[at : at + step], k), starts)
    return [scored for part in parts for scored in part]


def _refined(source: VectorSource, queries: Vectors, proposed: NDArray[np.int64], k: int) -> list[Scored]:
    """Refine for all *queries* at once: only what can be among the best is scored exactly."""
    keep = proposed >= 0
    vectors = source.vectors(proposed[keep])
    if proposed.shape[1] > k:
        rough = np.full(proposed.shape, -2, np.float32)
        if keep.all():
            rough = np.matmul(vectors.reshape(*proposed.shape, source.dim), queries[:, :, None])[:, :, 0]
        else:
            rough[keep] = np.vecdot(vectors, queries[np.nonzero(keep)[0]])
        possible = keep & (rough >= _last(rough, k) - _error(source.dim))
        vectors, keep = vectors[possible[keep]], possible
    scores = np.full(proposed.shape, -2, np.float32)
    scores[keep] = cosines(vectors, queries[np.nonzero(keep)[0]])
    if proposed.shape[1] > k:
        keep &= scores >= _last(scores, k)
    ends = np.cumsum(keep.sum(axis=1))[:-1]
    return [Scored(*pair) for pair in zip(np.split(proposed[keep], ends), np.split(scores[keep], ends), strict=True)]


def _last(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return the k-th highest of each row of *scores*, (n, 1)."""
    last: NDArray[np.float32] = np.partition(scores, -k, axis=1)[:, -k, None]
    return last


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
    if len(positions) > max(k, _FEW):
        rough = vectors @ query
        lowest = np.partition(rough, -k)[-k] - _error(len(query))
        keep = rough >= lowest
        positions, vectors = positions[keep], vectors[keep]
    return best(Scored(positions, cosines(vectors, query)), k)


def _on_all_cores(work: Callable[[int], list[Scored]], starts: Sequence[int]) -> Iterable[list[Scored]]:
    """Return what *work* gives for each of *starts*, in as many threads as FAISS would take."""
    threads = min(len(starts), faiss.omp_get_max_threads())
    if threads <= 1:
        return [work(start) for start in starts]
    from concurrent.futures import ThreadPoolExecutor  # a single query does without it

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, starts))


def _error(dim: int) -> float:
    """Return how far two scores can be apart in float32 that are equal: each errs by less than dim * 2^-24."""
    return dim * 2.0**-22


def _joined(parts: Sequence[Scored]) -> Scored:
    return Scored(np.concatenate([part.positions for part in parts]), np.concatenate([part.scores for part in parts]))

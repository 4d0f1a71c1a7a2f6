"""From vectors to matches: what every engine does alike, so that all give the same answers to the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs import kernels
from vision_recs.errors import DegenerateVector
from vision_recs.types import Match, Row, Vectors, VectorSource, unit_rows

_LENGTH_TOLERANCE = 0.01  # vectors that were kept in float16 are that close to unit length, and much closer
_STEPS = 2.0**24  # of a score to 1: what float32 tells apart below 1; finer digits near 0 are noise that breaks ties


class Scored(NamedTuple):
    """Positions and the score of each, in the same order."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]


def unit_queries(vectors: NDArray[np.floating], k: int, *, dim: int) -> Vectors:
    """Return the queries scaled to length 1; raises as `VectorIndex.search` promises."""
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least 1 match")
    if vectors.shape[1:] != (dim,):
        raise ValueError(f"the queries have the shape {vectors.shape}, the index takes (n, {dim})")
    return unit_rows(vectors)


def blocks(
    source: VectorSource, size: int, positions: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Yield *positions*, or all positions of *source*, with their vectors, at most *size* at a time.

    Raises DegenerateVector for one that is not of unit length: its inner product would be no cosine.
    """
    alive = source.positions() if positions is None else positions
    for start in range(0, len(alive), size):
        positions = alive[start : start + size]
        vectors = np.ascontiguousarray(source.vectors(positions), dtype=np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = ~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE)  # also true for NaN
        if wrong.any():
            first = int(np.argmax(wrong))
            raise DegenerateVector(
                f"the vector at position {positions[first]} has the length {lengths[first]}, not 1; "
                "embed it again with `visrec index`"
            )
        yield positions, vectors


def cosines(vectors: NDArray[np.floating], query: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the cosine of each of *vectors* (..., dim) with *query*, which is broadcast against it, in steps of 2^-24.

    A score depends on its two vectors alone: not on how many there are, nor on where in *vectors* the one is. That is
    why it is no matrix product: BLAS adds up in another order for another n, and the last bits differ. `vecdot` takes
    each row by itself, and so do the functions in C.
    """
    scores = np.empty(vectors.shape[:-1], np.float32)
    if kernels.compiled is not None and vectors.dtype == query.dtype == np.float32:
        if query.ndim > 1 and query.shape != (*vectors.shape[:-2], 1, vectors.shape[-1]):
            query = np.broadcast_to(query, vectors.shape)
        one, other = np.ascontiguousarray(vectors), np.ascontiguousarray(query)
        kernels.compiled.cosines(one, other, scores, vectors.shape[-1])
        return scores
    sums: NDArray[np.float64] = np.vecdot(vectors.astype(np.float64, copy=False), query.astype(np.float64, copy=False))
    sums *= _STEPS
    np.rint(sums, out=sums)
    np.minimum(sums, _STEPS, out=sums)
    np.maximum(sums, -_STEPS, out=sums)
    scores[:] = sums  # whole numbers that float32 can hold
    scores *= np.float32(1 / _STEPS)
    scores += np.float32(0.0)  # turns -0.0 into 0.0
    return scores


def best(scored: Scored, k: int) -> Scored:
    """Return the *k* highest scores, and all that equal the lowest of those, in the order they came in."""
    if len(scored.scores) <= k:
        return scored
    keep = scored.scores >= np.partition(scored.scores, -k)[-k]
    return Scored(scored.positions[keep], scored.scores[keep])


def matches(source: VectorSource, found: Sequence[Scored], k: int) -> list[list[Match]]:
    """Return the *k* best rows for each of *found*, which holds every position that one of them may be at."""
    if not found:
        return []
    positions = sorted({position for scored in found for position in scored.positions.tolist()})
    rows = source.rows(positions, limit=k)
    return [_ranked(scored, rows, k) for scored in found]


def _ranked(scored: Scored, rows: dict[int, list[Row]], k: int) -> list[Match]:
    pairs = zip(scored.positions.tolist(), scored.scores.tolist(), strict=True)
    every = [Match(row.id, score, row.picture, row.digest) for position, score in pairs for row in rows[position]]
    every.sort(key=lambda match: (-match.score, match.id, match.picture))
    return every[:k]

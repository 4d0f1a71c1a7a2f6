"""From vectors to matches: what every engine does alike, so that all give the same answers to the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import ZeroVector
from vision_recs.types import Match, Row, Vectors, VectorSource
from vision_recs.vectors import normalize_or_raise

_LENGTH_TOLERANCE = 0.01  # vectors that were kept in float16 are that close to unit length, and much closer


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
    return normalize_or_raise(vectors)


def blocks(
    source: VectorSource, size: int, positions: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Yield *positions*, or all positions of *source*, with their vectors, at most *size* at a time.

    Raises ZeroVector for one that is not of unit length: its inner product would be no cosine.
    """
    alive = source.positions() if positions is None else positions
    for start in range(0, len(alive), size):
        positions = alive[start : start + size]
        vectors = np.ascontiguousarray(source.vectors(positions), dtype=np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = ~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE)  # also true for NaN
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ZeroVector(
                f"the vector at position {positions[first]} has the length {lengths[first]}, not 1; "
                "embed it again with `visrec index`"
            )
        yield positions, vectors


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
    every = [Match(row.id, score, row.image, row.digest) for position, score in pairs for row in rows[position]]
    every.sort(key=lambda match: (-match.score, match.id, match.image))
    return every[:k]

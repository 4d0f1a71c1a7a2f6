"""Arithmetic of vectors: rows of length 1, and the cosine of two of them, the same to the last bit everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs.errors import ZeroVector
from vision_recs.types import Vectors

STEPS = 2.0**24
"""Steps of a score from 0 to 1: what float32 tells apart below 1. Finer digits near 0 are noise, which breaks ties."""

_IN_CACHE = 1 << 15
"""Numbers that are scaled at once: so many in float64 stay in the cache of a core."""


def normalize_rows(matrix: NDArray[np.floating]) -> tuple[Vectors, NDArray[np.bool_]]:
    """Return *matrix* (n, dim) with rows scaled to length 1, and which rows have a direction.

    The input is not modified. A row of zeros, or one that holds NaN or infinity, has no direction and becomes zeros.
    """
    kernels = _native.kernels if matrix.dtype == np.float16 and matrix.size else None
    step = max(1, _IN_CACHE // max(1, matrix.shape[1]))
    if kernels is None and len(matrix) <= step:
        return _scale(matrix)
    scaled = np.empty(matrix.shape, np.float32)
    alive = np.empty(len(matrix), np.bool_)
    if kernels is not None:
        kernels.scale_half(np.ascontiguousarray(matrix), scaled, alive, matrix.shape[1])
        return scaled, alive
    for start in range(0, len(matrix), step):
        part = slice(start, start + step)
        scaled[part], alive[part] = _scale(matrix[part])
    return scaled, alive


def _scale(matrix: NDArray[np.floating]) -> tuple[Vectors, NDArray[np.bool_]]:
    wide = matrix.astype(np.float64)  # with fewer digits, a row that was scaled twice would not be that scaled once
    if matrix.dtype.itemsize > np.dtype(np.float32).itemsize:  # whose squares could leave the range of float64
        largest = np.abs(wide).max(axis=1, initial=0.0)
        wide[~np.isfinite(largest)] = 0.0
        wide /= np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)[:, None]
    squares = np.vecdot(wide, wide)
    alive: NDArray[np.bool_] = (squares > 0) & (squares < np.inf)
    if np.count_nonzero(alive) < len(alive):
        wide[~alive] = 0.0
        squares[~alive] = 1.0
    wide *= (1 / np.sqrt(squares))[:, None]
    return wide.astype(np.float32), alive


def normalize_or_raise(matrix: NDArray[np.floating]) -> Vectors:
    """Return *matrix* (n, dim) as float32 with every row scaled to length 1.

    The input is not modified. A row of zeros, NaN or infinity has no direction: raises ZeroVector naming the
    first such row and how many there are.
    """
    scaled, alive = normalize_rows(matrix)
    if not alive.all():
        first = int(np.argmin(alive))
        raise ZeroVector(
            f"row {first} has no direction (zeros, NaN or infinity), as have {int((~alive).sum()) - 1} others; "
            "leave such rows out"
        )
    return scaled


def exact_cosine(vectors: NDArray[np.floating], query: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the cosine of each of *vectors* (..., dim) with *query*, which is broadcast against it, in steps of 2^-24.

    A score depends on its two vectors alone: not on how many there are, nor on where in *vectors* the one is. That is
    why it is no matrix product: BLAS adds up in another order for another n, and the last bits differ. `vecdot` takes
    each row by itself, and so do the functions in C.
    """
    scores = np.empty(vectors.shape[:-1], np.float32)
    if _native.kernels is not None and vectors.dtype == query.dtype == np.float32:
        if query.ndim > 1 and query.shape != (*vectors.shape[:-2], 1, vectors.shape[-1]):
            query = np.broadcast_to(query, vectors.shape)
        one, other = np.ascontiguousarray(vectors), np.ascontiguousarray(query)
        _native.kernels.cosines(one, other, scores, vectors.shape[-1])
        return scores
    sums: NDArray[np.float64] = np.vecdot(vectors.astype(np.float64, copy=False), query.astype(np.float64, copy=False))
    quantize(sums)
    scores[:] = sums  # whole numbers that float32 can hold
    scores *= np.float32(1 / STEPS)
    scores += np.float32(0.0)  # turns -0.0 into 0.0
    return scores


def quantize(scores: NDArray[np.float64]) -> None:
    """Replace *scores* by whole numbers of steps of 2^-24, from -2^24 to 2^24, in place."""
    scores *= STEPS
    np.rint(scores, out=scores)
    np.minimum(scores, STEPS, out=scores)
    np.maximum(scores, -STEPS, out=scores)

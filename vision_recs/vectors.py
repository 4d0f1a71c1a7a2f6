"""Arithmetic of vectors: rows of length 1, exact cosines, and principal axes.

A score is the cosine of two vectors in steps of 2^-24, which every index and every job computes to the last bit alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs.errors import ZeroVector
from vision_recs.types import Vectors

STEPS = 2.0**24
"""Steps of a score from 0 to 1: what float32 tells apart below 1. Finer digits near 0 are noise that breaks ties."""

STEP_BITS = 26
"""Bits of a number of steps below 1: a score of -1 is 2^25 steps below 1."""

_IN_CACHE = 1 << 15
"""Numbers that are scaled at once: so many in float64 stay in the cache of a core."""


def normalize_rows(matrix: NDArray[np.floating]) -> tuple[Vectors, NDArray[np.bool_]]:
    """Return *matrix* (n, dim) as float32 with every row scaled to length 1, and which rows (n,) have a direction.

    *matrix* is not modified. A row of zeros, or one that holds NaN or infinity, has no direction; it becomes zeros.
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

    *matrix* is not modified. Raises ZeroVector for a row without a direction, and names the first such row.
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
    """Return the cosine of each of *vectors* (..., dim) with *query*, in steps of 2^-24.

    *query* (dim,), or (..., dim) with as many dimensions as *vectors*, is broadcast against *vectors*; all are unit
    vectors. A score depends on its two vectors alone: not on how many vectors there are, nor on their order. A matrix
    product cannot promise that: BLAS adds up in another order for another n, and the last bits differ. `np.vecdot` and
    the functions in C take each row by itself.
    """
    if _native.kernels is not None and vectors.dtype == query.dtype == np.float32:
        scores = np.empty(vectors.shape[:-1], np.float32)
        if query.ndim > 1 and query.shape != (*vectors.shape[:-2], 1, vectors.shape[-1]):
            query = np.broadcast_to(query, vectors.shape)
        one, other = np.ascontiguousarray(vectors), np.ascontiguousarray(query)
        _native.kernels.cosines(one, other, scores, vectors.shape[-1])
        return scores
    return quantize(np.vecdot(vectors.astype(np.float64, copy=False), query.astype(np.float64, copy=False)))


def quantize(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return *scores* rounded to steps of 2^-24, and clipped to -1 and 1; the array *scores* itself is overwritten."""
    scores *= STEPS
    np.rint(scores, out=scores)
    np.minimum(scores, STEPS, out=scores)
    np.maximum(scores, -STEPS, out=scores)
    found = scores.astype(np.float32)  # whole numbers that float32 can hold
    found *= np.float32(1 / STEPS)
    found += np.float32(0.0)  # turns -0.0 into 0.0
    return found


def steps_below_one(scores: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return how many steps of 2^-24 each of *scores* is below 1: whole numbers that sort the best score first."""
    return np.rint((1.0 - scores.astype(np.float64)) * STEPS).astype(np.uint64)


def score_of_steps(steps: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the scores that are so many *steps* of 2^-24 below 1."""
    return (1.0 - steps.astype(np.float64) / STEPS).astype(np.float32)


class PrincipalAxes(NamedTuple):
    """The *mean* (dim,) of some vectors, their principal *axes* (dim, r), and the *variances* (r,) along them.

    The axes are columns of length 1, that of the greatest variance first.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]


def principal_axes(vectors: NDArray[np.float32]) -> PrincipalAxes:
    """Return the principal axes of *vectors* (n, dim), n being 2 or more: min(n, dim) of them."""
    from threadpoolctl import threadpool_limits  # a query does without

    mean = vectors.mean(axis=0, dtype=np.float64)
    centered = (vectors - mean).astype(np.float32)
    with threadpool_limits(1, user_api="blas"):  # threads would mostly wait for each other
        if len(centered) < centered.shape[1]:  # the axes of few vectors come from their products with each other
            found, small = np.linalg.eigh((centered @ centered.T).astype(np.float64))
            axes = centered.T @ small / np.sqrt(np.maximum(found, np.finfo(np.float64).tiny))
        else:
            found, axes = np.linalg.eigh((centered.T @ centered).astype(np.float64))
    return PrincipalAxes(mean, axes[:, ::-1], found[::-1] / len(centered))

"""The products of some rows with all columns, block by block, and the exact scores of a few pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs.knn_join.matmul import Matmul, Rows, ThresholdHits
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine

ROWS = 1_024
"""Rows that one task scans."""

_COLUMNS = 2_048  # of a block of products, which is written and read in the cache of a core
_PAIRS = 64  # that NumPy scores at once, for the same reason

AHEAD = 8
"""Tasks whose results wait to be fetched: results take memory."""


def scan(
    matmul: Matmul,
    rows: Rows,
    columns: range,
    low: NDArray[np.float32],
    column_low: NDArray[np.float32] | None = None,
) -> ThresholdHits:
    """Return the products of *rows* with *columns* that reach *low* of their row or *column_low* of their column.

    *low* has a threshold for each of *rows*, *column_low* one for each column of *matmul*.
    """
    found = [ThresholdHits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for start in columns[::_COLUMNS]:
        here = slice(start, min(start + _COLUMNS, columns.stop))
        hits = matmul.hits(rows, here, low, None if column_low is None else column_low[here])
        found.append(ThresholdHits(hits.rows, hits.columns + start, hits.values))
    return ThresholdHits(*map(np.concatenate, zip(*found, strict=True)))


def exact_scores(
    rows: Vectors, row: NDArray[np.int64], columns: Vectors, column: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosines (n,) of rows[row[i]] with columns[column[i]], as `exact_cosine` computes them."""
    scores = np.empty(len(row), dtype=np.float32)
    if _native.kernels is not None:
        _native.kernels.cosines_of_pairs(rows, columns, row, column, scores, columns.shape[1])
        return scores
    for start in range(0, len(row), _PAIRS):
        here = slice(start, start + _PAIRS)
        scores[here] = exact_cosine(columns[column[here]], rows[row[here]])
    return scores


def rows_from(start: int) -> slice:
    """Return the rows of the task that begins with row *start*."""
    return slice(start, start + ROWS)

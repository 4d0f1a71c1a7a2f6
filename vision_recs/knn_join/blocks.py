"""The products of some rows with all columns, block by block, and the exact scores of a few pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.matmul import Matmul, Rows, ThresholdHits, rough_scores
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine

ROWS = 1_024
"""Rows that one task scans."""

_COLUMNS = 2_048  # of a block of products, which is written and read in the cache of a core
_PAIRS = 64  # that are scored exactly at once, for the same reason

AHEAD = 8
"""Tasks whose results wait to be fetched: results take memory."""


class Scoring(NamedTuple):
    """How pairs of vectors are scored: *scores* returns the cosine of rows[row[i]] with columns[column[i]].

    Of two scores that differ by less than *margin*, either may be the greater one.
    """

    scores: Callable[[Vectors, NDArray[np.int64], Vectors, NDArray[np.int64]], NDArray[np.float32]]
    margin: float


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
    for start in range(0, len(row), _PAIRS):
        here = slice(start, start + _PAIRS)
        scores[here] = exact_cosine(columns[column[here]], rows[row[here]])
    return scores


EXACT = Scoring(exact_scores, 0.0)
ROUGH = Scoring(rough_scores, 4e-6)  # more than float32 sums of a thousand products of unit vectors differ by


def rows_from(start: int) -> slice:
    """Return the rows of the task that begins with row *start*."""
    return slice(start, start + ROWS)

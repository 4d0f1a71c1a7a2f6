"""The products of some rows with all columns, block by block, and the exact scores of a few pairs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.matmul import Hits, Products, Rows, rough_scores
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine

ROWS = 1_024
"""Rows that are scanned by one task."""

_COLUMNS = 2_048  # of a block of products, which is written and read in the cache of a core
_PAIRS = 64  # that are computed exactly at once, for the same reason
_AHEAD = 8  # tasks whose results wait to be fetched

T = TypeVar("T")


class Scores(NamedTuple):
    """*of* returns the cosine of each of some rows with the column in the same place; *margin* is as in `Score`."""

    of: Callable[[Vectors, NDArray[np.int64], Vectors, NDArray[np.int64]], NDArray[np.float32]]
    margin: float


def scan(
    products: Products,
    rows: Rows,
    columns: range,
    low: NDArray[np.float32],
    column_low: NDArray[np.float32] | None = None,
) -> Hits:
    """Return the hits of *rows* with *columns*; *low* is that of these rows, *column_low* that of all columns."""
    found = [Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for start in columns[::_COLUMNS]:
        here = slice(start, min(start + _COLUMNS, columns.stop))
        hits = products.hits(rows, here, low, None if column_low is None else column_low[here])
        found.append(Hits(hits.rows, hits.columns + start, hits.values))
    return Hits(*map(np.concatenate, zip(*found, strict=True)))


def exact_scores(
    rows: Vectors, row: NDArray[np.int64], columns: Vectors, column: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosine of each of *rows* numbered *row* with the one of *columns* in the same place of *column*."""
    scores = np.empty(len(row), dtype=np.float32)
    for start in range(0, len(row), _PAIRS):
        here = slice(start, start + _PAIRS)
        scores[here] = exact_cosine(columns[column[here]], rows[row[here]])
    return scores


EXACT = Scores(exact_scores, 0.0)
ROUGH = Scores(rough_scores, 4e-6)  # more than float32 sums of a thousand products of unit vectors come to differ by


def in_order(pool: Executor, task: Callable[[int], T], starts: Iterable[int]) -> Iterator[T]:
    """Yield what *task* returns for each of *starts*, of which only a few are ahead: results take memory."""
    ahead: deque[Future[T]] = deque()
    for start in starts:
        ahead.append(pool.submit(task, start))
        if len(ahead) > _AHEAD:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def rows_from(start: int) -> slice:
    """Return the rows that the task scans which begins with *start*."""
    return slice(start, start + ROWS)

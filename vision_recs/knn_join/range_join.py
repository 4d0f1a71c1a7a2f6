"""The range join: all pairs of vectors whose score reaches a threshold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.blocks import AHEAD, ROWS, exact_scores, rows_from, scan
from vision_recs.knn_join.matmul import Matmul, workers
from vision_recs.knn_join.operands import read_vectors
from vision_recs.ordered_map import ordered_map
from vision_recs.types import VectorReader


class Pairs(NamedTuple):
    """Pairs of vectors by their numbers, *one* below *other*, and their *scores*, which are exact.

    With these pairs, the first *done* vectors are compared with all.
    """

    done: int
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    scores: NDArray[np.float32]


def pairs_above(
    source: VectorReader, positions: NDArray[np.int64], threshold: float, *, device: str = "auto"
) -> Iterator[Pairs]:
    """Yield all pairs of the vectors at *positions* whose score is at least *threshold*, some at a time.

    *positions* are distinct; a vector is numbered by its place among them. Memory, *device* and errors are as with
    `KnnJoin`.
    """
    if not len(positions):
        return
    vectors = read_vectors(source, positions)
    matmul = Matmul.of(vectors, device=device)
    low = matmul.error_bound(slice(None)).lower(np.full(len(vectors), threshold))

    def pairs_from(start: int) -> Pairs:
        rows = rows_from(start)
        hits = scan(matmul, rows, range(start, len(vectors)), low[rows])
        is_above = hits.rows + start < hits.columns
        one, other = hits.rows[is_above] + start, hits.columns[is_above]
        scores = exact_scores(vectors, one, vectors, other)
        enough = scores.astype(np.float64) >= threshold
        return Pairs(min(start + ROWS, len(vectors)), one[enough], other[enough], scores[enough])

    with workers(matmul.device) as pool:
        yield from ordered_map(pool, pairs_from, range(0, len(vectors), ROWS), window=AHEAD)

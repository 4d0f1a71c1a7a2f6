"""All pairs of vectors that are near enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.blocks import ROWS, exact_scores, in_order, rows_from, scan
from vision_recs.knn_join.matmul import Products, workers
from vision_recs.knn_join.operands import read
from vision_recs.types import VectorSource


class Pairs(NamedTuple):
    """Pairs of vectors, by their numbers, *one* below *other*; *scores* are their cosines.

    With these, the first *done* vectors are compared with all.
    """

    done: int
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    scores: NDArray[np.float32]


def pairs_above(
    source: VectorSource, positions: NDArray[np.int64], threshold: float, *, device: str = "auto"
) -> Iterator[Pairs]:
    """Yield all pairs of distinct *positions* whose cosine is at least *threshold*, some at a time.

    Scores, memory and errors are as with `AllPairs`.
    """
    if not len(positions):
        return
    vectors = read(source, positions)
    products = Products.of(vectors, device=device)
    low = products.errors(slice(None)).below(np.full(len(vectors), threshold))

    def above(start: int) -> Pairs:
        rows = rows_from(start)
        hits = scan(products, rows, range(start, len(vectors)), low[rows])
        is_above = hits.rows + start < hits.columns
        one, other = hits.rows[is_above] + start, hits.columns[is_above]
        scores = exact_scores(vectors, one, vectors, other)
        enough = scores.astype(np.float64) >= threshold
        return Pairs(min(start + ROWS, len(vectors)), one[enough], other[enough], scores[enough])

    with workers(products.device) as pool:
        yield from in_order(pool, above, range(0, len(vectors), ROWS))

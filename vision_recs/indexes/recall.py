"""How much of what exact search finds an index finds."""

from __future__ import annotations

import numpy as np

from vision_recs.indexes.exact import ExactIndex
from vision_recs.types import VectorIndex, VectorSource

TIE = 1e-6
"""Two scores that differ by less are one score: float32 cannot tell them apart."""


def measure_recall(index: VectorIndex, source: VectorSource, *, k: int, queries: int = 64) -> float:
    """Return recall@k of *index* against exact search, from 0 to 1, over *queries* vectors spread over *source*.

    An image with the score of the k-th exact one counts as found, whichever of the tied ones it is. An empty source
    has recall 1.
    """
    positions = source.positions()
    if not len(positions):
        return 1.0
    chosen = positions[np.linspace(0, len(positions) - 1, min(queries, len(positions))).astype(np.int64)]
    vectors = source.vectors(chosen)
    found = wanted = 0
    for answer, exact in zip(index.search(vectors, k), ExactIndex(source).search(vectors, k), strict=True):
        wanted += len(exact)
        found += sum(match.score >= exact[-1].score - TIE for match in answer)
    return found / wanted

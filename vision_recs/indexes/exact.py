"""Exact search without an index: every vector of the source is compared. It is slow, obvious, and right.

Other indexes are measured against it, and it answers where a store has no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import NOTHING, Scored, blocks, search_by_position, top_k_with_ties
from vision_recs.types import FilteredSource, Match, SearchRequest, VectorIndex, Vectors, VectorSource
from vision_recs.vectors import exact_cosine

TIE = 1e-6
"""Two scores that differ by less count as equal: sums in float32 cannot tell them apart."""

Scores: TypeAlias = Sequence[float] | NDArray[np.float32]
"""The scores of the answers to one query, best first."""

_BLOCK = 4_096  # vectors in memory at once; their products take 8 bytes a number


class ExactIndex:
    """An index that reads the vectors of its source at every search, and has no files."""

    def __init__(self, source: VectorSource) -> None:
        """Search *source*."""
        self._source = source

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that are searched."""
        return self._source.fingerprint, self._source.generation

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`."""
        return search_by_position(self._source, request, self.nearest)

    def nearest(self, queries: Vectors, k: int, within: FilteredSource | None = None) -> list[Scored]:
        """Return the *k* nearest positions to each unit query, and all whose score equals the k-th."""
        found = [NOTHING for _ in queries]
        for positions, vectors in blocks(self._source, _BLOCK, None if within is None else within.positions()):
            for number, query in enumerate(queries):
                known = found[number]
                every = Scored(
                    np.concatenate([known.positions, positions]),
                    np.concatenate([known.scores, exact_cosine(vectors, query)]),
                )
                found[number] = top_k_with_ties(every, k)
        return found


def measure_recall(index: VectorIndex, source: VectorSource, *, k: int, queries: int = 64) -> float:
    """Return recall@k of *index* against exact search, from 0 to 1, over *queries* vectors spread over *source*.

    An empty source has recall 1.
    """
    positions = source.positions()
    if not len(positions):
        return 1.0
    chosen = positions[np.linspace(0, len(positions) - 1, min(queries, len(positions))).astype(np.int64)]
    request = SearchRequest(source.vectors(chosen), k)
    found, exact = (each.search(request) for each in (index, ExactIndex(source)))
    return recall_at(k, scores_of(found), scores_of(exact))


def recall_at(k: int, found: Iterable[Scores], exact: Iterable[Scores]) -> float:
    """Return recall@k over some queries, from 0 to 1: the share of the *k* best exact answers that were found.

    *found* and *exact* hold the scores of the answers to each query, best first. An answer whose score equals that of
    the k-th exact answer counts as found, whichever of the equal ones it is. Where nothing can be found, recall is 1.
    """
    hits = total = 0
    for scores, best in zip(found, exact, strict=True):
        count = len(best[:k])
        if count:
            total += count
            hits += min(count, int(np.count_nonzero(np.asarray(scores[:k]) >= best[count - 1] - TIE)))
    return hits / total if total else 1.0


def scores_of(answers: Iterable[Sequence[Match]]) -> list[list[float]]:
    """Return the scores of the matches in each of *answers*."""
    return [[match.score for match in answer] for answer in answers]

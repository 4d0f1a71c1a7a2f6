"""Rankings: every target ranked for every query, exactly, and the measures of these rankings.

The score of a target is the best cosine between an image of the query and an image of the target. Equal scores are
ordered by id, as in the answer to a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics.measures import MEASURES, Grades, Judgments, Ranks, Relevant
from vision_recs.types import Vectors
from vision_recs.vectors import STEPS

Scalar = TypeVar("Scalar", bound=np.generic)

NEAREST = 10
"""How many of the best targets of each query are kept."""

BINS = 80
"""How many bins the scores from -1 to 1 are counted in."""

_AT_ONCE = 1 << 23
"""Cosines in memory at a time."""


@dataclass(frozen=True)
class ItemVectors:
    """Items, with ids ascending, and the vectors of their images: item i has rows starts[i] to starts[i + 1].

    *vectors* (n, dim) are of unit length. *positions* (n,) say which image a row shows: two rows with equal positions
    show the same bytes.
    """

    ids: Sequence[str]
    starts: NDArray[np.int64]
    positions: NDArray[np.int64]
    vectors: Vectors

    def owners(self) -> NDArray[np.int64]:
        """Return the ordinal of the item of each row."""
        return np.searchsorted(self.starts, np.arange(len(self.vectors)), side="right") - 1

    def per_image(self) -> ItemVectors:
        """Return every image as an item of its own, under the id of its item."""
        ids = [self.ids[owner] for owner in self.owners().tolist()]
        return ItemVectors(ids, np.arange(len(ids)), self.positions, self.vectors)

    def take(self, ordinals: NDArray[np.int64]) -> ItemVectors:
        """Return the items at *ordinals*, in that order."""
        ends = np.append(self.starts[1:], len(self.vectors))
        spans = [np.arange(self.starts[i], ends[i]) for i in ordinals.tolist()]
        rows = np.concatenate([np.empty(0, np.int64), *spans])
        starts = np.concatenate([[0], np.cumsum([len(span) for span in spans])[:-1]]).astype(np.int64)
        ids = [self.ids[i] for i in ordinals.tolist()]
        return ItemVectors(ids, starts[: len(ids)], self.positions[rows], self.vectors[rows])

    def with_vectors(self, vectors: Vectors) -> ItemVectors:
        """Return the same items with other *vectors* (n, any dim), one for each of the present ones."""
        return ItemVectors(self.ids, self.starts, self.positions, vectors)


@dataclass(frozen=True)
class RankingResult:
    """The measures of the queries that have a relevant target; *skipped* counts the queries that have none.

    *values* (n, measures) are in the order of MEASURES. *nearest* (n, 10) are the ordinals of the first targets of each
    query, best first, *scores* (n, 10) their scores, and *is_relevant* (n, 10) says which are relevant; -1, NaN and
    False fill the places without a target. *relevant_scores* and *other_scores* (BINS,) are histograms of all scores,
    from -1 to 1, of relevant targets and of the others.
    """

    queries: Sequence[str]
    values: NDArray[np.float64]
    nearest: NDArray[np.int64]
    scores: NDArray[np.float32]
    is_relevant: NDArray[np.bool_]
    relevant_scores: NDArray[np.int64]
    other_scores: NDArray[np.int64]
    skipped: int

    def of(self, measure: str) -> NDArray[np.float64]:
        """Return the values (n,) of the *measure* with that name."""
        return self.values[:, list(MEASURES).index(measure)]

    @classmethod
    def joined(cls, parts: Sequence[RankingResult]) -> RankingResult:
        """Return the result of the queries of all *parts*, in their order."""
        return cls(
            queries=[query for part in parts for query in part.queries],
            values=np.concatenate([part.values for part in parts]),
            nearest=np.concatenate([part.nearest for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            is_relevant=np.concatenate([part.is_relevant for part in parts]),
            relevant_scores=np.sum([part.relevant_scores for part in parts], axis=0),
            other_scores=np.sum([part.other_scores for part in parts], axis=0),
            skipped=sum(part.skipped for part in parts),
        )


def evaluate_rankings(
    queries: ItemVectors, targets: ItemVectors, judgments: Judgments, *, per_image: bool = False
) -> RankingResult:
    """Rank *targets* for each of *queries*, and measure the rankings by *judgments* of the same targets.

    An item that is both a query and a target is left out of its own ranking. With *per_image*, each image is a query of
    its own, and its item stays in the ranking, by its other images.
    """
    relevant_to = {query: judgments.relevant(query) for query in queries.ids}
    single = queries.per_image() if per_image else queries
    collector = _Collector()
    for ordinal, scores in _scores(single, targets, per_image=per_image):
        collector.add(single.ids[ordinal], scores, *relevant_to[single.ids[ordinal]])
    return collector.result()


def ndcg_at_10(
    queries: ItemVectors, targets: ItemVectors, judgments: Judgments, *, per_image: bool = False
) -> NDArray[np.float64]:
    """Return the values (n,) of `evaluate_rankings(...).of("ndcg_at_10")`, without a rank beyond the tenth.

    Where a map is learned, it is measured many times, and sorting all targets would be most of the work.
    """
    relevant_to = {query: judgments.relevant(query) for query in queries.ids}
    single = queries.per_image() if per_image else queries
    found = []
    for ordinal, scores in _scores(single, targets, per_image=per_image):
        relevant, grades = _ranked(scores, relevant_to[single.ids[ordinal]])
        if len(relevant):
            rank_of = np.full(len(scores), len(scores))
            first = _first(scores)
            rank_of[first] = np.arange(1, len(first) + 1)
            found.append(MEASURES["ndcg_at_10"](*_by_rank(rank_of[relevant], grades)))
    return np.array(found, np.float64)


class _Collector:
    """Collects a `RankingResult`, one query at a time."""

    def __init__(self) -> None:
        self._queries: list[str] = []
        self._values: list[list[float]] = []
        self._nearest: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._is_relevant: list[NDArray[np.bool_]] = []
        self._histograms = np.zeros((2, BINS), np.int64)
        self._skipped = 0

    def add(
        self, query: str, scores: NDArray[np.float32], relevant: NDArray[np.int64], grades: NDArray[np.float64]
    ) -> None:
        """Add *query*, given the *scores* of all targets, with -inf for a target that is not in the ranking."""
        relevant, grades = _ranked(scores, (relevant, grades))
        if not len(relevant):
            self._skipped += 1
            return
        order = np.argsort(-scores, kind="stable")
        rank_of = np.empty(len(order), np.int64)
        rank_of[order] = np.arange(1, len(order) + 1)
        ranks, grades = _by_rank(rank_of[relevant], grades)
        self._queries.append(query)
        self._values.append([measure(ranks, grades) for measure in MEASURES.values()])
        first = order[:NEAREST]
        first = first[scores[first] > -np.inf]
        self._nearest.append(_padded(first, -1))
        self._scores.append(_padded(scores[first], np.nan))
        is_relevant = np.zeros(len(scores), np.bool_)
        is_relevant[relevant] = True
        self._is_relevant.append(_padded(is_relevant[first], fill=False))
        every = _histogram(scores[scores > -np.inf])
        of_relevant = _histogram(scores[relevant])
        self._histograms += np.stack([of_relevant, every - of_relevant])

    def result(self) -> RankingResult:
        """Return the result of all queries that were added."""
        return RankingResult(
            queries=self._queries,
            values=np.array(self._values, np.float64).reshape(-1, len(MEASURES)),
            nearest=np.array(self._nearest, np.int64).reshape(-1, NEAREST),
            scores=np.array(self._scores, np.float32).reshape(-1, NEAREST),
            is_relevant=np.array(self._is_relevant, np.bool_).reshape(-1, NEAREST),
            relevant_scores=self._histograms[0],
            other_scores=self._histograms[1],
            skipped=self._skipped,
        )


def _ranked(scores: NDArray[np.float32], relevant: Relevant) -> Relevant:
    """Return the *relevant* targets that are in the ranking: an item without another image cannot find itself."""
    is_ranked = scores[relevant[0]] > -np.inf
    return relevant[0][is_ranked], relevant[1][is_ranked]


def _by_rank(ranks: Ranks, grades: Grades) -> tuple[Ranks, Grades]:
    order = np.argsort(ranks)
    return ranks[order], grades[order]


def _first(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the NEAREST targets of highest score, best first, equal ones in their order."""
    if len(scores) > NEAREST:
        near = np.flatnonzero(scores >= np.partition(scores, -NEAREST)[-NEAREST])
    else:
        near = np.arange(len(scores))
    return near[np.argsort(-scores[near], kind="stable")][:NEAREST]


def _padded(values: NDArray[Scalar], fill: float) -> NDArray[Scalar]:
    padded = np.full(NEAREST, fill, values.dtype)
    padded[: len(values)] = values
    return padded


def _histogram(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    bins = np.minimum((np.clip(scores, -1.0, 1.0) + 1.0) * (BINS / 2), BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=BINS)


def _scores(
    queries: ItemVectors, targets: ItemVectors, *, per_image: bool
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the ordinal of each query with the scores of all targets; the score of the query item itself is -inf."""
    ordinal_of = {target: ordinal for ordinal, target in enumerate(targets.ids)}
    step = max(1, _AT_ONCE // max(1, len(targets.vectors)))
    ends = np.append(queries.starts[1:], len(queries.vectors))
    columns = targets.vectors.T.astype(np.float64)  # sums of float32 depend on where in a matrix the two vectors are
    first = 0
    while first < len(queries.ids):
        last = max(first + 1, int(np.searchsorted(ends, queries.starts[first] + step, side="right")))
        block = slice(int(queries.starts[first]), int(ends[last - 1]))
        cosines = queries.vectors[block].astype(np.float64) @ columns
        if per_image:
            cosines[queries.positions[block, None] == targets.positions] = -np.inf
        best = _highest(cosines, targets.starts, axis=1)
        best = _highest(best, queries.starts[first:last] - queries.starts[first], axis=0)
        rounded = (np.rint(best * STEPS) / STEPS).astype(np.float32)  # as indexes do, so that ties are the same
        for ordinal, scores in zip(range(first, last), rounded, strict=True):
            itself = ordinal_of.get(queries.ids[ordinal])
            if itself is not None and not per_image:
                scores[itself] = -np.inf
            yield ordinal, scores
        first = last


def _highest(values: NDArray[np.float64], starts: NDArray[np.int64], *, axis: int) -> NDArray[np.float64]:
    """Return the maximum of the values from each of *starts* to the next along *axis*."""
    if len(starts) == values.shape[axis]:  # each item has one image
        return values
    highest: NDArray[np.float64] = np.maximum.reduceat(values, starts, axis=axis)
    return highest

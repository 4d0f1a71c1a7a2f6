"""Every target ranked for every query, exactly, and the measures of what comes of it.

The score of a target is the best cosine between an image of the query and one of the target, and equal scores are
ordered by id: the order in which a shop shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics.measures import MEASURES
from vision_recs.metrics.truth import Truth
from vision_recs.types import Vectors

Scalar = TypeVar("Scalar", bound=np.generic)

NEAREST = 10
"""How many targets a query is shown."""

BINS = 80
"""Into how many scores from -1 to 1 are sorted."""

_STEPS = 2.0**24  # what float32 tells apart below 1: engines round scores to this, and so break ties alike
_AT_ONCE = 1 << 23  # cosines in memory at a time


@dataclass(frozen=True)
class ItemVectors:
    """Items, ids ascending, and their images: those of item i are the rows starts[i] to starts[i + 1] of *vectors*.

    *positions* tells images apart: two rows with the same one show the same image.
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
        """Return the same items with other *vectors*, a row for each of the present ones."""
        return ItemVectors(self.ids, self.starts, self.positions, vectors)


@dataclass(frozen=True)
class Judged:
    """What came of the queries to which something is relevant; *skipped* counts the others.

    *values* (n, measures) are in the order of MEASURES. *nearest* and *scores* (n, up to NEAREST) are the first targets
    of each query, best first, and *right* which of them are relevant; -1 and NaN fill the places that no target has.
    *relevant* and *other* (BINS,) count the scores,
    from -1 to 1, of what is relevant and of what is not.
    """

    queries: Sequence[str]
    values: NDArray[np.float64]
    nearest: NDArray[np.int64]
    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    relevant: NDArray[np.int64]
    other: NDArray[np.int64]
    skipped: int

    def of(self, measure: str) -> NDArray[np.float64]:
        """Return the values (n,) of the *measure* of that name."""
        return self.values[:, list(MEASURES).index(measure)]


def judge(queries: ItemVectors, targets: ItemVectors, truth: Truth, *, per_image: bool = False) -> Judged:
    """Rank *targets* for each of *queries* and measure it by *truth*, whose ordinals are those of *targets*.

    An item that is both is left out of its own ranking. Where *per_image*, each image asks by itself, and its item
    stays in the ranking by its other images.
    """
    relevant_to = {query: truth.relevant(query) for query in queries.ids}
    asked = queries.per_image() if per_image else queries
    tally = _Tally()
    for ordinal, scores in _scores(asked, targets, per_image=per_image):
        tally.add(asked.ids[ordinal], scores, *relevant_to[asked.ids[ordinal]])
    return tally.judged()


class _Tally:
    """Collects what `Judged` holds, a query at a time."""

    def __init__(self) -> None:
        self._queries: list[str] = []
        self._values: list[list[float]] = []
        self._nearest: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._right: list[NDArray[np.bool_]] = []
        self._counts = np.zeros((2, BINS), np.int64)
        self._skipped = 0

    def add(
        self, query: str, scores: NDArray[np.float32], relevant: NDArray[np.int64], grades: NDArray[np.float64]
    ) -> None:
        shown = scores[relevant] > -np.inf  # an item without another image cannot find itself
        relevant, grades = relevant[shown], grades[shown]
        if not len(relevant):
            self._skipped += 1
            return
        order = np.argsort(-scores, kind="stable")
        rank_of = np.empty(len(order), np.int64)
        rank_of[order] = np.arange(1, len(order) + 1)
        by_rank = np.argsort(rank_of[relevant])
        ranks, grades = rank_of[relevant][by_rank], grades[by_rank]
        self._queries.append(query)
        self._values.append([measure(ranks, grades) for measure in MEASURES.values()])
        first = order[:NEAREST]
        first = first[scores[first] > -np.inf]
        self._nearest.append(_padded(first, -1))
        self._scores.append(_padded(scores[first], np.nan))
        is_relevant = np.zeros(len(scores), np.bool_)
        is_relevant[relevant] = True
        self._right.append(_padded(is_relevant[first], fill=False))
        every = _histogram(scores[scores > -np.inf])
        of_relevant = _histogram(scores[relevant])
        self._counts += np.stack([of_relevant, every - of_relevant])

    def judged(self) -> Judged:
        return Judged(
            queries=self._queries,
            values=np.array(self._values, np.float64).reshape(-1, len(MEASURES)),
            nearest=np.array(self._nearest, np.int64).reshape(-1, NEAREST),
            scores=np.array(self._scores, np.float32).reshape(-1, NEAREST),
            right=np.array(self._right, np.bool_).reshape(-1, NEAREST),
            relevant=self._counts[0],
            other=self._counts[1],
            skipped=self._skipped,
        )


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
    """Yield the ordinal of each query with the score of every target, -inf for itself."""
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
        best = np.maximum.reduceat(cosines, targets.starts, axis=1)
        best = np.maximum.reduceat(best, queries.starts[first:last] - queries.starts[first], axis=0)
        rounded = (np.rint(best * _STEPS) / _STEPS).astype(np.float32)
        for ordinal, scores in zip(range(first, last), rounded, strict=True):
            itself = ordinal_of.get(queries.ids[ordinal])
            if itself is not None and not per_image:
                scores[itself] = -np.inf
            yield ordinal, scores
        first = last

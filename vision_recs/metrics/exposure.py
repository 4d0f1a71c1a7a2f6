"""Catalog coverage: which items are recommended at all, how often, and how diverse the answers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics.ranking import ItemVectors, RankingResult

_HUBS = 10
"""How many of the most recommended items are named."""


@dataclass(frozen=True, slots=True)
class Hub:
    """An item, and the number of answers that it is in."""

    id: str
    answers: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """How the recommendations, up to ten for each query, are distributed over the targets.

    *coverage* is catalog coverage@10: the share of the targets that are in at least one answer. *gini* is the Gini
    coefficient of the number of answers that each target is in: 0 where all are in equally many, near 1 where a few
    targets have nearly all. *top_percent* is the share of all recommendations that the most recommended hundredth of
    the targets has. *diversity* is the mean of 1 - cosine over the pairs of items in an answer, where the mean of its
    images stands for an item. *hubs* are the items that are in most answers.
    """

    coverage: float
    gini: float
    top_percent: float
    diversity: float
    hubs: tuple[Hub, ...]


def expose(result: RankingResult, targets: ItemVectors) -> Exposure:
    """Return how the answers of *result* are distributed over *targets*; there is at least one answer."""
    shown = result.nearest[result.nearest >= 0]
    counts = np.bincount(shown, minlength=len(targets.ids))
    most = np.argsort(-counts, kind="stable")
    hubs = [Hub(targets.ids[ordinal], int(counts[ordinal])) for ordinal in most[:_HUBS].tolist() if counts[ordinal]]
    top = most[: max(1, len(counts) // 100)]
    return Exposure(
        coverage=float(np.mean(counts > 0)),
        gini=gini(counts),
        top_percent=float(counts[top].sum() / counts.sum()),
        diversity=_diversity(result.nearest, targets),
        hubs=tuple(hubs),
    )


def gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini coefficient of *counts* (n,), from 0, where all are equal, to below 1; no count is negative."""
    total = int(counts.sum())
    if not total:
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float(2 * np.sum(np.arange(1, n + 1) * ordered) / (n * total) - (n + 1) / n)


def _diversity(nearest: NDArray[np.int64], targets: ItemVectors) -> float:
    """Return the mean of 1 - cosine over the pairs of each answer, then over all answers of two or more items."""
    sums = np.add.reduceat(targets.vectors, targets.starts, axis=0)
    items = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    found = []
    for answer in nearest:
        vectors = items[answer[answer >= 0]]
        n = len(vectors)
        if n > 1:
            of_pairs = (float(np.square(vectors.sum(axis=0)).sum()) - n) / (n * (n - 1))
            found.append(1.0 - of_pairs)
    return float(np.mean(found)) if found else 0.0

"""Which items are recommended at all, how often, and how different from each other those of one answer are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics.ranking import ItemVectors, Judged

_HUBS = 10
"""How many of the items that are recommended most are named."""


@dataclass(frozen=True, slots=True)
class Hub:
    """An item, and in how many of the answers it is."""

    id: str
    answers: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """How the answers, of up to ten items each, spread over the targets.

    *coverage* is the share of the targets that are in any answer, *gini* how unequally often they are (0: all alike,
    towards 1: a few take all), *top_percent* the share of all recommendations that goes to the hundredth of the targets
    that gets most. *diversity* is the mean of 1 - cosine between the items of one answer, each by the mean of its
    images. *hubs* are the items that are in most answers.
    """

    coverage: float
    gini: float
    top_percent: float
    diversity: float
    hubs: tuple[Hub, ...]


def expose(judged: Judged, targets: ItemVectors) -> Exposure:
    """Return how the answers of *judged* spread over *targets*; there is at least one answer."""
    shown = judged.nearest[judged.nearest >= 0]
    counts = np.bincount(shown, minlength=len(targets.ids))
    most = np.argsort(-counts, kind="stable")
    hubs = [Hub(targets.ids[ordinal], int(counts[ordinal])) for ordinal in most[:_HUBS].tolist() if counts[ordinal]]
    top = most[: max(1, len(counts) // 100)]
    return Exposure(
        coverage=float(np.mean(counts > 0)),
        gini=gini(counts),
        top_percent=float(counts[top].sum() / counts.sum()),
        diversity=_diversity(judged.nearest, targets),
        hubs=tuple(hubs),
    )


def gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini coefficient of *counts* (n,), none of which is negative: 0 where all are equal, below 1."""
    total = int(counts.sum())
    if not total:
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float(2 * np.sum(np.arange(1, n + 1) * ordered) / (n * total) - (n + 1) / n)


def _diversity(nearest: NDArray[np.int64], targets: ItemVectors) -> float:
    """Return the mean of 1 - cosine over all pairs of an answer, then over the answers of two items or more."""
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

"""Measures of one query, from the ranks of all that is relevant to it.

*ranks* are ascending and count from 1; *grades* are above 0, in the same order. Nothing that is relevant is left out,
however late it comes, so that their number is the number of relevant targets. The definitions are those of trec_eval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ranks: TypeAlias = NDArray[np.int64]
Grades: TypeAlias = NDArray[np.float64]
Measure: TypeAlias = Callable[[Ranks, Grades], float]


def precision(ranks: Ranks, _: Grades, k: int) -> float:
    """Return the share of the first *k* that is relevant; places that no target fills count as wrong."""
    return _within(ranks, k) / k


def recall(ranks: Ranks, _: Grades, k: int) -> float:
    """Return the share of all that is relevant which is among the first *k*."""
    return _within(ranks, k) / len(ranks)


def hit(ranks: Ranks, _: Grades, k: int) -> float:
    """Return 1 where anything relevant is among the first *k*, else 0."""
    return float(ranks[0] <= k)


def reciprocal_rank(ranks: Ranks, _: Grades) -> float:
    """Return 1 / the rank of the first that is relevant."""
    return 1.0 / float(ranks[0])


def average_precision_at_r(ranks: Ranks, _: Grades) -> float:
    """Return the average precision down to rank R, the number of relevant targets (Musgrave et al., 2020)."""
    within = ranks[: _within(ranks, len(ranks))]
    return float(np.sum(np.arange(1, len(within) + 1) / within)) / len(ranks)


def ndcg(ranks: Ranks, grades: Grades, k: int) -> float:
    """Return the gain of the first *k*, discounted by log2(rank + 1), against the best order (Järvelin, 2002).

    The gain is the grade itself, not a power of two.
    """
    found = _within(ranks, k)
    ideal = np.sort(grades)[::-1][:k]
    gained = np.sum(grades[:found] / np.log2(ranks[:found] + 1))
    return float(gained / np.sum(ideal / np.log2(np.arange(2, len(ideal) + 2))))


MEASURES: Mapping[str, Measure] = {
    "precision_at_1": partial(precision, k=1),
    "precision_at_10": partial(precision, k=10),
    "recall_at_10": partial(recall, k=10),
    "recall_at_100": partial(recall, k=100),
    "hit_at_10": partial(hit, k=10),
    "map_at_r": average_precision_at_r,
    "mrr": reciprocal_rank,
    "ndcg_at_10": partial(ndcg, k=10),
}
"""Every measure that is reported, by its name in JSON; all are from 0 to 1, and higher is better."""


def _within(ranks: Ranks, k: int) -> int:
    return int(np.searchsorted(ranks, k, side="right"))

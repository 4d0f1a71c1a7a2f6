"""Relevance judgments, and the measures of one query that follow from them.

Judgments say which targets are relevant to a query, and how much: by equal labels, by graded pairs, or by the item that
an image belongs to. Targets are named by their ordinals in a fixed list.

A measure takes the *ranks* of all relevant targets, ascending from 1, and their *grades*, above 0, in the same order.
No relevant target is left out, however low its rank is; so the number of ranks is the number of relevant targets. The
definitions are those of trec_eval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Attribute

Ranks: TypeAlias = NDArray[np.int64]
Grades: TypeAlias = NDArray[np.float64]
Measure: TypeAlias = Callable[[Ranks, Grades], float]

Relevant: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""The ordinals of the relevant targets, ascending, and the grade of each, above 0."""


class Judgments(Protocol):
    """Which targets are relevant to an item."""

    def relevant(self, query: str) -> Relevant:
        """Return the targets that are relevant to the item *query*; the arrays are empty where there are none."""
        ...


class LabelJudgments:
    """Items with equal labels are relevant to each other, with grade 1; an item without a label is relevant to none."""

    def __init__(self, labels: Mapping[str, Attribute], targets: Sequence[str], *, include_self: bool = False) -> None:
        """Take the label of each item by its id; None is not a label, and the label true differs from 1.

        With *include_self*, an item is relevant to itself: each of its images is a query that has to find it.
        """
        keys = [(type(label), label) for label in labels.values()]
        codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
        self._codes = {item: codes[key] for item, key in zip(labels, keys, strict=True) if labels[item] is not None}
        self._ordinals = {target: ordinal for ordinal, target in enumerate(targets)}
        self._include_self = include_self
        self._target_codes = np.array([self._codes.get(target, -1) for target in targets], np.int64)

    def relevant(self, query: str) -> Relevant:
        """Return the targets with the label of *query*; *query* itself only with *include_self*."""
        code = self._codes.get(query)
        found = np.flatnonzero(self._target_codes == code) if code is not None else np.empty(0, np.int64)
        if not self._include_self:
            found = found[found != self._ordinals.get(query, -1)]
        return found, np.ones(len(found))


class PairJudgments:
    """Graded pairs: the second item is relevant to the first, but not the other way; a grade of 0 or below is none."""

    def __init__(self, pairs: Iterable[tuple[str, str, float]], targets: Sequence[str]) -> None:
        """Take *pairs* (query, relevant item, grade); the grades of a repeated pair add up."""
        ordinals = {target: ordinal for ordinal, target in enumerate(targets)}
        self._grades: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for query, relevant, grade in pairs:
            if relevant != query and relevant in ordinals:
                self._grades[query][ordinals[relevant]] += grade

    def relevant(self, query: str) -> Relevant:
        """Return the targets of the pairs of *query*, and their grades."""
        known = sorted((ordinal, grade) for ordinal, grade in self._grades.get(query, {}).items() if grade > 0)
        return np.array([pair[0] for pair in known], np.int64), np.array([pair[1] for pair in known], np.float64)


class OwnItemJudgments:
    """Only the item itself is relevant: each image has to find its item by the other images of the item."""

    def __init__(self, targets: Sequence[str]) -> None:
        """Take the ids of the targets."""
        self._ordinals = {target: ordinal for ordinal, target in enumerate(targets)}

    def relevant(self, query: str) -> Relevant:
        """Return *query*, where it is a target."""
        found = [self._ordinals[query]] if query in self._ordinals else []
        return np.array(found, np.int64), np.ones(len(found))


def precision(ranks: Ranks, _: Grades, k: int) -> float:
    """Return the share of the first *k* places that hold a relevant target, even where there are fewer targets."""
    return _within(ranks, k) / k


def recall(ranks: Ranks, _: Grades, k: int) -> float:
    """Return the share of the relevant targets that are among the first *k*."""
    return _within(ranks, k) / len(ranks)


def hit(ranks: Ranks, _: Grades, k: int) -> float:
    """Return 1 where a relevant target is among the first *k*, else 0."""
    return float(ranks[0] <= k)


def reciprocal_rank(ranks: Ranks, _: Grades) -> float:
    """Return 1 / rank of the first relevant target."""
    return 1.0 / float(ranks[0])


def average_precision_at_r(ranks: Ranks, _: Grades) -> float:
    """Return the average precision down to rank R, the number of relevant targets (Musgrave et al., 2020)."""
    within = ranks[: _within(ranks, len(ranks))]
    return float(np.sum(np.arange(1, len(within) + 1) / within)) / len(ranks)


def ndcg(ranks: Ranks, grades: Grades, k: int) -> float:
    """Return the gain of the first *k*, discounted by log2(rank + 1), over that of the best order (Järvelin, 2002).

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
"""Every measure that is reported, by its name in JSON; each is from 0 to 1, and higher is better."""


def _within(ranks: Ranks, k: int) -> int:
    return int(np.searchsorted(ranks, k, side="right"))

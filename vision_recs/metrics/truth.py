"""Which items are relevant to which, as the shop says: ids of queries against ordinals of a fixed list of targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Attribute

Relevant: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ordinals of targets, ascending, and the grade of each, above 0."""


class Truth(Protocol):
    """What is relevant to an item."""

    def relevant(self, query: str) -> Relevant:
        """Return the targets that are relevant to the item *query*, none where nothing is said of it."""
        ...


class Labels:
    """Items with equal labels are relevant to each other, with grade 1; an item without one is relevant to none."""

    def __init__(self, labels: Mapping[str, Attribute], targets: Sequence[str], *, itself: bool = False) -> None:
        """Take the label of each item by its id; None is no label, and true is not the number 1.

        With *itself* an item is relevant to its own images, which ask for it one by one.
        """
        keys = [(type(label), label) for label in labels.values()]
        codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
        self._codes = {item: codes[key] for item, key in zip(labels, keys, strict=True) if labels[item] is not None}
        self._targets = targets
        self._itself = itself
        self._target_codes = np.array([self._codes.get(target, -1) for target in targets], np.int64)

    def relevant(self, query: str) -> Relevant:
        """Return the targets with the label of *query*, without *query* unless it counts."""
        code = self._codes.get(query)
        found = np.flatnonzero(self._target_codes == code) if code is not None else np.empty(0, np.int64)
        if not self._itself:
            found = found[[self._targets[ordinal] != query for ordinal in found.tolist()]]
        return found, np.ones(len(found))


class Pairs:
    """Graded pairs: a pair holds one way, and a grade of 0 or below says that the two are not similar."""

    def __init__(self, pairs: Iterable[tuple[str, str, float]], targets: Sequence[str]) -> None:
        """Take *pairs* (query, relevant item, grade); the grades of a pair that is repeated add up."""
        ordinals = {target: ordinal for ordinal, target in enumerate(targets)}
        self._grades: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for query, relevant, grade in pairs:
            if relevant != query and relevant in ordinals:
                self._grades[query][ordinals[relevant]] += grade

    def relevant(self, query: str) -> Relevant:
        """Return the targets that a pair with *query* names, and their grades."""
        known = sorted((ordinal, grade) for ordinal, grade in self._grades.get(query, {}).items() if grade > 0)
        return np.array([pair[0] for pair in known], np.int64), np.array([pair[1] for pair in known], np.float64)


class OwnItem:
    """The item itself is relevant, and nothing else: each image has to find it by its other images."""

    def __init__(self, targets: Sequence[str]) -> None:
        """Take the ids of the targets."""
        self._ordinals = {target: ordinal for ordinal, target in enumerate(targets)}

    def relevant(self, query: str) -> Relevant:
        """Return *query*, where it is a target."""
        found = [self._ordinals[query]] if query in self._ordinals else []
        return np.array(found, np.int64), np.ones(len(found))

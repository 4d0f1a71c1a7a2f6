"""Positives: which items are similar, by their ordinals. Learning draws from this what to pull together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Attribute

Ordinals: TypeAlias = NDArray[np.int64]


class Positives(Protocol):
    """Which items are similar. Every item is similar to itself, by its other images."""

    def blocks(self) -> Ordinals:
        """Return the block number of each item; items of different blocks are not similar."""
        ...

    def has_partner(self, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which items are similar to another item for which the mask *among* holds."""
        ...

    def partners(self, items: Ordinals, among: NDArray[np.bool_], random: np.random.Generator) -> Ordinals:
        """Return, for each of *items*, a similar item in *among*, drawn by weight, or itself where there is none."""
        ...

    def weights(self, items: Ordinals, others: Ordinals) -> NDArray[np.float32]:
        """Return how similar *items* (n,) and *others* (m,) are (n, m), from 0 to 1; an item and itself: 1."""
        ...


class LabelPositives:
    """Items with equal labels are similar; an item without a label is similar to no other."""

    def __init__(self, labels: Sequence[Attribute]) -> None:
        """Take the label of each item, in the order of their ordinals; None is not a label."""
        codes: dict[object, int] = {}
        keys = [(type(label), label) if label is not None else i for i, label in enumerate(labels)]
        self._codes = np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)

    def blocks(self) -> Ordinals:
        """Return a number for each label."""
        return self._codes

    def has_partner(self, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which items have the label of another item in *among*."""
        sizes = np.bincount(self._codes[among], minlength=int(self._codes.max(initial=-1)) + 1)
        shared: NDArray[np.bool_] = sizes[self._codes] - among > 0
        return shared

    def partners(self, items: Ordinals, among: NDArray[np.bool_], random: np.random.Generator) -> Ordinals:
        """Return, for each of *items*, another item of its label in *among*; all of these are equally likely."""
        members = np.flatnonzero(among)
        members = members[np.argsort(self._codes[members], kind="stable")]
        codes = self._codes[members]
        first = np.searchsorted(codes, self._codes[items])
        sizes = np.searchsorted(codes, self._codes[items], side="right") - first
        place = np.full(len(among), -1)
        place[members] = np.arange(len(members))
        offset = np.where(place[items] >= 0, place[items] - first, sizes)  # of the item itself, which is passed over
        others = sizes - (place[items] >= 0)
        drawn = (random.random(len(items)) * others).astype(np.int64)
        drawn += drawn >= offset
        return np.where(others > 0, members[np.minimum(first + drawn, len(members) - 1)], items)

    def weights(self, items: Ordinals, others: Ordinals) -> NDArray[np.float32]:
        """Return 1 where one of *items* and one of *others* have the same label, else 0."""
        same: NDArray[np.float32] = (self._codes[items][:, None] == self._codes[others]).astype(np.float32)
        return same


class PairPositives:
    """Pairs of items are similar, in both directions; a pair with a higher weight is more similar."""

    def __init__(self, pairs: Iterable[tuple[int, int, float]], count: int) -> None:
        """Take *pairs* (ordinal, ordinal, weight above 0) of *count* items; weights are scaled to at most 1."""
        heaviest: dict[tuple[int, int], float] = {}
        for one, other, weight in pairs:
            if one != other:
                for key in ((one, other), (other, one)):
                    heaviest[key] = max(weight, heaviest.get(key, 0.0))
        keys = sorted(heaviest)
        self._count = count
        self._from = np.array([key[0] for key in keys], np.int64)
        self._to = np.array([key[1] for key in keys], np.int64)
        weights = np.array([heaviest[key] for key in keys], np.float64)
        self._weights = weights / weights.max(initial=1e-300)
        self._keys = self._from * count + self._to

    @classmethod
    def of_ids(cls, pairs: Iterable[tuple[str, str, float]], items: Sequence[str]) -> PairPositives:
        """Take *pairs* (id, id, weight) of *items*; pairs of other ids or with a weight of 0 or below are left out."""
        ordinals = {item: ordinal for ordinal, item in enumerate(items)}
        known = (
            (ordinals[one], ordinals[other], weight)
            for one, other, weight in pairs
            if weight > 0 and one in ordinals and other in ordinals
        )
        return cls(known, len(items))

    def blocks(self) -> Ordinals:
        """Return the number of the connected component of each item."""
        block = np.arange(self._count)
        while True:
            smaller = block.copy()
            np.minimum.at(smaller, self._from, block[self._to])
            smaller = smaller[smaller]
            if np.array_equal(smaller, block):
                return block
            block = smaller

    def has_partner(self, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which items are in a pair with an item in *among*."""
        found = np.zeros(self._count, np.bool_)
        found[self._from[among[self._to]]] = True
        return found

    def partners(self, items: Ordinals, among: NDArray[np.bool_], random: np.random.Generator) -> Ordinals:
        """Return, for each of *items*, the other item, one in *among*, of one of its pairs, drawn by weight."""
        upto = np.concatenate([[0.0], np.cumsum(np.where(among[self._to], self._weights, 0.0))])
        low = upto[np.searchsorted(self._from, items)]
        high = upto[np.searchsorted(self._from, items, side="right")]
        drawn = low + random.random(len(items)) * (high - low)
        place = np.minimum(np.searchsorted(upto, drawn, side="right") - 1, max(len(self._to) - 1, 0))
        return np.where(high > low, self._to[place], items) if len(self._to) else items

    def weights(self, items: Ordinals, others: Ordinals) -> NDArray[np.float32]:
        """Return the weight of the pair of each of *items* and each of *others*, 1 for an item with itself, else 0."""
        wanted = items[:, None] * self._count + others
        found: NDArray[np.float32] = (items[:, None] == others).astype(np.float32)
        if len(self._keys):
            place = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            paired = self._keys[place] == wanted
            found[paired] = self._weights[place[paired]]
        return found

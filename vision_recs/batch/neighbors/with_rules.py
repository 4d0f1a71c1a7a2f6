"""Lists under the rules of a shop: each item is asked by itself, but its nearest images are found beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import Inventory, ranges
from vision_recs.batch.neighbors.candidates import Shortlists, asking
from vision_recs.batch.neighbors.eligible import Answering
from vision_recs.batch.neighbors.retrieve import Near
from vision_recs.recommend.policy import Policy
from vision_recs.recommend.query import Query
from vision_recs.recommend.recommender import Recommender
from vision_recs.store import Store
from vision_recs.types import Match, VectorIndex, Vectors

if TYPE_CHECKING:
    from vision_recs.filters import Filter

_ITEMS = 1_024  # that are yielded at once

DEEP = 12
"""How many times as many images as are wanted are found beforehand: as `Search` asks for at first, and once more."""

_EVERY = 1 << 62  # more than there are


class PreparedRecommender(Recommender):
    """Answers from lists that were made beforehand, as far as they reach; they are of items that match *where*."""

    def __init__(self, store: Store, index: VectorIndex, *, where: Filter | None) -> None:
        """Answer from *store*, by *index* where the lists do not reach."""
        super().__init__(store, index)
        self._where = where
        self._answers: list[list[Match]] = []
        self._reaches = 0

    def prepare(self, answers: list[list[Match]], reaches: int) -> None:
        """Answer the next question, of as many vectors, by *answers*, which hold the best *reaches* matches or all."""
        self._answers = answers
        self._reaches = reaches

    def _search_within(self, vectors: Vectors, k: int, where: Filter | None) -> list[list[Match]]:
        if where == self._where and len(vectors) == len(self._answers) and k <= self._reaches:
            return [answer[:k] for answer in self._answers]
        return super()._search_within(vectors, k, where)


class _Answer(NamedTuple):
    """The best matches for one vector, and how many of them a search may ask for."""

    matches: list[Match]
    reaches: int


@dataclass(frozen=True)
class Ruled:
    """Asks for *k* items for each item, of those that match *where*, under a *policy* with rules."""

    inventory: Inventory
    answering: Answering
    near: Near
    recommender: PreparedRecommender
    k: int
    where: Filter | None
    policy: Policy

    def lists(self, items: NDArray[np.int64]) -> Iterator[Shortlists]:
        """Yield the lists of *items*, some at a time, in their order."""
        for start in range(0, len(items), _ITEMS):
            some = items[start : start + _ITEMS]
            positions, _, _ = asking(self.inventory, some)
            near = dict(zip(positions.tolist(), self._answers(positions), strict=True))
            yield _shortlists(self.inventory, some, [self._list(item, near) for item in some.tolist()])

    def _list(self, item: int, near: dict[int, _Answer]) -> list[Match]:
        here = slice(self.inventory.starts[item], self.inventory.starts[item + 1])
        positions = sorted(set(self.inventory.positions[here].tolist()))  # as the question has its vectors
        answers = [near[position] for position in positions]
        self.recommender.prepare([answer.matches for answer in answers], min(answer.reaches for answer in answers))
        query = Query(items=(self.inventory.ids[item],), k=self.k, where=self.where)
        return self.recommender.answer(query, self.policy)

    def _answers(self, positions: NDArray[np.int64]) -> Iterator[_Answer]:
        """Yield, for the vector at each of *positions*, the matches that a search for it begins with."""
        deep = DEEP * (self.policy.pool(self.k) if self.policy.diversity else self.k)
        for lists in self.near.lists(positions, deep):
            for number, bound in enumerate(lists.bounds.tolist()):
                here = slice(lists.starts[number], lists.starts[number + 1])
                yield self._answer(lists.numbers[here], lists.scores[here], bound)

    def _answer(self, numbers: NDArray[np.int64], scores: NDArray[np.float32], bound: float) -> _Answer:
        starts, stops = self.answering.starts[numbers], self.answering.starts[numbers + 1]
        rows = self.answering.rows[ranges(starts, stops)]
        scores = np.repeat(scores, stops - starts)
        order = np.lexsort((rows, -scores))
        is_all = bound == -np.inf
        sure = order if is_all else order[scores[order] > bound]
        matches = [
            self._match(row, score) for row, score in zip(rows[sure].tolist(), scores[sure].tolist(), strict=True)
        ]
        return _Answer(matches, _EVERY if is_all else len(matches))

    def _match(self, row: int, score: float) -> Match:
        inventory = self.inventory
        digest = self._digest_at(int(inventory.positions[row]))
        return Match(inventory.ids[inventory.item_of[row]], score, inventory.images[row], digest)

    @cached_property
    def _digest_at(self) -> Callable[[int], str]:
        """What returns the digest of the image whose vector is at a position."""
        return cache(lambda position: self.recommender.store.rows([position], limit=1)[position][0].digest)


def _shortlists(inventory: Inventory, items: NDArray[np.int64], answers: Sequence[Sequence[Match]]) -> Shortlists:
    rows = [inventory.row(match) for matches in answers for match in matches]
    scores = [match.score for matches in answers for match in matches]
    starts = np.cumsum([0, *map(len, answers)])
    return Shortlists(items, starts, np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float32))

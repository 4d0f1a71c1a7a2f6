"""Neighbors under a policy with rules: each item is a query of its own, but its nearest images are found beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import ItemArrays, ranges
from vision_recs.batch.neighbors.candidates import CandidateLists
from vision_recs.batch.neighbors.retrieve import Retriever, TargetVectors, query_positions
from vision_recs.recommend.query import Policy, Query
from vision_recs.recommend.recommender import Recommender
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import Match, SearchRequest, VectorIndex

if TYPE_CHECKING:
    from vision_recs.filters import Filter

_ITEMS = 1_024
"""Items whose lists are yielded at once."""

DEPTH = 12
"""How many times as many images as are wanted are found beforehand: what a query fetches at first, and once more."""

_ALL = 1 << 62
"""The depth of an answer that lacks nothing: more than there are images."""


class PreparedIndex:
    """An index that answers from matches found beforehand, as far as they reach; their items match *where*."""

    def __init__(self, index: VectorIndex, *, where: Filter | None) -> None:
        """Answer by *index* where the prepared matches do not reach."""
        self._index = index
        self._where = where
        self._answers: list[list[Match]] = []
        self._depth = 0

    def prepare(self, answers: list[list[Match]], depth: int) -> None:
        """Answer the next request, of as many vectors, by *answers*, which hold the best *depth* matches or all."""
        self._answers = answers
        self._depth = depth

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        return self._index.source

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`."""
        is_plain = request.where == self._where and not request.exclude and request.group_by is None
        if is_plain and len(request.vectors) == len(self._answers) and request.k <= self._depth:
            return [answer[: request.k] for answer in self._answers]
        return self._index.search(request)


class _Prepared(NamedTuple):
    """The best matches for one vector; a search for up to *depth* images finds these."""

    matches: list[Match]
    depth: int


@dataclass(frozen=True)
class RuledNeighbors:
    """Finds *k* neighbors of each item that match *where*, under a *policy* with rules."""

    arrays: ItemArrays
    targets: TargetVectors
    retriever: Retriever
    store: WholeItems
    index: PreparedIndex
    k: int
    where: Filter | None
    policy: Policy

    def lists(self, items: NDArray[np.int64]) -> Iterator[CandidateLists]:
        """Yield the lists of *items*, some items at a time, in their order."""
        for start in range(0, len(items), _ITEMS):
            some = items[start : start + _ITEMS]
            positions, _, _ = query_positions(self.arrays, some)
            prepared = dict(zip(positions.tolist(), self._prepared(positions), strict=True))
            yield _candidate_lists(self.arrays, some, [self._matches(item, prepared) for item in some.tolist()])

    def _matches(self, item: int, prepared: dict[int, _Prepared]) -> list[Match]:
        here = slice(self.arrays.starts[item], self.arrays.starts[item + 1])
        positions = dict.fromkeys(self.arrays.positions[here].tolist())  # in the order of the vectors of a query
        answers = [prepared[position] for position in positions]
        self.index.prepare([answer.matches for answer in answers], min(answer.depth for answer in answers))
        query = Query(items=(self.arrays.ids[item],), k=self.k, where=self.where)
        return self._recommender.query(query, self.policy)

    @cached_property
    def _recommender(self) -> Recommender:
        return Recommender(self.store, self.index)

    def _prepared(self, positions: NDArray[np.int64]) -> Iterator[_Prepared]:
        """Yield the nearest matches for the vector at each of *positions*."""
        has_pool = self.policy.diversity or self.policy.averaging
        depth = DEPTH * (self.policy.pool(self.k) if has_pool else self.k)
        for hits in self.retriever.nearest(positions, depth):
            for number, bound in enumerate(hits.bounds.tolist()):
                here = slice(hits.starts[number], hits.starts[number + 1])
                yield self._prepared_one(hits.numbers[here], hits.scores[here], bound, depth)

    def _prepared_one(
        self, numbers: NDArray[np.int64], scores: NDArray[np.float32], bound: float, depth: int
    ) -> _Prepared:
        """Return up to *depth* matches that show the target vectors *numbers*, with scores above *bound*."""
        starts, stops = self.targets.starts[numbers], self.targets.starts[numbers + 1]
        rows = self.targets.rows[ranges(starts, stops)]
        scores = np.repeat(scores, stops - starts)
        order = np.lexsort((rows, -scores))
        is_all = bound == -np.inf
        sure = (order if is_all else order[scores[order] > bound])[:depth]
        is_all = is_all and len(sure) == len(order)
        matches = [
            self._match(row, score) for row, score in zip(rows[sure].tolist(), scores[sure].tolist(), strict=True)
        ]
        return _Prepared(matches, _ALL if is_all else len(matches))

    def _match(self, row: int, score: float) -> Match:
        arrays = self.arrays
        digest = self._digest_at(int(arrays.positions[row]))
        return Match(arrays.ids[arrays.item_of[row]], score, arrays.images[row], digest)

    @cached_property
    def _digest_at(self) -> Callable[[int], str]:
        """A function that returns the digest of the image whose vector is at a position."""
        return cache(lambda position: self.store.rows([position], limit=1)[position][0].digest)


def _candidate_lists(
    arrays: ItemArrays, items: NDArray[np.int64], answers: Sequence[Sequence[Match]]
) -> CandidateLists:
    rows = [arrays.row(match) for matches in answers for match in matches]
    scores = [match.score for matches in answers for match in matches]
    starts = np.cumsum([0, *map(len, answers)])
    return CandidateLists(items, starts, np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float32))

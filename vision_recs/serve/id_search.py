"""What queries that are one id search for, and the images around it: all that wait are one search of the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from vision_recs.indexes.base import Group, Scored, group_of
from vision_recs.recommend import Policy
from vision_recs.recommend.by_position import NearestPositions
from vision_recs.recommend.query import VARIANTS
from vision_recs.recommend.retrieve import QueryTerm, SubQuery, first_fetch
from vision_recs.serve.shown_items import NOWHERE
from vision_recs.store.recent_items import KnownItem

if TYPE_CHECKING:
    from vision_recs.serve.served import ServedItems

ROUNDING = 1e-9
"""Scores that are no further apart count as equal: the general path puts them into their order."""

GROWTH = 3
"""How many times as many images are searched where the first ones were not enough."""

Ranked: TypeAlias = list[tuple[float, int]]
"""Scores and positions, the best score first."""


class IdQuery(NamedTuple):
    """A query that is the id of an *item*, and nothing else but how many matches, and whether with a *cover* each."""

    item: str
    k: int = 10
    cover: bool = False


class SearchedId(NamedTuple):
    """A query, what it searches for, the group of its item, and how many *candidates* its answer is chosen from."""

    query: IdQuery
    subquery: SubQuery
    group: Group | None
    candidates: int


class IdSearch:
    """Searches for `IdQuery`s among *items*, whose positions *source* knows, under *policy*, on one thread."""

    def __init__(self, items: ServedItems, source: NearestPositions, policy: Policy) -> None:
        """See the class."""
        self._items = items
        self._source = source
        self._policy = policy
        self._is_grouped = source.is_grouped(policy.one_per)

    def asked(self, queries: Sequence[IdQuery], *, pools: bool = False) -> list[SearchedId]:
        """Return what each of *queries* searches for, without those whose item is not known.

        With *pools*, each answer is chosen from a pool of candidates.
        """
        known = self._source.items.known([query.item for query in queries])
        return list(self._asked([query for query in queries if query.item in known], known, pools=pools))

    def _asked(
        self, queries: Sequence[IdQuery], known: Mapping[str, KnownItem], *, pools: bool
    ) -> Iterator[SearchedId]:
        """Yield what each of *queries* searches for: the vectors of its item, the same bytes once."""
        by_item: dict[str, dict[str, tuple[int, str]]] = {}
        for query in queries:
            own = by_item.setdefault(query.item, {})
            for image, digest, position in sorted((i.image, i.digest, i.position) for i in known[query.item].images):
                own.setdefault(digest, (position, image))
        positions = [position for own in by_item.values() for position, _ in own.values()]
        vectors = self._source.items.vectors(np.array(positions, np.int64))
        terms: dict[str, QueryTerm] = {}
        start = 0
        for item, own in by_item.items():
            stop = start + len(own)
            images = tuple(image for _, image in own.values())
            terms[item] = QueryTerm("item", item, 1.0, vectors[start:stop], images)
            start = stop
        for query in queries:
            group = group_of(known[query.item].attributes, self._policy.one_per)
            count = self._policy.pool(query.k) if pools else query.k
            yield SearchedId(query, SubQuery((terms[query.item],)), group, min(count, self._items.item_count))

    def ranked(self, asked: Iterable[SearchedId], depth: int) -> list[Ranked]:
        """Return the images around each of *asked*, *depth* times as many as are enough at first.

        The index is searched once for all that ask for as many. Raises StoreDamaged.
        """
        asked = list(asked)
        wanted: dict[int, list[int]] = {}
        for number, each in enumerate(asked):
            fetch = first_fetch(self._items, each.subquery, each.candidates, is_sifted=self._is_grouped)
            wanted.setdefault(depth * fetch, []).append(number)
        found: dict[int, Ranked] = {}
        for fetch, numbers in wanted.items():
            vectors = [asked[number].subquery.vectors for number in numbers]
            searched = iter(self._source.nearest(np.concatenate(vectors), fetch))
            for number, own in zip(numbers, vectors, strict=True):
                found[number] = self._around(asked[number].subquery, [next(searched) for _ in own], fetch)
        return [found[number] for number in range(len(asked))]

    def _around(self, subquery: SubQuery, found: Sequence[Scored], fetch: int) -> Ranked:
        """Return the images in *found* by their scores, and among them, at no position, what no other image exceeds."""
        (positions, scores), bound = self._source.joined(subquery, found, fetch)
        ranked: Ranked = list(zip(scores.tolist(), positions.tolist(), strict=True))
        if bound is not None:
            ranked.append((bound, NOWHERE))
        return sorted(ranked, reverse=True)


def is_plain(policy: Policy) -> bool:
    """Whether nothing but ids, groups and scores decides what *policy* admits, and in which order.

    What was learned may change the order, too.
    """
    shifts = policy.has_rules or policy.averaging > 0 or policy.diversity > 0
    return policy.one_per in {None, VARIANTS} and policy.where is None and policy.min_score is None and not shifts

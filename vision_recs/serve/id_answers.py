"""Answers to queries that are one id: from the id to the bytes of the answer, without an object for each match.

Most requests of a shop are of this kind. They are answered here as far as that is simple, and what is not is left to
the general path, whose answers are the same to the byte: see `convert.query_batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec
import numpy as np

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Group, Scored, group_of
from vision_recs.recommend import Policy
from vision_recs.recommend.by_position import NearestPositions
from vision_recs.recommend.eligibility import IN_STOCK
from vision_recs.recommend.query import VARIANTS
from vision_recs.recommend.retrieve import QueryTerm, SubQuery, first_fetch
from vision_recs.serve import convert
from vision_recs.store.recent_items import KnownItem
from vision_recs.types import Match, VectorIndex

if TYPE_CHECKING:
    from vision_recs.serve.served import ServedItems

_encode = msgspec.json.Encoder().encode

_MAX_ENTRIES = 100_000
"""Images whose part of an answer is kept: some 100 MB for items with ten attributes."""

_ROUNDING = 1e-9
"""Scores that are no further apart count as equal: the general path puts them into their order."""

_SPARE = 2
"""Images that are read beside those that an answer needs: the item of the query, and one more."""

_GROWTH = 3
"""How many times as many images are searched where the first ones were not enough."""

_NOWHERE = -1
"""The position of what is no image."""

_SCORE = b',"score":0.0,'


class IdQuery(NamedTuple):
    """A query that is the id of an *item*, and nothing else but how many matches, and whether with a *cover* each."""

    item: str
    k: int = 10
    cover: bool = False


class _Shown(NamedTuple):
    """An item that shows an image, and what an answer says of it: the bytes before and after the score.

    *covered* is *after* with the cover.
    """

    item: str
    group: Group | None
    is_in_stock: bool
    before: bytes
    after: bytes
    covered: bytes


class _Outcome(Enum):
    """Why no answer was chosen: more images have to be searched, or scores do not say which come first."""

    INCOMPLETE = 1
    UNORDERED = 2


class _Asked(NamedTuple):
    """A query, what it searches for, and the group of its item."""

    query: IdQuery
    subquery: SubQuery
    group: Group | None


_Ranked: TypeAlias = list[tuple[float, int]]
"""Scores and positions, the best score first."""


class IdAnswers:
    """Answers `IdQuery`s from one generation under one policy, on one thread."""

    def __init__(self, items: ServedItems, source: NearestPositions, policy: Policy) -> None:
        """Answer from *source*, which knows the positions of *items*, under *policy*, which is plain."""
        self._items = items
        self._source = source
        self._policy = policy
        self._shows_images_once = policy.shows_images_once(None)
        self._is_grouped = source.is_grouped(policy.one_per)
        self._shown: dict[int, tuple[_Shown, ...]] = {_NOWHERE: ()}  # by position
        self._begin = b'{"generation":%d,"matches":[' % items.generation

    @classmethod
    def of(cls, items: ServedItems, index: VectorIndex, policy: Policy) -> IdAnswers | None:
        """Return what answers from *items* and *index*; None if they know no positions, or *policy* is not plain."""
        source = NearestPositions.of(items, index) if _is_plain(policy) else None
        return None if source is None else cls(items, source, policy)

    def batch(self, queries: Sequence[IdQuery]) -> list[bytes | None]:
        """Return, for each of *queries*, its answer as JSON, or None where that is left to the general path."""
        known = self._source.items.known([query.item for query in queries])
        asked = list(self._asked([query for query in queries if query.item in known], known))
        answers: dict[IdQuery, bytes | None] = {}
        depth = 1
        while asked:
            found = list(zip(asked, self._ranked(asked, depth), strict=True))
            self._read(position for each, ranked in found for _, position in ranked[: each.query.k + _SPARE])
            chosen = [(each, self._chosen(each, ranked)) for each, ranked in found]
            asked = [each for each, outcome in chosen if outcome is _Outcome.INCOMPLETE]
            depth *= _GROWTH
            answers |= {each.query: self._answer(each, outcome) for each, outcome in chosen}
        return [answers.get(query) for query in queries]

    def _asked(self, queries: Iterable[IdQuery], known: Mapping[str, KnownItem]) -> Iterator[_Asked]:
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
            yield _Asked(query, SubQuery((terms[query.item],)), group)

    def _ranked(self, asked: Sequence[_Asked], depth: int) -> list[_Ranked]:
        """Return the images around each of *asked*, *depth* times as many as are enough at first.

        The index is searched once for all that ask for as many.
        """
        wanted: dict[int, list[_Asked]] = {}
        for each in asked:
            fetch = first_fetch(self._items, each.subquery, each.query.k, is_sifted=self._is_grouped)
            wanted.setdefault(depth * fetch, []).append(each)
        found: dict[IdQuery, _Ranked] = {}
        for fetch, some in wanted.items():
            searched = iter(self._source.nearest(np.concatenate([each.subquery.vectors for each in some]), fetch))
            for each in some:
                own = [next(searched) for _ in each.subquery.vectors]
                found[each.query] = self._around(each.subquery, own, fetch)
        return [found[each.query] for each in asked]

    def _around(self, subquery: SubQuery, found: Sequence[Scored], fetch: int) -> _Ranked:
        """Return the images in *found* by their scores, and among them, at no position, what no other image exceeds."""
        (positions, scores), bound = self._source.joined(subquery, found, fetch)
        ranked: _Ranked = list(zip(scores.tolist(), positions.tolist(), strict=True))
        if bound is not None:
            ranked.append((bound, _NOWHERE))
        return sorted(ranked, reverse=True)

    def _chosen(self, asked: _Asked, ranked: _Ranked) -> list[tuple[float, _Shown]] | _Outcome:
        """Return what an answer shows, with the scores."""
        never, items, groups = {asked.query.item, *self._policy.exclude}, set[str](), {asked.group} - {None}
        chosen: list[tuple[float, _Shown]] = []
        last = np.inf
        for score, position in ranked:
            if position not in self._shown:
                self._read([position])
            shown = [each for each in self._shown[position] if each.item not in never]
            if not shown and position != _NOWHERE:
                continue
            is_tied = last - score <= _ROUNDING
            if position == _NOWHERE and (is_tied or len(chosen) < asked.query.k):
                return _Outcome.INCOMPLETE
            if is_tied:
                return _Outcome.UNORDERED
            if len(chosen) >= asked.query.k:
                break
            admitted = self._admitted(shown, items, groups)
            chosen += [(score, each) for each in admitted]
            last = score if admitted else last
        return chosen[: asked.query.k]

    def _admitted(self, shown: Sequence[_Shown], items: set[str], groups: set[Group | None]) -> list[_Shown]:
        """Return those of *shown*, which all show one image, that come into an answer with *items* and *groups*.

        They are added to these.
        """
        admitted: list[_Shown] = []
        for each in shown:
            if each.item in items or each.group in groups or (admitted and self._shows_images_once):
                continue
            items.add(each.item)
            groups |= {each.group} - {None}
            admitted.append(each)
        return admitted

    def _read(self, positions: Iterable[int]) -> None:
        """Know which items show the images at *positions*."""
        missing = [position for position in dict.fromkeys(positions) if position not in self._shown]
        if not missing:
            return
        if len(self._shown) + len(missing) > _MAX_ENTRIES:
            self._shown = {_NOWHERE: ()}
        places, rows = self._source.lookup.rows_at(np.array(missing, np.int64))
        ids = self._source.lookup.ids(rows)
        known = self._source.items.known(ids)
        found: dict[int, dict[str, _Shown]] = {position: {} for position in missing}
        for place, item in zip(places.tolist(), ids, strict=True):
            position = missing[place]
            found[position][item] = self._read_one(item, known.get(item), position)
        for position, shown in found.items():
            if not shown:
                raise StoreDamaged(f"no item shows the vector {position}")
            self._shown[position] = tuple(sorted(shown.values(), key=self._before))

    def _before(self, shown: _Shown) -> tuple[bool, str]:
        """Return what orders items that show the same image: where one stands for all, those in stock first."""
        return self._shows_images_once and not shown.is_in_stock, shown.item

    def _read_one(self, item: str, known: KnownItem | None, position: int) -> _Shown:
        images = [] if known is None else [image for image in known.images if image.position == position]
        if known is None or not images:
            raise StoreDamaged(f"the item {item!r} does not show the vector {position}")
        image = min(images, key=attrgetter("image"))
        attributes = {**known.attributes, **image.attributes}
        match = convert.to_match(0, Match(item, 0.0, image.image, image.digest, attributes), self._items)
        before, _, covered = _encode(match).partition(_SCORE)
        match.cover = msgspec.UNSET
        after = _encode(match).partition(_SCORE)[2]
        group = group_of(known.attributes, self._policy.one_per)
        is_in_stock = known.attributes.get(IN_STOCK) is True
        return _Shown(item, group, is_in_stock, before.partition(b",")[2] + _SCORE[:9], b"," + after, b"," + covered)

    def _answer(self, asked: _Asked, chosen: list[tuple[float, _Shown]] | _Outcome) -> bytes | None:
        if isinstance(chosen, _Outcome):
            return None
        if not chosen:
            return self._begin + b"]}"
        scores = _encode([round(score, 6) for score, _ in chosen])[1:-1].split(b",")
        parts = [self._begin]
        for rank, (score, (_, shown)) in enumerate(zip(scores, chosen, strict=True), 1):
            parts += (b'%s{"rank":%d,' % (b"," if rank > 1 else b"", rank), shown.before, score)
            parts.append(shown.covered if asked.query.cover else shown.after)
        return b"".join([*parts, b"]}"])


def _is_plain(policy: Policy) -> bool:
    """Whether nothing but ids, groups and scores decides what *policy* admits, and in which order."""
    shifts = policy.is_by_query or policy.diversity > 0
    return policy.one_per in {None, VARIANTS} and policy.where is None and policy.min_score is None and not shifts

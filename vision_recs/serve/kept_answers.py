"""What kept answers to queries that are one id are made from, and their bytes: see `id_answers`, and `answering`.

A choice has the pool of its query, of which an answer shows the best, and where it explores one other. Only what an
answer shows is read. The general path gives the same answers to the byte, and logs them alike.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec
import numpy as np

from vision_recs.errors import StoreDamaged
from vision_recs.feedback.exploration import NOT_EXPLORING, Explored, Outside, Slate
from vision_recs.feedback.model import UNKNOWN
from vision_recs.indexes.base import Group
from vision_recs.recommend import Policy, Recommender
from vision_recs.recommend.by_position import NearestPositions
from vision_recs.recommend.eligibility import AttributesOf, CandidateColumns
from vision_recs.recommend.learned import LEARNED, LearnedOrder
from vision_recs.recommend.offers import EXPLORED, tried_of
from vision_recs.recommend.ordered import Ordered
from vision_recs.serve.id_search import GROWTH, IdQuery, IdSearch, Ranked, SearchedId, is_plain
from vision_recs.serve.shown_items import NO_EFFECTS, NOWHERE, ShownItems, explanation

if TYPE_CHECKING:
    from vision_recs.serve.served import ServedItems

_encode = msgspec.json.Encoder().encode

_MAX_ENTRIES = 100_000
"""Images whose items are known by position."""

MOST_KEPT = 320_000
"""Candidates of the choices that are kept, some 46 MB: those of 8,000 answers of ten items."""

_EFFECT = b'{"rule":"%b","score_delta":%%b,"position":null}' % LEARNED.encode()
_MOVED = explanation(_EFFECT)
"""What the learned model did to a candidate, and an explanation that says nothing else: of by how much it moved it."""

_Item: TypeAlias = tuple[str, Group | None, int, int]
"""The id and the group of an item, its row in the attribute columns, and its code in the learned model, if any."""


class KeptMatches(NamedTuple):
    """The best items, as columns: *positions*, and the JSON of *scores*, and of what is *explained* of each, if any is.

    Thousands of them are kept, and an object for each match would have the garbage collector look at it.
    """

    positions: tuple[int, ...]
    scores: tuple[bytes, ...]
    explained: tuple[bytes, ...]


class KeptOutside(NamedTuple):
    """The items outside of the best, as columns: *positions*, *scores*, and by how much each was *moved*, if any was.

    Arrays take a third of the memory of tuples, and thousands of them are kept.
    """

    positions: array[int]
    scores: array[float]
    moved: array[float] | None


class KeptChoice(NamedTuple):
    """What the answers to a query are made from: the *slate*, the *best* matches, and what is *outside* of them.

    *line* is what the lines of the log have in common.
    """

    slate: Slate
    best: KeptMatches
    outside: KeptOutside
    line: bytes = b""


class KeptAnswers:
    """Makes choices and answers for `IdQuery`s from one generation under one policy, on one thread."""

    def __init__(self, recommender: Recommender, items: ServedItems, source: NearestPositions, policy: Policy) -> None:
        """Answer as *recommender* does under *policy*, which is plain; *source* knows the positions of its *items*."""
        self._recommender, self._items = recommender, items
        self._source = source
        self._policy = policy
        self._search = IdSearch(items, source, policy)
        self._shown = ShownItems(source, policy)
        self._item_at: dict[int, _Item | None] = {NOWHERE: None}
        self._begin = b'{"generation":%d,"matches":[' % items.generation

    @classmethod
    def of(cls, recommender: Recommender, items: ServedItems, policy: Policy) -> KeptAnswers | None:
        """Return what answers from *items*; None if these or the index know no positions, or *policy* is not plain.

        It does not hold what holds it: that would be a cycle, and a generation that was replaced would stay in memory.
        """
        source = NearestPositions.of(items, recommender.index) if is_plain(policy) else None
        return None if source is None else cls(recommender, items, source, policy)

    def choices(self, queries: Sequence[tuple[IdQuery, bool]]) -> list[tuple[KeptChoice, tuple[float, ...]] | None]:
        """Return what answers to each of *queries* are made from, or None where that is left to the general path.

        Beside it are the scores of its items, the best first. With each query stands whether the answer is a learned
        one. Raises StoreDamaged.
        """
        asked = self._search.asked([query for query, _ in queries], pools=True)
        pools: dict[IdQuery, tuple[SearchedId, CandidateColumns | None]] = {}
        depth = 1
        while asked:
            found = list(zip(asked, self._search.ranked(asked, depth), strict=True))
            asked = []
            for each, ranked in found:
                try:
                    pool, is_enough = self._pool(each, ranked)
                except KeyError:  # of a position whose item is not known yet
                    self._locate([position for _, position in ranked])
                    pool, is_enough = self._pool(each, ranked)
                pools[each.query] = each, pool
                asked += [] if is_enough else [each]
            depth *= GROWTH
        found_pools = [(pools.get(query, (None, None)), is_learned) for query, is_learned in queries]
        return [
            None if asked_ is None or pool is None else self._choice(asked_, pool, is_learned=is_learned)
            for (asked_, pool), is_learned in found_pools
        ]

    def _locate(self, positions: Sequence[int]) -> None:
        """Know the item that shows each of *positions*, None where several do; raises StoreDamaged."""
        missing = [position for position in positions if position not in self._item_at]
        if not missing:
            return
        if len(self._item_at) + len(missing) > _MAX_ENTRIES:
            self._item_at = {NOWHERE: None}
            missing = [position for position in positions if position != NOWHERE]
        missing = list(dict.fromkeys(missing))
        places, rows = self._source.lookup.rows_at(np.array(missing, np.int64))
        ids = self._source.lookup.ids(rows)
        one_per = self._policy.one_per
        values = [None] * len(ids) if one_per is None else self._source.lookup.values(one_per, rows)
        groups = [None if value is None else (isinstance(value, bool), value) for value in values]
        codes = [UNKNOWN] * len(ids) if self._learned is None else self._learned.model.codes(ids).tolist()
        found: dict[int, _Item | None] = {}
        for place, item in zip(places.tolist(), zip(ids, groups, rows.tolist(), codes, strict=True), strict=True):
            found[missing[place]] = None if missing[place] in found else item
        if len(found) < len(missing):
            raise StoreDamaged("the index names a vector that no item shows; rebuild it with `visrec index`")
        self._item_at.update(found)

    def _pool(self, asked: SearchedId, ranked: Ranked) -> tuple[CandidateColumns | None, bool]:
        """Return the candidates in *ranked*, and whether the images are enough to choose them.

        There are none where several items show one image, or where two images of an item are equally good.
        """
        score_of = dict.fromkeys([asked.query.item, *self._policy.exclude], np.inf)
        groups, item_at, last, left = {asked.group} - {None}, self._item_at, np.inf, asked.candidates
        kept: list[tuple[str, float, int, Group | None, int, int]] = []
        for score, position in self._in_order(ranked):
            if not left and score < last:
                break
            found = item_at[position]
            if found is None:  # others may be as good as what is nowhere
                return None, position != NOWHERE
            item, group, row, code = found
            if item in score_of:
                if score_of[item] == score:
                    return None, True
            elif left and group not in groups:
                score_of[item] = last = score
                if group is not None:
                    groups.add(group)
                kept.append((item, score, position, group, row, code))
                left -= 1
        ids, scores, positions, own, rows, codes = map(list, zip(*kept, strict=True)) if kept else ([],) * 6
        return CandidateColumns(ids, scores, positions, own, [()] * len(ids), rows, np.array(codes, np.int64)), True

    def _in_order(self, ranked: Ranked) -> Ranked:
        """Return *ranked*, in which images with equal scores come by the ids of their items; what is no image is last.

        Where several items show an image, it is the first of them, so that it is found before one is chosen.
        """
        images = ranked[:-1] if ranked and ranked[-1][1] == NOWHERE else ranked
        if len(dict(images)) == len(images):  # each has another score
            return ranked

        def key(of: tuple[float, int]) -> tuple[float, bool, str]:
            score, position = of
            item = self._item_at[position]
            return -score, position == NOWHERE, "" if item is None else item[0]

        return sorted(ranked, key=key)

    def _choice(
        self, asked: SearchedId, pool: CandidateColumns, *, is_learned: bool
    ) -> tuple[KeptChoice, tuple[float, ...]]:
        """Return what answers are made from, see `offers.choose`, and the scores."""
        learn = self._policy.learn if is_learned else None
        learned = self._learned if is_learned else None
        exploration = NOT_EXPLORING if learn is None or learn.exploration is None else learn.exploration
        orders = () if learned is None else (learned,)
        ordered, k = Ordered.of(pool, orders, asked.subquery, AttributesOf(self._items)), asked.query.k
        others, weights = tried_of(ordered.after(k), learned, exploration)
        best = len(ordered.places[:k])
        places = [*ordered.places[:k], *others.places]
        ids, scores = [pool.ids[number] for number in places], [pool.scores[number] for number in places]
        positions = [pool.positions[number] for number in places]
        moved = [of[number] for _, of in ordered.moves for number in places]  # one order at most has moved them
        slate = Slate.of(ids[:best], Outside(tuple(ids[best:]), weights), exploration, {})
        matches = self._matches(positions[:best], scores[:best], moved[:best])
        of_others = array("d", moved[best:]) if moved else None
        outside = KeptOutside(array("q", positions[best:]), array("d", scores[best:]), of_others)
        return KeptChoice(slate, matches, outside), tuple(scores)

    @cached_property
    def _learned(self) -> LearnedOrder | None:
        return self._recommender.learned_order(self._policy)

    def _matches(self, positions: Sequence[int], scores: Sequence[float], moved: Sequence[float]) -> KeptMatches:
        """Return the matches at *positions* with *scores*, each *moved* by so much, if they were."""
        count = len(positions)
        texts = _texts([*(round(score, 6) for score in scores), *moved])
        unmoved = b"" if self._policy.rules is None else NO_EFFECTS
        explained = [_MOVED % by for by in texts[count:]] if moved else [unmoved] * count
        return KeptMatches(tuple(positions), tuple(texts[:count]), tuple(explained))

    def read(self, given: Iterable[tuple[KeptChoice, Explored | None]]) -> None:
        """Know what answers say of the items that they show: each is made from a choice, and *explored* of it.

        Raises StoreDamaged.
        """
        positions: list[int] = []
        for choice, explored in given:
            positions += choice.best.positions
            if explored is not None:
                positions.append(choice.outside.positions[explored.outside])
        self._shown.read(positions)

    def answer(self, query: IdQuery, choice: KeptChoice, explored: Explored | None, name: str | None) -> bytes:
        """Return the answer to *query* that *explored*, as JSON; its id is *name*, or it has none."""
        best, unmoved = choice.best, b"" if explored is None else NO_EFFECTS
        matches = list(zip(best.positions, best.scores, best.explained, strict=True))
        if explored is not None:
            matches = [*matches[: explored.slot], _tried(choice, explored), *matches[explored.slot : -1]]
        parts = [self._begin]
        for rank, (position, score, explained) in enumerate(matches, 1):
            shown = self._shown.at(position)[0]
            parts += (b'%s{"rank":%d,' % (b"," if rank > 1 else b"", rank), shown.before, score, shown.after)
            parts += (explained or unmoved, shown.cover + b"}" if query.cover else b"}")
        parts.append(b"]}" if name is None else b'],"answer":"%b"}' % name.encode())
        return b"".join(parts)


def _tried(choice: KeptChoice, explored: Explored) -> tuple[int, bytes, bytes]:
    """Return the position of the match that an answer *explored*, its score, and what is explained of it."""
    positions, scores, moved = choice.outside
    number = explored.outside
    effects = b'{"rule":"%b","score_delta":null,"position":%d}' % (EXPLORED.encode(), explored.slot + 1)
    if moved is not None:
        effects = b"%b,%b" % (_EFFECT % _encode(moved[number]), effects)
    return positions[number], _encode(round(scores[number], 6)), explanation(effects)


def _texts(numbers: Sequence[float]) -> list[bytes]:
    """Return the JSON of each of *numbers*."""
    return _encode(numbers)[1:-1].split(b",") if numbers else []

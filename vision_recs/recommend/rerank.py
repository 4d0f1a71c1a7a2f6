"""From candidates to an answer: the pinned items, the best of each sub-query in turn, then what fallbacks add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vision_recs.indexes.base import Group, group_of
from vision_recs.recommend.eligibility import IN_STOCK, AttributesOf, Candidate, Eligibility, Seen
from vision_recs.recommend.ordered import Order, Ordered
from vision_recs.recommend.query import Policy, Query
from vision_recs.recommend.retrieve import Neighborhood, Retriever, SubQuery
from vision_recs.types import Attribute, Explanation, Match, RuleEffect, Vectors

if TYPE_CHECKING:  # most policies have neither filters nor rules, and no diversity
    from vision_recs.filters import Filter
    from vision_recs.recommend.diversity import Pool
    from vision_recs.recommend.rules import ActiveRules, Pin


class RankedMatch(NamedTuple):
    """A match of an answer: the number of the sub-query that found it, and what the rules did to it.

    *relaxed* has the names of the rules that the match breaks.
    """

    match: Match
    subquery: int
    effects: tuple[RuleEffect, ...] = ()
    relaxed: tuple[str, ...] = ()


class Reranker:
    """Makes the answer to one query under one policy."""

    def __init__(
        self,
        retriever: Retriever,
        attributes_of: AttributesOf,
        query: Query,
        policy: Policy,
        subqueries: Sequence[SubQuery],
    ) -> None:
        """Answer *subqueries*, which are those of *query*, with candidates of *retriever*."""
        self._retriever = retriever
        self._attributes_of = attributes_of
        self._policy = policy
        self._subqueries = subqueries
        self._orders: Sequence[Order] = ()
        self._keeps_pool = False
        self._rest: Ordered | None = None
        self.pinned: dict[int, RankedMatch] = {}
        self._places = query.k
        self._where = policy.matching(query.where)
        self._rules = [self._active_rules(subquery) for subquery in subqueries]
        self._seen = Seen(
            items=set(query.query_items).union(policy.exclude),
            groups=self._groups_of(query.positives),
            images_once=policy.shows_images_once(query.where),
        )
        self._given = [0] * len(subqueries)
        self._around: dict[int, Neighborhood] = {}  # by sub-query: relaxing a rule goes on from there
        self._ranked: list[RankedMatch] = []
        self._shown: list[Vectors] = []  # the vectors of all matches so far, where diversity needs them

    def rerank(self, orders: Sequence[Order] = (), *, keeps_pool: bool = False) -> list[RankedMatch]:
        """Return at most k matches in the order of their places; each of *orders* moves the candidates.

        *pinned* has those of them that are pinned, by place. With *keeps_pool*, `others` can be asked afterwards.
        """
        self._orders, self._keeps_pool = (*self._averaging(), *orders), keeps_pool
        self.pinned = self._find_pinned()
        self._places -= len(self.pinned)
        fallbacks = self._fallbacks()
        for count in range(len(fallbacks) + 1):
            may_find_more = True
            while may_find_more and len(self._ranked) < self._places:
                may_find_more = self._fill(fallbacks[:count])
        return _arranged(self.pinned, self._ranked)

    def others(self) -> Ordered:
        """Return what is left of the candidates of a single sub-query, in order; no rule forbids any of them.

        Not all may be known of them yet: see `read`.
        """
        return Ordered((), (), ()) if self._rest is None else self._rest

    def read(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return *candidates* of a single sub-query with all that is known of their matches."""
        return self._around[0].read(candidates)

    def explain(self, ranked: Sequence[RankedMatch]) -> list[Explanation]:
        """Return why each of *ranked* is in the answer."""
        vectors = self._retriever.vectors([each.match for each in ranked])
        return [self._explain(each, vectors[row : row + 1]) for row, each in enumerate(ranked)]

    def _explain(self, ranked: RankedMatch, vector: Vectors) -> Explanation:
        subquery = self._subqueries[ranked.subquery]
        return Explanation(
            terms=tuple(term.explain(vector) for term in (*subquery.terms, *subquery.negatives)),
            shared=_shared(
                self._attributes_of(ranked.match.id), [self._attributes_of(item) for item in subquery.items]
            ),
            effects=ranked.effects,
            relaxed=ranked.relaxed,
        )

    def _groups_of(self, items: frozenset[str]) -> set[Group]:
        """Return the groups of those of *items* that there are."""
        if self._policy.one_per is None:
            return set()
        self._attributes_of.load(items)
        known = (self._attributes_of.get(item) for item in items)
        groups = (group_of(each, self._policy.one_per) for each in known if each is not None)
        return {group for group in groups if group is not None}

    def _active_rules(self, subquery: SubQuery) -> ActiveRules | None:
        """Return the rules that leave out or move candidates for *subquery*; None if there are none."""
        if self._policy.rules is None:
            return None
        active = self._policy.rules.active({item: self._attributes_of(item) for item in subquery.items})
        return active if any(active) else None

    def _fallbacks(self) -> list[str]:
        """Return the names of the rules that may be relaxed, in order, without those that change nothing here."""
        if self._policy.rules is None:
            return []
        binding = {name for rules in self._rules if rules for name in rules.attribute_filters}
        binding |= {"one_per"} if self._policy.one_per is not None else set()
        binding |= {"min_score"} if self._policy.min_score is not None else set()
        return [name for name in self._policy.rules.fallbacks if name in binding]

    def _fill(self, relaxed: Sequence[str]) -> bool:
        """Add matches until all places are taken or no candidate is left, without the rules *relaxed*.

        Return whether another round may find more: an item whose best image another sub-query showed has others.
        """
        if self._is_simple:
            self._take_best(relaxed)
            return False
        before = len(self._ranked)
        pools = [self._pool(number, relaxed) for number in range(len(self._subqueries))]
        chosen: list[Candidate] = []
        turns = set(range(len(pools)))
        while turns and len(self._ranked) < self._places:
            turn = max(turns, key=lambda number: (self._due(number), -number))
            taken = pools[turn].take(lambda candidate: self._is_open(candidate, relaxed))
            if taken is None:
                turns.remove(turn)
                continue
            candidate, vector = taken
            chosen.append(candidate)
            self._add(candidate, turn, relaxed)
            if vector is not None:
                self._shown.append(vector)
                for pool in pools:
                    pool.move_away_from(vector)
        if self._keeps_pool and self._rest is None:
            self._rest = self._left_in(pools[0], relaxed)
        if self._reads_late and chosen:
            for place, candidate in enumerate(self._around[0].read(chosen), before):
                self._ranked[place] = self._ranked[place]._replace(match=candidate.match)
                self._seen.add(candidate)
        return len(self._subqueries) > 1 and len(self._ranked) > before

    def _take_best(self, relaxed: Sequence[str]) -> None:
        """Add the best candidates of the only sub-query."""
        ordered, places = self._ordered(0, relaxed), self._places - len(self._ranked)
        for candidate in self.read(ordered.best(places)):
            self._add(candidate, 0, relaxed)
        if self._keeps_pool and self._rest is None:
            self._rest = ordered.after(places)

    @property
    def _is_simple(self) -> bool:
        """Whether the best candidates of one sub-query are the answer."""
        return len(self._subqueries) == 1 and not self._policy.diversity

    @property
    def _reads_late(self) -> bool:
        """Whether no more is asked of a candidate, before it is in the answer, than its item, group and vector."""
        return len(self._subqueries) == 1 and not any(order.needs_images for order in self._orders)

    def _left_in(self, pool: Pool, relaxed: Sequence[str]) -> Ordered:
        """Return what is left in *pool*, in the order in which it would be taken."""
        left = []
        while (taken := pool.take(lambda candidate: self._is_open(candidate, relaxed))) is not None:
            left.append(taken[0])
        return Ordered.of(left, (), self._subqueries[0], self._attributes_of)

    def _add(self, candidate: Candidate, turn: int, relaxed: Sequence[str]) -> None:
        broken = tuple([name for name in relaxed if self._breaks(name, candidate, turn)]) if relaxed else ()
        self._ranked.append(RankedMatch(candidate.match, turn, candidate.effects, broken))
        self._given[turn] += 1
        self._seen.add(candidate)

    def _due(self, number: int) -> float:
        """Return a number that is highest for the sub-query whose turn it is.

        So each beginning of the answer is divided as nearly by the shares as can be (Sainte-Lague).
        """
        return self._subqueries[number].share / (2 * self._given[number] + 1)

    def _is_open(self, candidate: Candidate, relaxed: Sequence[str]) -> bool:
        is_shown = candidate.group in self._seen.groups and "one_per" not in relaxed
        return not is_shown and not self._seen.shows(candidate.match)

    def _candidates(self, number: int, relaxed: Sequence[str], count: int) -> Sequence[Candidate]:
        eligibility = self._eligibility(number, relaxed)
        around = self._around.get(number)
        if around is None:
            rules = self._rules[number]
            around = self._retriever.around(
                self._subqueries[number],
                self._where,
                is_sifted=rules is not None,
                is_fitted=rules is not None and bool(rules.attribute_filters),
                is_deep=rules is not None or self._policy.diversity > 0,
            )
            self._around[number] = around
        return self._retriever.candidates(around, eligibility, count)

    def _ordered(self, number: int, relaxed: Sequence[str]) -> Ordered:
        """Return the candidates for a sub-query as they are ordered, a pool of them where they are not just taken."""
        count = self._places - len(self._ranked)
        is_plain = self._is_simple and not self._orders and not self._keeps_pool
        candidates = self._candidates(number, relaxed, count if is_plain else self._policy.pool(count))
        if not self._reads_late:
            candidates = self._around[number].read(candidates)
        return Ordered.of(candidates, self._orders, self._subqueries[number], self._attributes_of)

    def _pool(self, number: int, relaxed: Sequence[str]) -> Pool:
        from vision_recs.recommend.diversity import DiversePool, Pool

        diversity = self._policy.diversity
        ordered = self._ordered(number, relaxed)
        candidates = ordered.best(len(ordered))
        if not diversity or not candidates:
            return Pool(candidates)
        pool = DiversePool(candidates, diversity=diversity, vectors=self._around[number].vectors(candidates))
        for shown in self._shown:
            pool.move_away_from(shown)
        return pool

    def _averaging(self) -> tuple[Order, ...]:
        if not self._policy.averaging:
            return ()
        from vision_recs.recommend.averaging import AveragedOrder

        return (AveragedOrder(self._retriever, self._policy.averaging),)

    def _eligibility(self, number: int, relaxed: Sequence[str]) -> Eligibility:
        rules = self._rules[number]
        filters: tuple[Filter, ...] = ()
        if rules is not None:
            kept = (each for name, each in rules.attribute_filters.items() if name not in relaxed)
            filters = (*rules.exclusion_filters, *kept)
        return Eligibility(
            attributes_of=self._attributes_of,
            seen=self._seen,
            one_per=self._policy.one_per,
            with_variants="one_per" in relaxed,
            min_score=None if "min_score" in relaxed else self._policy.min_score,
            filters=filters,
            rules=rules,
        )

    def _breaks(self, name: str, candidate: Candidate, number: int) -> bool:
        if name == "one_per":
            return candidate.group in self._seen.groups
        if name == "min_score":
            return self._policy.min_score is not None and candidate.match.score < self._policy.min_score
        rules = self._rules[number]
        required = None if rules is None else rules.attribute_filters.get(name)
        return required is not None and not required.matches(
            self._attributes_of(candidate.match.id), candidate.match.id
        )

    def _find_pinned(self) -> dict[int, RankedMatch]:
        """Return the pinned matches by place; a pin whose place is taken moves to the next place that is free."""
        placed: dict[int, RankedMatch] = {}
        if self._policy.rules is None:
            return placed
        query_items = {item: self._attributes_of(item) for subquery in self._subqueries for item in subquery.items}
        for pin in self._policy.rules.active_pins(query_items):
            place = next((place for place in range(pin.position, self._places + 1) if place not in placed), None)
            match = None if place is None else self._pin(pin, place)
            if place is not None and match is not None:
                placed[place] = match
        return placed

    def _pin(self, pin: Pin, place: int) -> RankedMatch | None:
        """Return the item of *pin* by its best image that is not shown, or None where the item must not be shown."""
        attributes = None if pin.item in self._seen.items else self._attributes_of.get(pin.item)
        if attributes is None:
            return None
        group = group_of(attributes, self._policy.one_per)
        is_sold_out = attributes.get(IN_STOCK) is False
        if is_sold_out or group in self._seen.groups or not self._is_allowed(pin.item, attributes):
            return None
        images = [each for each in self._retriever.items.images(pin.item) if each.digest not in self._seen.digests]
        if not images:
            return None
        vectors = self._retriever.items.vectors_of([each.digest for each in images])
        scores = np.stack([subquery.scores(vectors) for subquery in self._subqueries])
        best = min(range(len(images)), key=lambda row: (-scores[:, row].max(), images[row].image))
        match = Match(pin.item, float(scores[:, best].max()), images[best].image, images[best].digest)
        self._seen.add(Candidate(match, match.score, group))
        if self._policy.diversity:
            self._shown.append(vectors[best])
        return RankedMatch(match, int(np.argmax(scores[:, best])), (RuleEffect(pin.name, position=place),))

    def _is_allowed(self, item: str, attributes: Mapping[str, Attribute]) -> bool:
        """Whether the filters, and the rules that exclude items, admit *item*, which has *attributes*."""
        filters = [each for rules in self._rules if rules is not None for each in rules.exclusion_filters]
        filters += [] if self._where is None else [self._where]
        return all(each.matches(attributes, item) for each in filters)


def _arranged(pinned: Mapping[int, RankedMatch], others: Sequence[RankedMatch]) -> list[RankedMatch]:
    """Return *others* in order, with *pinned* at their places, or at the end where those are beyond it."""
    arranged = list(others)
    for place in sorted(pinned):
        arranged.insert(min(place - 1, len(arranged)), pinned[place])
    return arranged


def _shared(own: Mapping[str, Attribute], others: Sequence[Mapping[str, Attribute]]) -> dict[str, Attribute]:
    """Return those of the attributes *own* that one of the *others* has, too; true is not 1, and null is not shared."""
    return {
        name: value
        for name, value in own.items()
        if value is not None and any(_is_equal(value, other.get(name)) for other in others)
    }


def _is_equal(one: Attribute, other: Attribute) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)

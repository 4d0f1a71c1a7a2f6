"""Offers: an answer together with what it was chosen from, so that it may explore, and be learned from.

A `Choice` is the same for everybody who asks for the same; each offer is drawn from it with random numbers. An answer
for one sub-query explores as `Learn.exploration` says: at one open place it shows one other item of its pool.
An answer for several, as that for a history, shows the best of each in turn, and only that is kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from vision_recs.feedback.exploration import NOT_EXPLORING, Exploration, Explored, Outside, Slate
from vision_recs.recommend.eligibility import have_effects
from vision_recs.recommend.learned import LEARNED, LearnedOrder, asked_of
from vision_recs.recommend.ordered import Ordered
from vision_recs.recommend.personal import PersonalOrder
from vision_recs.recommend.query import Learn
from vision_recs.recommend.rerank import RankedMatch, Reranker
from vision_recs.recommend.retrieve import SubQuery
from vision_recs.types import Match, RuleEffect

EXPLORED = "explored"
"""The name of the effect in an explanation."""


class Offer(NamedTuple):
    """An answer, the *slate* that it was made from, and what it *explored*.

    *scores* are those of the ranked items of the slate, then of those outside, and *deltas* what everything but the
    learned model added to them; both are empty for an answer to several sub-queries. *asked* is the id of the query
    item, or empty for a query of another kind.
    """

    matches: list[Match]
    slate: Slate
    explored: Explored | None = None
    scores: tuple[float, ...] = ()
    deltas: tuple[float, ...] = ()
    asked: str = ""


class Orders(NamedTuple):
    """What orders the candidates beside scores and rules: what was *learned*, and what the shopper has *liked*."""

    learned: LearnedOrder | None
    liked: PersonalOrder | None


class Choice(NamedTuple):
    """What the answers to a query are made from: see `Offer`, and the *best* answer, place by place.

    *matches* returns ranked matches as those of an answer, and *other* that of an item outside of the best.
    """

    slate: Slate
    best: Sequence[RankedMatch]
    matches: Callable[[Sequence[RankedMatch]], list[Match]]
    other: Callable[[str], RankedMatch] | None = None
    scores: tuple[float, ...] = ()
    deltas: tuple[float, ...] = ()
    asked: str = ""

    def offer(self, numbers: tuple[float, float, float] | None) -> Offer:
        """Return an answer, which tries what the random *numbers* say, or nothing without any."""
        explored = None if numbers is None else self.slate.explored(numbers)
        shown = self.best if explored is None else self._trying(explored)
        return Offer(self.matches(shown), self.slate, explored, self.scores, self.deltas, self.asked)

    def _trying(self, explored: Explored) -> list[RankedMatch]:
        """Return the matches of an answer that *explored*, place by place."""
        assert self.other is not None
        tried = self.slate.outside[explored.outside]
        found = {each.match.id: each for each in self.best}
        shown = self.slate.shown(explored)
        place = shown.index(tried)
        other = self.other(tried)
        found[tried] = other._replace(effects=(*other.effects, RuleEffect(EXPLORED, position=place + 1)))
        return [found[item] for item in shown]


def choose(
    reranker: Reranker,
    subqueries: Sequence[SubQuery],
    learn: Learn | None,
    orders: Orders,
    matches: Callable[[Sequence[RankedMatch]], list[Match]],
) -> Choice:
    """Return what the answers to *subqueries* are made from; see `Choice` for *matches*."""
    learned = orders.learned
    if len(subqueries) > 1:
        ranked = reranker.rerank(() if learned is None else (learned,))
        pins, free = _parted(reranker, ranked)
        return Choice(Slate(tuple(each.match.id for each in free), pins=pins), ranked, matches)
    ranked = reranker.rerank([order for order in orders if order is not None], keeps_pool=True)
    pins, free = _parted(reranker, ranked)
    exploration = NOT_EXPLORING if learn is None or learn.exploration is None else learn.exploration
    others, weights = tried_of(reranker.others(), learned, exploration)
    outside = Outside(tuple(others.ids), weights)
    slate = Slate.of([each.match.id for each in free], outside, exploration, pins)
    scores = (*(each.match.score for each in free), *others.scores)
    deltas = _deltas(free, others)

    def other(item: str) -> RankedMatch:
        (found,) = reranker.read([others.candidate(others.places[outside.ids.index(item)])])
        return RankedMatch(found.match, 0, found.effects)

    return Choice(slate, ranked, matches, other, scores, deltas, asked_of(subqueries[0]))


def _parted(reranker: Reranker, ranked: Sequence[RankedMatch]) -> tuple[dict[int, str], list[RankedMatch]]:
    """Return the ids of the pinned matches by place, and the matches of *ranked* at the other places."""
    pins = {place: each.match.id for place, each in reranker.pinned.items()}
    pinned = frozenset(pins.values())
    return pins, [each for each in ranked if each.match.id not in pinned]


def tried_of(
    others: Ordered, learned: LearnedOrder | None, exploration: Exploration
) -> tuple[Ordered, tuple[float, ...]]:
    """Return those of *others* that may be tried, and how likely each is: the less is known of it, the likelier."""
    weights = [1.0] * len(others)
    if learned is not None:
        codes = learned.codes(others.candidates)[others.places]
        weights = learned.model.trying_weights_of(codes).tolist()
    if exploration.min_score is None:
        return others, tuple(weights)
    kept = [
        (place, weight)
        for place, weight, score in zip(others.places, weights, others.scores, strict=True)
        if exploration.admits(score)
    ]
    return replace(others, places=[place for place, _ in kept]), tuple(weight for _, weight in kept)


def _deltas(free: Sequence[RankedMatch], others: Ordered) -> tuple[float, ...]:
    """Return what everything but the learned model added to each score, of *free*, then of *others*; () is nothing."""
    moves = [moved for name, moved in others.moves if name != LEARNED]
    of_others = [0.0] * len(others)
    if moves or have_effects(others.candidates):
        of_others = [
            sum((moved[place] for moved in moves), _delta(others.candidates[place].effects)) for place in others.places
        ]
    deltas = (*(_delta(each.effects) for each in free), *of_others)
    return deltas if any(deltas) else ()


def _delta(effects: Sequence[RuleEffect]) -> float:
    return sum((effect.score_delta or 0.0 for effect in effects if effect.rule != LEARNED), 0.0) if effects else 0.0

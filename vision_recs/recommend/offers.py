"""Offers: an answer together with what it was chosen from, so that it may explore, and be learned from.

A `Choice` is the same for everybody who asks for the same; each offer is drawn from it with random numbers. An answer
for one sub-query explores as `Learn.exploration` says: at one open place it shows one other item of its pool.
An answer for several, as that for a history, shows the best of each in turn, and only that is kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from vision_recs.feedback.exploration import NOT_EXPLORING, Explored, Option, Slate, slate_of
from vision_recs.recommend.learned import LEARNED, LearnedOrder, asked_of
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
    """What the answers to a query are made from: see `Offer`, and the *found* matches of the slate, by id.

    *matches* returns ranked matches as those of an answer.
    """

    slate: Slate
    found: Mapping[str, RankedMatch]
    matches: Callable[[Sequence[RankedMatch]], list[Match]]
    scores: tuple[float, ...] = ()
    deltas: tuple[float, ...] = ()
    asked: str = ""

    def offer(self, numbers: tuple[float, float, float] | None) -> Offer:
        """Return an answer, which tries what the random *numbers* say, or nothing without any."""
        explored = None if numbers is None else self.slate.explored(numbers)
        matches = self.matches(_shown(self.slate, explored, self.found))
        return Offer(matches, self.slate, explored, self.scores, self.deltas, self.asked)


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
        return Choice(Slate(tuple(each.match.id for each in free), pins=pins), _by_id(ranked), matches)
    ranked = reranker.rerank([order for order in orders if order is not None], keeps_pools=True)
    pins, free = _parted(reranker, ranked)
    others = reranker.others()
    exploration = NOT_EXPLORING if learn is None or learn.exploration is None else learn.exploration
    slate = slate_of(_options(free, others, learned), len(free), exploration, pins)
    found = _by_id((*ranked, *others))
    pool = [found[item] for item in (*slate.ranked, *slate.outside)]
    deltas = tuple(map(_delta, pool))
    scores = tuple(each.match.score for each in pool)
    return Choice(slate, found, matches, scores, deltas if any(deltas) else (), asked_of(subqueries[0]))


def _by_id(ranked: Iterable[RankedMatch]) -> dict[str, RankedMatch]:
    return {each.match.id: each for each in ranked}


def _parted(reranker: Reranker, ranked: Sequence[RankedMatch]) -> tuple[dict[int, str], list[RankedMatch]]:
    """Return the ids of the pinned matches by place, and the matches of *ranked* at the other places."""
    pins = {place: each.match.id for place, each in reranker.pinned.items()}
    pinned = frozenset(pins.values())
    return pins, [each for each in ranked if each.match.id not in pinned]


def _options(free: Sequence[RankedMatch], others: Sequence[RankedMatch], learned: LearnedOrder | None) -> list[Option]:
    ids = [each.match.id for each in others]
    weights = [1.0] * len(ids) if learned is None else learned.model.trying_weights(ids).tolist()
    return [
        *(Option(each.match.id, each.match.score) for each in free),
        *(Option(each.match.id, each.match.score, weight) for each, weight in zip(others, weights, strict=True)),
    ]


def _delta(ranked: RankedMatch) -> float:
    return sum(effect.score_delta or 0.0 for effect in ranked.effects if effect.rule != LEARNED)


def _shown(slate: Slate, explored: Explored | None, by_id: Mapping[str, RankedMatch]) -> list[RankedMatch]:
    shown = [by_id[item] for item in slate.shown(explored)]
    if explored is None:
        return shown
    tried = slate.outside[explored.outside]
    place = next(number for number, each in enumerate(shown) if each.match.id == tried)
    effect = RuleEffect(EXPLORED, position=place + 1)
    shown[place] = shown[place]._replace(effects=(*shown[place].effects, effect))
    return shown

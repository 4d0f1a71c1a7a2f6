"""Answers for shoppers of whom nothing is known: what the segments of the shop like.

A segment is for all shoppers together what an interest is for one: a part of the items that they click on, which look
alike. Each gets its share of the answer, and its items come in the order in which they are liked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vision_recs.errors import UnknownItem
from vision_recs.feedback.exploration import Slate
from vision_recs.feedback.liking import Liked, read_liked
from vision_recs.recommend.history import Event, History
from vision_recs.recommend.interests import Interest, find_interests, mean_vector
from vision_recs.recommend.offers import Offer
from vision_recs.recommend.query import Policy, Query
from vision_recs.recommend.recommender import Recommender
from vision_recs.recommend.retrieve import QueryTerm, SubQuery
from vision_recs.types import ItemSource, Match, SearchRequest

if TYPE_CHECKING:
    from vision_recs.filters import Filter

_SAMPLE = 200  # items that stand for the catalog where nobody has clicked on anything
_ITEMS = 500


class Segments(NamedTuple):
    """The *parts* of the shop, and how much each item is liked, from 0 to 1."""

    parts: tuple[Interest, ...]
    liked: dict[str, float]


def find_segments(items: ItemSource, liked: Sequence[Liked]) -> Segments:
    """Return the segments of the shop whose items are *liked*, the most counting ones first; 500 of them are used.

    Where none is liked, some of *items* stand for the catalog.
    """
    known = items.attributes_of([each.item for each in liked])
    wanted = [each for each in liked if each.item in known][:_ITEMS] or _sample(items)
    if not wanted:
        return Segments((), {})
    try:
        parts = find_interests(items, History(tuple(Event(each.item, weight=each.clicks) for each in wanted)))
    except UnknownItem:  # removed meanwhile
        parts = []
    return Segments(tuple(parts), {each.item: each.ratio / (1 + each.ratio) for each in wanted})


def _sample(items: ItemSource) -> list[Liked]:
    ids = items.ids(limit=_SAMPLE * 50)
    return [Liked(item, 1.0, 1.0) for item in ids[:: max(1, len(ids) // _SAMPLE)][:_SAMPLE]]


def liked_by_shop(
    recommender: Recommender, events: str | Path, *, k: int, where: Filter | None, policy: Policy
) -> list[Match]:
    """Return *k* items that match *where* of those that the segments of the shop like, by the folder *events*."""
    segments = find_segments(recommender.items, read_liked(events))
    return offer_segments(recommender, segments, anything(k, where), policy).matches


def anything(k: int, where: Filter | None) -> Query:
    """Return a query for *k* items that match *where*, whatever they look like; its text is never encoded."""
    return Query(texts=("for you",), k=k, where=where)


def offer_segments(recommender: Recommender, segments: Segments, query: Query, policy: Policy) -> Offer:
    """Return what shoppers like, under *policy*, for *k* and the filter of *query*.

    The score of a match says how much it is liked, from 0 to 1; so no score of the policy applies.
    """
    items = recommender.items
    subqueries = [SubQuery((_term(items, part),), share=part.share) for part in segments.parts]
    if not subqueries:
        return Offer([], Slate(()))
    matches = {
        subquery.vectors.tobytes(): _matches(items, part, segments.liked)
        for subquery, part in zip(subqueries, segments.parts, strict=True)
    }

    def search(request: SearchRequest) -> list[list[Match]]:
        found = matches[request.vectors.tobytes()]
        if request.where is not None:
            attributes = items.attributes_of([match.id for match in found])
            found = [match for match in found if request.where.matches(attributes[match.id], match.id)]
        return [found[: request.k]]

    return recommender.offer(query, replace(policy, min_score=None, learn=None), subqueries, search)


def _term(items: ItemSource, part: Interest) -> QueryTerm:
    return QueryTerm("segment", part.medoid, 1.0, mean_vector(items, part.medoid), (None,))


def _matches(items: ItemSource, part: Interest, liked: Mapping[str, float]) -> list[Match]:
    """Return the items of *part* as matches, the most liked one first."""
    images = {item: items.images(item)[0] for item in part.items}
    found = [Match(item, liked[item], image.image, image.digest) for item, image in images.items()]
    return sorted(found, key=lambda match: (-match.score, match.id, match.image))

"""From what travels to a `Query` and a `Policy`, and from matches to what travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec import UNSET

from vision_recs import types
from vision_recs.errors import RequestError, VisionRecsError
from vision_recs.filters import Filter
from vision_recs.recommend import EVERY_ITEM, Event, History, Policy, Query, Recommender, Weighted
from vision_recs.serve import messages


def query_of(asked: messages.QueryBody, pictures: Sequence[Weighted[bytes]] = ()) -> Query:
    """Return the query that *asked* and *pictures* make; raises RequestError and FilterError."""
    history = tuple(Event(seen.id, seen.time, seen.weight) for seen in asked.history)
    try:
        return Query(
            items=tuple(_item(item) for item in asked.items),
            pictures=tuple(pictures),
            texts=tuple(text if isinstance(text, str) else Weighted(text.text, text.weight) for text in asked.texts),
            unlike=tuple(_item(item) for item in asked.unlike),
            history=History(history) if history else None,
            k=asked.k,
            where=filter_of(asked.where),
            why=asked.why,
        )
    except ValueError as error:
        raise RequestError(str(error)) from None


def body_of(parameters: messages.PolicyParameters) -> messages.QueryBody:
    """Return what *parameters* of an address say, as a body would."""
    policy = messages.PolicyBody(exclude=parameters.exclude)
    if parameters.one_per is not None:
        policy.one_per = None if parameters.one_per == EVERY_ITEM else parameters.one_per
    if parameters.min_score is not None:
        policy.min_score = parameters.min_score
    if parameters.diversity is not None:
        policy.diversity = parameters.diversity
    body = messages.QueryBody(k=parameters.k, where=parameters.where, why=parameters.why, policy=policy)
    if isinstance(parameters, messages.SimilarParameters):
        body.items, body.unlike, body.texts = list(parameters.id), list(parameters.unlike), list(parameters.text)
    return body


def policy_of(asked: messages.PolicyBody, base: Policy) -> Policy:
    """Return *base* with what *asked* says in its place; raises FilterError and PolicyError."""
    changes: dict[str, object] = {}
    if asked.one_per is not UNSET:
        changes["one_per"] = asked.one_per
    if asked.min_score is not UNSET:
        changes["min_score"] = asked.min_score
    if asked.diversity is not UNSET:
        changes["diversity"] = asked.diversity
    if asked.exclude:
        changes["exclude"] = base.exclude.union(asked.exclude)
    if asked.where is not None:
        changes["where"] = base.matching(Filter.parse(asked.where))
    return replace(base, **changes) if changes else base  # type: ignore[arg-type] # each of its own field's type


def filter_of(where: str | None) -> Filter | None:
    """Return the filter that *where* describes; raises FilterError."""
    return None if where is None else Filter.parse(where)


def answer_all(
    recommender: Recommender, bodies: Sequence[messages.QueryBody], policy: Policy
) -> list[messages.Similar | Exception]:
    """Return for each of *bodies* its answer under *policy*, the server's own, or the error that it comes to."""
    outcomes: dict[int, messages.Similar | Exception] = {}
    understood: dict[int, tuple[Query, Policy]] = {}
    for number, body in enumerate(bodies):
        try:
            understood[number] = query_of(body), policy_of(body.policy, policy)
        except VisionRecsError as error:
            outcomes[number] = error
    found = recommender.answer_all(list(understood.values()))
    for (number, (query, _)), matches in zip(understood.items(), found, strict=True):
        try:
            outcomes[number] = answer_of(recommender, query, matches) if isinstance(matches, list) else matches
        except VisionRecsError as error:
            outcomes[number] = error
    return [outcomes[number] for number in range(len(bodies))]


def answer_of(recommender: Recommender, query: Query, matches: Sequence[types.Match]) -> messages.Similar:
    """Return the answer to *query*, for which *recommender* found *matches*."""
    interests = [] if query.history is None else recommender.interests(query.history)
    return messages.Similar(
        recommender.store.generation,
        [_match(rank, match) for rank, match in enumerate(matches, 1)],
        [messages.Interest(each.medoid, list(each.items), round(each.share, 6)) for each in interests],
    )


def thumbnail_of(digest: str) -> str:
    """Return where the thumbnail of a picture is."""
    return f"/v1/thumbnails/{digest}"


def attributes_of(attributes: Mapping[str, types.Attribute]) -> dict[str, messages.Value]:
    """Return *attributes* as they travel."""
    return attributes if isinstance(attributes, dict) else dict(attributes)


def _item(item: str | messages.Asked) -> str | Weighted[str]:
    if isinstance(item, str):
        return item
    return item.id if item.weight is None else Weighted(item.id, item.weight)


def _match(rank: int, match: types.Match) -> messages.Match:
    return messages.Match(
        rank,
        match.id,
        round(match.score, 6),
        match.picture,
        thumbnail_of(match.digest),
        attributes_of(match.attributes),
        None if match.why is None else _why(match.why),
    )


def _why(why: types.Why) -> messages.Why:
    return messages.Why(
        [messages.PartOfWhy(p.kind, p.asked, p.weight, round(p.score, 6), p.picture) for p in why.parts],
        attributes_of(why.shared),
        [messages.MoveByRule(move.rule, move.by, move.to) for move in why.moves],
        list(why.relaxed),
    )

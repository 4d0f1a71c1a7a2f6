"""From what travels to a `Query` and a `Policy`, and from matches to what travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec import UNSET

from vision_recs import types
from vision_recs.errors import RequestError, VisionRecsError
from vision_recs.filters import Filter
from vision_recs.recommend import EVERY_ITEM, Event, History, Policy, Query, Recommender, Weighted
from vision_recs.serve import schemas


def query_of(asked: schemas.QueryBody, images: Sequence[Weighted[bytes]] = ()) -> Query:
    """Return the query that *asked* and *images* make; raises RequestError and FilterError."""
    history = tuple(Event(seen.id, seen.time, seen.weight) for seen in asked.history)
    try:
        return Query(
            items=tuple(_item(item) for item in asked.items),
            images=tuple(images),
            texts=tuple(text if isinstance(text, str) else Weighted(text.text, text.weight) for text in asked.texts),
            negatives=tuple(_item(item) for item in asked.negatives),
            history=History(history) if history else None,
            k=asked.k,
            where=filter_of(asked.where),
            explain=asked.explain,
        )
    except ValueError as error:
        raise RequestError(str(error)) from None


def body_of(parameters: schemas.PolicyParameters) -> schemas.QueryBody:
    """Return what *parameters* of an address say, as a body would."""
    policy = schemas.PolicyBody(exclude=parameters.exclude)
    if parameters.one_per is not None:
        policy.one_per = None if parameters.one_per == EVERY_ITEM else parameters.one_per
    if parameters.min_score is not None:
        policy.min_score = parameters.min_score
    if parameters.diversity is not None:
        policy.diversity = parameters.diversity
    body = schemas.QueryBody(k=parameters.k, where=parameters.where, explain=parameters.explain, policy=policy)
    if isinstance(parameters, schemas.SimilarParameters):
        body.items, body.negatives, body.texts = list(parameters.id), list(parameters.negative), list(parameters.text)
    return body


def policy_of(asked: schemas.PolicyBody, base: Policy) -> Policy:
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
    recommender: Recommender, bodies: Sequence[schemas.QueryBody], policy: Policy
) -> list[schemas.Similar | Exception]:
    """Return for each of *bodies* its answer under *policy*, the server's own, or the error that it comes to."""
    outcomes: dict[int, schemas.Similar | Exception] = {}
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


def answer_of(recommender: Recommender, query: Query, matches: Sequence[types.Match]) -> schemas.Similar:
    """Return the answer to *query*, for which *recommender* found *matches*."""
    interests = [] if query.history is None else recommender.interests(query.history)
    return schemas.Similar(
        recommender.store.generation,
        [_match(rank, match) for rank, match in enumerate(matches, 1)],
        [schemas.Interest(each.medoid, list(each.items), round(each.share, 6)) for each in interests],
    )


def thumbnail_of(digest: str) -> str:
    """Return where the thumbnail of an image is."""
    return f"/v1/thumbnails/{digest}"


def attributes_of(attributes: Mapping[str, types.Attribute]) -> dict[str, schemas.Value]:
    """Return *attributes* as they travel."""
    return attributes if isinstance(attributes, dict) else dict(attributes)


def _item(item: str | schemas.Asked) -> str | Weighted[str]:
    if isinstance(item, str):
        return item
    return item.id if item.weight is None else Weighted(item.id, item.weight)


def _match(rank: int, match: types.Match) -> schemas.Match:
    return schemas.Match(
        rank,
        match.id,
        round(match.score, 6),
        match.image,
        thumbnail_of(match.digest),
        attributes_of(match.attributes),
        None if match.explanation is None else _explanation(match.explanation),
    )


def _explanation(explanation: types.Explanation) -> schemas.Explanation:
    return schemas.Explanation(
        [schemas.TermScore(p.kind, p.query, p.weight, round(p.score, 6), p.image) for p in explanation.terms],
        attributes_of(explanation.shared),
        [schemas.RuleEffect(effect.rule, effect.score_delta, effect.position) for effect in explanation.effects],
        list(explanation.relaxed),
    )

"""Conversion between the schemas of the API and the types of the library: queries and policies in, matches out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from vision_recs import types
from vision_recs.errors import RequestError, VisionRecsError
from vision_recs.filters import Filter
from vision_recs.recommend import EVERY_ITEM, Event, History, Policy, Query, Weighted
from vision_recs.recommend.colors import shows_colors
from vision_recs.serve import schemas
from vision_recs.store.added import FOCUS

if TYPE_CHECKING:  # which makes answers by this module
    from vision_recs.serve.served import Served, ServedItems

_PACKSHOT = "packshot"


def to_query(body: schemas.QueryBody, images: Sequence[Weighted[bytes]] = ()) -> Query:
    """Return the query of *body* and *images*; raises RequestError and FilterError."""
    history = tuple(Event(event.id, event.time, event.weight) for event in body.history)
    try:
        return Query(
            items=tuple(_to_item(item) for item in body.items),
            images=tuple(images),
            texts=tuple(text if isinstance(text, str) else Weighted(text.text, text.weight) for text in body.texts),
            negatives=tuple(_to_item(item) for item in body.negatives),
            history=History(history) if history else None,
            k=body.k,
            where=where_of(body),
            explain=body.explain,
            apart=body.apart,
        )
    except ValueError as error:
        raise RequestError(str(error)) from None


def to_query_body(parameters: schemas.PolicyParameters) -> schemas.QueryBody:
    """Return the parameters of a URL as a body."""
    policy = schemas.PolicyBody(exclude=parameters.exclude)
    if parameters.one_per is not None:
        policy.one_per = None if parameters.one_per == EVERY_ITEM else parameters.one_per
    if parameters.min_score is not None:
        policy.min_score = parameters.min_score
    if parameters.diversity is not None:
        policy.diversity = parameters.diversity
    body = schemas.QueryBody(
        k=parameters.k,
        where=parameters.where,
        colors=list(parameters.color),
        explain=parameters.explain,
        cover=parameters.cover,
        policy=policy,
        shopper=parameters.shopper,
        reports_shown=parameters.reports_shown,
    )
    if isinstance(parameters, schemas.SimilarParameters):
        body.items, body.negatives, body.texts = list(parameters.id), list(parameters.negative), list(parameters.text)
    return body


def to_policy(body: schemas.PolicyBody, default: Policy) -> Policy:
    """Return *default* with the fields that *body* sets; raises FilterError and PolicyError.

    Excluded items and filters of *default* stay in force: those of *body* are added.
    """
    changes: dict[str, object] = {}
    if body.one_per is not UNSET:
        changes["one_per"] = body.one_per
    if body.min_score is not UNSET:
        changes["min_score"] = body.min_score
    if body.diversity is not UNSET:
        changes["diversity"] = body.diversity
    if body.exclude:
        changes["exclude"] = default.exclude.union(body.exclude)
    if body.where is not None:
        changes["where"] = default.matching(Filter.parse(body.where))
    return replace(default, **changes) if changes else default  # type: ignore[arg-type] # each of its own field's type


def where_of(body: schemas.QueryBody) -> Filter | None:
    """Return what the items of the answer to *body* have to match; raises FilterError."""
    where, colors = to_filter(body.where), shows_colors(body.colors)
    return where if colors is None else colors & where


def to_filter(where: str | None) -> Filter | None:
    """Return the filter *where*; raises FilterError."""
    return None if where is None else Filter.parse(where)


def query_batch(
    snapshot: Served, asked: Sequence[tuple[schemas.QueryBody, Sequence[Weighted[bytes]]]], policy: Policy
) -> list[schemas.SimilarItems | Exception]:
    """Return, for each body that is *asked*, with its images, its answer, or the error that it raises.

    *policy* is the policy of the server.
    """
    outcomes: dict[int, schemas.SimilarItems | Exception] = {}
    valid: dict[int, tuple[Query, Policy]] = {}
    for number, (body, images) in enumerate(asked):
        try:
            valid[number] = to_query(body, images), to_policy(body.policy, policy)
        except VisionRecsError as error:
            outcomes[number] = error
    found = snapshot.recommender.query_batch(list(valid.values()))
    for (number, pair), matches in zip(valid.items(), found, strict=True):
        try:
            outcomes[number] = (
                to_similar_items(snapshot, *pair, matches, cover=asked[number][0].cover)
                if isinstance(matches, list)
                else matches
            )
        except VisionRecsError as error:
            outcomes[number] = error
    return [outcomes[number] for number in range(len(asked))]


def to_similar_items(
    snapshot: Served, query: Query, policy: Policy, matches: Sequence[types.Match], *, cover: bool = False
) -> schemas.SimilarItems:
    """Return the answer that holds *matches*, which *snapshot* has for *query* under *policy*, with a *cover* each."""
    interests = [] if query.history is None else snapshot.recommender.interests(query.history)
    filters = [] if matches else [where for where in (query.where, policy.where) if where is not None]
    return schemas.SimilarItems(
        snapshot.items.generation,
        [to_match(rank, match, snapshot.items if cover else None) for rank, match in enumerate(matches, 1)],
        [schemas.Interest(each.medoid, list(each.items), round(each.share, 6)) for each in interests],
        [sentence for where in filters for sentence in snapshot.items.unknown_values(where)],
    )


def thumbnail_of(image: types.ItemImage | types.Match) -> str | None:
    """Return the address of the thumbnail of *image*, relative to that of the server: a proxy may add a prefix.

    Returns None for what stands for the image of an item that has none.
    """
    return f"v1/thumbnails/{image.digest}" if image.image else None


def to_image(image: types.ItemImage) -> schemas.Image:
    """Return *image* with its focus apart from its attributes."""
    attributes = to_attributes(image.attributes)
    focus: list[schemas.Box] = []
    with suppress(msgspec.DecodeError, TypeError):  # a catalog may have an attribute of that name
        focus = msgspec.json.decode(attributes.get(FOCUS), type=list[schemas.Box])  # type: ignore[arg-type]
        attributes = {name: value for name, value in attributes.items() if name != FOCUS}
    return schemas.Image(image.image, image.digest, thumbnail_of(image), attributes, focus)


def cover_of(images: Sequence[types.ItemImage]) -> types.ItemImage:
    """Return the image of *images* that stands for the item in lists: the packshot, or the first one."""
    return next((image for image in images if image.attributes.get("view") == _PACKSHOT), images[0])


def to_attributes(attributes: Mapping[str, types.Attribute]) -> dict[str, schemas.Value]:
    """Return *attributes* as a dictionary, without a copy if they are one."""
    return attributes if isinstance(attributes, dict) else dict(attributes)


def _to_item(item: str | schemas.WeightedItem) -> str | Weighted[str]:
    if isinstance(item, str):
        return item
    return item.id if item.weight is None else Weighted(item.id, item.weight)


def to_match(rank: int, match: types.Match, covers: ServedItems | None) -> schemas.Match:
    """Return *match* at its *rank*; with *covers*, the items that it is one of, it has a cover."""
    return schemas.Match(
        rank,
        match.id,
        round(match.score, 6),
        match.image,
        thumbnail_of(match),
        to_attributes(match.attributes),
        None if match.explanation is None else _to_explanation(match.explanation),
        UNSET if covers is None else thumbnail_of(cover_of(covers.images(match.id))),
    )


def _to_explanation(explanation: types.Explanation) -> schemas.Explanation:
    return schemas.Explanation(
        [
            schemas.TermScore(term.kind, term.query, term.weight, round(term.score, 6), term.image)
            for term in explanation.terms
        ],
        to_attributes(explanation.shared),
        [schemas.RuleEffect(effect.rule, effect.score_delta, effect.position) for effect in explanation.effects],
        list(explanation.relaxed),
    )

"""Handlers: items that look similar."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vision_recs.errors import RequestError
from vision_recs.recommend import Policy, Weighted
from vision_recs.serve import asking, messages
from vision_recs.serve.bodies import read_pictures
from vision_recs.serve.editions import Edition
from vision_recs.serve.messages import PolicyParameters, QueryBody, Similar, SimilarParameters
from vision_recs.serve.options import Limits
from vision_recs.serve.routing import Call
from vision_recs.serve.urls import fetch_picture

_query = msgspec.json.Decoder(QueryBody)


async def similar(call: Call, parameters: SimilarParameters) -> Similar:
    """Find items similar to items and words, less those to move away from.

    The query is in the address, so that browsers and proxies can keep the answer until there is another generation.
    """
    return await _answer(call, asking.body_of(parameters))


async def similar_to_query(call: Call, parameters: messages.NoParameters, body: QueryBody) -> Similar:  # noqa: ARG001
    """Find items similar to all that a query names: items with weights, words, a shopper's history.

    Addresses of pictures are fetched only by a server that was started with `--allow-urls`.
    """
    if not body.urls:
        return await _answer(call, body)
    with call.service.uploading():
        return await _answer(call, body, await _fetched(call, body))


async def similar_to_picture(call: Call, parameters: PolicyParameters) -> Similar:
    """Find items similar to uploaded pictures.

    The body is a picture, or a form with fields "picture" and, for what else is asked for, a field "query" that holds
    the JSON of a query, in place of the parameters of the address.
    """
    with call.service.uploading():
        upload = await read_pictures(call.request, call.service.options.limits)
        if upload.query is None:
            body = asking.body_of(parameters)
        else:
            try:
                body = _query.decode(upload.query)
            except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
                raise RequestError(f"the field 'query' cannot be read: {error}; see /openapi.json") from None
        pictures = list(upload.pictures)
        if body.urls:
            pictures += await _fetched(call, body)
        return await _answer(call, body, pictures)


async def _answer(call: Call, body: QueryBody, pictures: Sequence[Weighted[bytes]] = ()) -> Similar:
    service, edition, options = call.service, call.edition, call.service.options
    if pictures or body.texts:
        service.shop.encodes |= bool(pictures)
        work = (edition, body, pictures, options.policy, options.limits)
        return await service.pictures.run(edition, _worked_out, *work)
    return await service.answers.ask(edition, body)


def _worked_out(
    edition: Edition, body: QueryBody, pictures: Sequence[Weighted[bytes]], policy: Policy, limits: Limits
) -> Similar:
    """Return the answer; what runs on the thread of a lane."""
    query = asking.query_of(body, pictures)
    policy = asking.policy_of(body.policy, policy)
    for picture in pictures:
        _require_size(picture.what, limits)
    return asking.answer_of(edition.recommender, query, edition.recommender.answer(query, policy))


def _require_size(picture: bytes, limits: Limits) -> None:
    """Raise ImageError for a picture with too many pixels, before any of them is decoded."""
    from vision_recs.images.decoding import opened

    with opened(picture, limits.pixels):
        pass


async def _fetched(call: Call, body: QueryBody) -> list[Weighted[bytes]]:
    service, limits = call.service, call.service.options.limits
    if not service.options.allow_urls:
        raise RequestError("this server fetches no addresses; send the picture, or start it with --allow-urls")
    pictures: list[Weighted[bytes]] = []
    left = limits.picture_bytes
    for asked in body.urls:
        data = await service.addresses.run(
            call.edition, fetch_picture, asked.url, most=left, timeout_s=limits.body_s / len(body.urls)
        )
        left -= len(data)
        pictures.append(Weighted(data, asked.weight, asked.url))
    return pictures

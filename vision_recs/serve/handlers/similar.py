"""Handlers: items that look similar."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vision_recs.errors import RequestError
from vision_recs.recommend import Policy, Weighted
from vision_recs.serve import convert, schemas
from vision_recs.serve.fetch import fetch_image
from vision_recs.serve.options import Limits
from vision_recs.serve.routing import Call
from vision_recs.serve.schemas import PolicyParameters, QueryBody, Similar, SimilarParameters
from vision_recs.serve.snapshots import Edition
from vision_recs.serve.uploads import read_images

_query = msgspec.json.Decoder(QueryBody)


async def similar(call: Call, parameters: SimilarParameters) -> Similar:
    """Find items similar to items and words, less those to move away from.

    The query is in the address, so that browsers and proxies can keep the answer until there is another generation.
    """
    return await _answer(call, convert.body_of(parameters))


async def similar_to_query(call: Call, parameters: schemas.NoParameters, body: QueryBody) -> Similar:  # noqa: ARG001
    """Find items similar to all that a query names: items with weights, words, a shopper's history.

    Addresses of images are fetched only by a server that was started with `--allow-urls`.
    """
    if not body.urls:
        return await _answer(call, body)
    with call.service.uploading():
        return await _answer(call, body, await _fetched(call, body))


async def similar_to_image(call: Call, parameters: PolicyParameters) -> Similar:
    """Find items similar to uploaded images.

    The body is an image, or a form with fields "image" and, for what else is asked for, a field "query" that holds
    the JSON of a query, in place of the parameters of the address.
    """
    with call.service.uploading():
        upload = await read_images(call.request, call.service.options.limits)
        if upload.query is None:
            body = convert.body_of(parameters)
        else:
            try:
                body = _query.decode(upload.query)
            except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
                raise RequestError(f"the field 'query' cannot be read: {error}; see /openapi.json") from None
        images = list(upload.images)
        if body.urls:
            images += await _fetched(call, body)
        return await _answer(call, body, images)


async def _answer(call: Call, body: QueryBody, images: Sequence[Weighted[bytes]] = ()) -> Similar:
    service, edition, options = call.service, call.edition, call.service.options
    if images or body.texts:
        service.shop.encodes |= bool(images)
        work = (edition, body, images, options.policy, options.limits)
        return await service.images.run(edition, _worked_out, *work)
    return await service.answers.ask(edition, body)


def _worked_out(
    edition: Edition, body: QueryBody, images: Sequence[Weighted[bytes]], policy: Policy, limits: Limits
) -> Similar:
    """Return the answer; what runs on the thread of a lane."""
    query = convert.query_of(body, images)
    policy = convert.policy_of(body.policy, policy)
    for image in images:
        _require_size(image.what, limits)
    return convert.answer_of(edition.recommender, query, edition.recommender.answer(query, policy))


def _require_size(image: bytes, limits: Limits) -> None:
    """Raise ImageError for an image with too many pixels, before any of them is decoded."""
    from vision_recs.images.decoding import opened

    with opened(image, limits.pixels):
        pass


async def _fetched(call: Call, body: QueryBody) -> list[Weighted[bytes]]:
    service, limits = call.service, call.service.options.limits
    if not service.options.allow_urls:
        raise RequestError("this server fetches no addresses; send the image, or start it with --allow-urls")
    images: list[Weighted[bytes]] = []
    left = limits.image_bytes
    for asked in body.urls:
        data = await service.addresses.run(
            call.edition, fetch_image, asked.url, most=left, timeout_s=limits.body_s / len(body.urls)
        )
        left -= len(data)
        images.append(Weighted(data, asked.weight, asked.url))
    return images

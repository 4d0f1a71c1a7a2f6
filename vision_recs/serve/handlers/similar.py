"""Handlers: similar items, for queries in a URL, as JSON, and with images."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vision_recs.errors import RequestError, UnknownItem
from vision_recs.images.crop import Crop
from vision_recs.recommend import Weighted
from vision_recs.serve import convert
from vision_recs.serve.answering import Asked
from vision_recs.serve.fetch import fetch_image
from vision_recs.serve.routing import Context
from vision_recs.serve.schemas import ImageParameters, NoParameters, QueryBody, SimilarItems, SimilarParameters
from vision_recs.serve.uploads import read_images

_decoder = msgspec.json.Decoder(QueryBody)


async def similar(context: Context, parameters: SimilarParameters) -> SimilarItems:
    """Find items that are similar to items and texts.

    The query is in the URL, so that browsers and proxies can cache the answer until the next generation. Where answers
    are kept, that is until the end of the hour at most, and an answer for a shopper is not cached.
    """
    return await _answer(context, convert.to_query_body(parameters))


async def similar_to_query(context: Context, parameters: NoParameters, body: QueryBody) -> SimilarItems:  # noqa: ARG001
    """Find items that are similar to a query with weights, texts, URLs of images, or a shopper's history.

    URLs of images are accepted only if the server was started with `--allow-urls`.
    """
    if not body.image_urls:
        return await _answer(context, body)
    return await _answer(context, body, await _download(context, body))


async def similar_to_image(context: Context, parameters: ImageParameters) -> SimilarItems:
    """Find items that are similar to uploaded images.

    The body is an image, or a form with the fields "image". A form may have a field "query" with the JSON of a query,
    which then replaces the parameters of the URL, and fields "crop", one for each image: the part of it that is meant,
    or an empty text for all of it.
    """
    state = context.state
    with await state.bodies.images(context.request) as file:
        upload = await read_images(context.request, file, state.options.limits)
    if upload.query is None:
        body = convert.to_query_body(parameters)
    else:
        try:
            body = _decoder.decode(upload.query)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            raise RequestError(f"the field 'query' is not valid: {error}; see /openapi.json") from None
    images = _cropped(upload.images, upload.crops or ([parameters.crop] if parameters.crop else []))
    if body.image_urls:
        images += await _download(context, body)
    return await _answer(context, body, images)


async def _answer(context: Context, body: QueryBody, images: Sequence[Weighted[bytes]] = ()) -> SimilarItems:
    """Return the answer to *body* and *images*; queries that the encoder has to read wait for no others."""
    state, snapshot = context.state, context.snapshot
    needs_encoder = bool(images or body.texts)
    state.reloader.needs_encoder |= bool(images)
    if state.answering is None:
        return await (state.image_batches if needs_encoder else state.query_batches).run(snapshot, (body, images))
    batches = state.image_answer_batches if needs_encoder else state.answer_batches
    assigned, asked = state.assign(snapshot, Asked(body, state.now(), images))
    try:
        return await batches.run(assigned, asked)
    except UnknownItem:
        if assigned is snapshot:
            raise
        # the candidate lacks an item; the shopper stays in the arm
        return await batches.run(snapshot, asked)


async def _download(context: Context, body: QueryBody) -> list[Weighted[bytes]]:
    """Return the images that *body* names by their URLs."""
    state, limits = context.state, context.state.options.limits
    if not state.options.allow_urls:
        raise RequestError("this server does not download images; send the image, or start it with --allow-urls")
    images: list[Weighted[bytes]] = []
    bytes_left = limits.max_image_bytes
    timeout_s = limits.body_timeout_s / len(body.image_urls)
    for image in body.image_urls:
        data = await state.downloads.run(
            context.snapshot, fetch_image, image.url, max_bytes=bytes_left, timeout_s=timeout_s
        )
        bytes_left -= len(data)
        images.append(Weighted(data, image.weight, image.url, _crop(image.crop)))
    return images


def _cropped(images: Sequence[Weighted[bytes]], crops: Sequence[str]) -> list[Weighted[bytes]]:
    """Return *images* with the parts of them that are meant, if there are *crops*: one for each image."""
    if not crops:
        return list(images)
    if len(crops) != len(images):
        raise RequestError(f"there are {len(crops)} crops for {len(images)} images; send one for each, or none")
    return [image._replace(crop=_crop(crop)) for image, crop in zip(images, crops, strict=True)]


def _crop(text: str | None) -> Crop | None:
    try:
        return Crop.parse(text) if text else None
    except ValueError as error:
        raise RequestError(str(error)) from None

"""What strangers send: read within limits of size and time, and only of a type that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from vision_recs.errors import RequestError
from vision_recs.recommend import Weighted
from vision_recs.serve.options import Limits

_FIELDS = 4
_IMAGE, _QUERY = "image", "query"


@dataclass(frozen=True, slots=True)
class Upload:
    """Images that came with a request, and the text of the field "query", if there was one."""

    images: tuple[Weighted[bytes], ...]
    query: str | None = None


def media_type(request: Request) -> str:
    """Return the type of the body, without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, limits: Limits) -> bytes:
    """Return the body; raises RequestError: 415 for another type than JSON, 413, 408."""
    kind = media_type(request)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise RequestError(f"the body is of the type {kind!r}; send application/json", status=415)
    return await read(request, limits.json_bytes, limits.body_s)


async def read_images(request: Request, limits: Limits) -> Upload:
    """Return the images of a form (multipart/form-data), or the one that the body is.

    Raises RequestError: 400, 408, 413 or 415.
    """
    kind = media_type(request)
    is_form = kind == "multipart/form-data"
    if not (is_form or kind.startswith("image/") or kind in {"application/octet-stream", ""}):
        raise RequestError(
            f"the body is of the type {kind!r}; send an image as image/... or in a multipart/form-data form",
            status=415,
        )
    body = await read(request, limits.image_bytes, limits.body_s)
    if is_form:
        return await _form(request, body, limits)
    return Upload((Weighted(body, name="image"),))


async def read(request: Request, most: int, seconds: float) -> bytes:
    """Return the body, at most *most* bytes that arrive within *seconds*; raises RequestError 413, 408 or 400."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError:
        raise RequestError(f"the body did not arrive within {seconds:g} s; send it again", status=408) from None
    except ClientDisconnect:
        raise RequestError("the body ended too early; send it again") from None
    return b"".join(parts)


async def _form(request: Request, body: bytes, limits: Limits) -> Upload:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        request.headers, once(), max_files=limits.images, max_fields=_FIELDS, max_part_size=limits.json_bytes
    )
    parser.spool_max_size = limits.image_bytes  # never on the disk
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:  # the latter two: a boundary or header that is none
        raise RequestError(f"the form cannot be read ({error}); send multipart/form-data") from None
    try:
        return Upload(tuple(await _images(form)), _text(form))
    finally:
        await form.close()


async def _images(form: FormData) -> list[Weighted[bytes]]:
    unknown = sorted(set(form) - {_IMAGE, _QUERY})
    if unknown:
        raise RequestError(f"the form has the field {unknown[0]!r}; use {_IMAGE!r} and {_QUERY!r}")
    images = []
    for number, file in enumerate(form.getlist(_IMAGE), 1):
        if isinstance(file, str):
            raise RequestError(f"the field {_IMAGE!r} holds text; send a file")
        images.append(Weighted(await file.read(), name=file.filename or f"image {number}"))
    return images


def _text(form: FormData) -> str | None:
    query = form.get(_QUERY)
    if query is None or isinstance(query, str):
        return query
    raise RequestError(f"the field {_QUERY!r} holds a file; send JSON as text")


def _too_large(most: int) -> RequestError:
    return RequestError(f"the body has more than {most} bytes; send less", status=413)

"""Request bodies: JSON, images and forms, read within limits of size and time."""

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
from vision_recs.serve.schemas import MAX_IMAGES

_MAX_FIELDS = 4
_MAX_DIGITS = 19  # of a Content-Length
_IMAGE, _QUERY = "image", "query"


@dataclass(frozen=True, slots=True)
class Upload:
    """The images of a request, and the text of the form field "query", or None."""

    images: tuple[Weighted[bytes], ...]
    query: str | None = None


def media_type(request: Request) -> str:
    """Return the media type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, limits: Limits) -> bytes:
    """Return the JSON body; raises RequestError: 415 for another media type, 413, 408 or 400."""
    kind = media_type(request)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise RequestError(f"the media type {kind[:100]!r} is not supported here; send application/json", status=415)
    return await read_body(request, max_bytes=limits.max_json_bytes, timeout_s=limits.body_timeout_s)


async def read_images(request: Request, limits: Limits) -> Upload:
    """Return the images of a form (multipart/form-data), or the image that is the body.

    Raises RequestError: 400, 408, 413 or 415.
    """
    kind = media_type(request)
    is_form = kind == "multipart/form-data"
    if not (is_form or kind.startswith("image/") or kind in {"application/octet-stream", ""}):
        raise RequestError(
            f"the media type {kind[:100]!r} is not supported here; send an image, or a form as multipart/form-data",
            status=415,
        )
    body = await read_body(request, max_bytes=limits.max_image_bytes, timeout_s=limits.body_timeout_s)
    if is_form:
        return await _form(request, body, limits)
    return Upload((Weighted(body, name="image"),))


async def read_body(request: Request, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the body: at most *max_bytes*, which arrive within *timeout_s*; raises RequestError 413, 408 or 400."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > _MAX_DIGITS or int(length) > max_bytes):
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                parts.append(part)
    except TimeoutError:
        raise RequestError(f"the body did not arrive within {timeout_s:g} s; send it again", status=408) from None
    except ClientDisconnect:
        raise RequestError("the body is incomplete; send it again") from None
    return b"".join(parts)


async def _form(request: Request, body: bytes, limits: Limits) -> Upload:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        request.headers, chunks(), max_files=MAX_IMAGES, max_fields=_MAX_FIELDS, max_part_size=limits.max_json_bytes
    )
    parser.spool_max_size = limits.max_image_bytes  # never on disk
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:  # the latter two: a broken boundary or header
        raise RequestError(f"the form is not valid ({error}); send multipart/form-data") from None
    try:
        return Upload(tuple(await _images(form)), _text(form))
    finally:
        await form.close()


async def _images(form: FormData) -> list[Weighted[bytes]]:
    unknown = sorted(set(form) - {_IMAGE, _QUERY})
    if unknown:
        raise RequestError(f"the form has an unknown field {unknown[0][:100]!r}; use {_IMAGE!r} and {_QUERY!r}")
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


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(f"the body has more than {max_bytes} bytes; send less", status=413)

"""Request bodies: JSON, images and forms, read within limits of size and time.

A body is received as a whole before anything is done about it, so that one that arrives slowly keeps nobody waiting. As
long as it arrives it is in a file, but for its first bytes, and no client may send many at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, Final

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from vision_recs.errors import RequestError
from vision_recs.recommend import Weighted
from vision_recs.serve.connections import client_of
from vision_recs.serve.options import Limits
from vision_recs.serve.schemas import MAX_IMAGES

log = logging.getLogger(__name__)

_IN_MEMORY: Final = 1 << 16
_MAX_FIELDS = 4 + MAX_IMAGES
_MAX_DIGITS = 19  # of a Content-Length
_SHARE_OF_CLIENT: Final = 4
_IMAGE, _QUERY, _CROP = "image", "query", "crop"


@dataclass(frozen=True, slots=True)
class Upload:
    """The images of a request, the text of the form field "query", or None, and those of the fields "crop"."""

    images: tuple[Weighted[bytes], ...]
    query: str | None = None
    crops: tuple[str, ...] = ()


def media_type(request: Request) -> str:
    """Return the media type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class Bodies:
    """Receives the bodies of requests; it counts those that arrive, of all clients and of each."""

    def __init__(self, limits: Limits) -> None:
        """Receive within *limits*."""
        self._limits = limits
        self._arriving: Counter[str] = Counter()

    async def json(self, request: Request) -> bytes:
        """Return the JSON body; raises RequestError: 415 for another media type, 429 and 503, 413, 408 or 400."""
        kind = media_type(request)
        if kind and kind != "application/json" and not kind.endswith("+json"):
            raise RequestError(
                f"the media type {kind[:100]!r} is not supported here; send application/json", status=415
            )
        with await self._receive(request, self._limits.max_json_bytes) as file:
            return file.read()

    async def changes(self, request: Request, kinds: Sequence[str]) -> bytes:
        """Return the body, which has one of the media types *kinds*; raises RequestError as `json` does."""
        kind = media_type(request)
        if kind not in kinds:
            raise RequestError(
                f"the media type {kind[:100]!r} is not supported here; send {' or '.join(kinds)}", status=415
            )
        with await self._receive(request, self._limits.max_update_bytes) as file:
            return file.read()

    async def events(self, request: Request, kinds: Sequence[str]) -> bytes:
        """Return the body, which has one of the media types *kinds* or none; raises RequestError as `json` does."""
        kind = media_type(request)
        if kind and kind not in kinds:
            raise RequestError(
                f"the media type {kind[:100]!r} is not supported here; send {' or '.join(kinds)}", status=415
            )
        with await self._receive(request, self._limits.max_event_bytes) as file:
            return file.read()

    async def images(self, request: Request) -> IO[bytes]:
        """Return a file with the body, which is an image or a form; raises RequestError as `json` does."""
        kind = media_type(request)
        if not (_is_form(request) or kind.startswith("image/") or kind in {"application/octet-stream", ""}):
            raise RequestError(
                f"the media type {kind[:100]!r} is not supported here; send an image, or a form as multipart/form-data",
                status=415,
            )
        return await self._receive(request, self._limits.max_image_bytes)

    async def _receive(self, request: Request, max_bytes: int) -> IO[bytes]:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > _MAX_DIGITS or int(length) > max_bytes):
            raise _too_large(max_bytes)
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY if _has_temporary_folder() else 0)  # noqa: SIM115 - returned
        try:
            with self._place(request):
                await _read_body(request, file, max_bytes=max_bytes, timeout_s=self._limits.body_timeout_s)
            file.seek(0)
        except BaseException as error:
            file.close()
            if not isinstance(error, OSError):
                raise
            log.warning("a body cannot be kept in %s (%s)", tempfile.gettempdir(), error, extra={"event": "no_room"})
            raise RequestError(
                "there is no room for the body now; send it again", status=503, retry_after_s=5
            ) from None
        return file

    @contextmanager
    def _place(self, request: Request) -> Iterator[None]:
        """Count a body that arrives; raises RequestError 503 where there are too many, 429 where one client has."""
        client = client_of((request.scope.get("client") or ("unknown",))[0])
        most, most_of_client = self._limits.max_bodies, self._limits.max_bodies // _SHARE_OF_CLIENT
        if self._arriving[client] >= most_of_client:
            raise RequestError(
                f"{most_of_client} bodies of this client are arriving already; send one after the other",
                status=429,
                retry_after_s=1,
            )
        if self._arriving.total() >= most:
            raise RequestError(
                f"{most} bodies are arriving already; try again in a second", status=503, retry_after_s=1
            )
        self._arriving[client] += 1
        try:
            yield
        finally:
            self._arriving[client] -= 1
            if not self._arriving[client]:
                del self._arriving[client]


async def read_images(request: Request, body: IO[bytes], limits: Limits) -> Upload:
    """Return the images in *body*, the body of *request*: those of a form, or itself; raises RequestError 400."""
    if _is_form(request):
        return await _form(request, body.read(), limits)
    return Upload((Weighted(body.read(), name="image"),))


def _is_form(request: Request) -> bool:
    return media_type(request) == "multipart/form-data"


async def _read_body(request: Request, file: IO[bytes], *, max_bytes: int, timeout_s: float) -> None:
    """Write the body to *file*: at most *max_bytes*, within *timeout_s*; raises RequestError 413, 408 or 400."""
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                file.write(part)
    except TimeoutError:
        raise RequestError(f"the body did not arrive within {timeout_s:g} s; send it again", status=408) from None
    except ClientDisconnect:
        raise RequestError("the body is incomplete; send it again") from None


@cache
def _has_temporary_folder() -> bool:
    """Whether large bodies can be in files; else, as in a container that cannot write, they are in memory."""
    try:
        return bool(tempfile.gettempdir())
    except FileNotFoundError:
        return False


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
        return Upload(tuple(await _images(form)), _text(form), tuple(_crops(form)))
    finally:
        await form.close()


async def _images(form: FormData) -> list[Weighted[bytes]]:
    unknown = sorted(set(form) - {_IMAGE, _QUERY, _CROP})
    if unknown:
        raise RequestError(
            f"the form has an unknown field {unknown[0][:100]!r}; use {_IMAGE!r}, {_CROP!r} and {_QUERY!r}"
        )
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


def _crops(form: FormData) -> Iterator[str]:
    for crop in form.getlist(_CROP):
        if not isinstance(crop, str):
            raise RequestError(f"the field {_CROP!r} holds a file; send x,y,width,height as text")
        yield crop


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(f"the body has more than {max_bytes} bytes; send less", status=413)

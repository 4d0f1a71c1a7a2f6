"""What the answer of a web server means: an image, another address, or a reason why there is none."""

from __future__ import annotations

import http.client
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from vision_recs.errors import ImageError
from vision_recs.remote.connection import Answer, Origin
from vision_recs.types import ImageData

UNCHANGED: Final = 304
_REDIRECTS: Final = {301, 302, 303, 307, 308}
_OK, _TIMEOUT, _TOO_MANY = 200, 408, 429
_FIRST_OF_REFUSALS, _FIRST_OF_SERVER = 400, 500
_NAMED: Final = {401, 403, 404, 410, 429}
_NAMES: Final = {status.value: status.phrase for status in http.HTTPStatus}
_RACY_S: Final = 2.0
_MAX_ROBOTS_BYTES: Final = 500 << 10
_BINARY: Final = {
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/force-download",
    "application/x-download",
    "application/download",
    "application/x-png",
}
"""Media types that say nothing, as buckets and old servers give them."""
_PAGE: Final = (b"<!doctype html", b"<html")

_REMEDIES: Final = {
    401: "let it be read without a password",
    403: "let visrec read it, or give the images with --images",
}


class Target(NamedTuple):
    """Where the address *url* leads: to *path*, which has the query, of the server *origin*."""

    url: str
    origin: Origin
    path: str


class Moved(NamedTuple):
    """An answer that names another address, which may be relative."""

    location: str


def media_type_of(target: Target, answer: Answer) -> str | Moved:
    """Return the media type of the file in *answer*, or where the file is; raises ImageError where there is none."""
    if answer.status in _REDIRECTS:
        return Moved(answer.header("location"))
    if answer.status != _OK:
        raise _refusal(target, answer.status)
    return answer.header("content-type").partition(";")[0].strip().lower()


def image_of(target: Target, answer: Answer, max_bytes: int) -> ImageData | Moved:
    """Return the image in *answer*, or where it is; raises ImageError."""
    kind = media_type_of(target, answer)
    if isinstance(kind, Moved):
        return kind
    if not kind.startswith("image/") and kind not in _BINARY:
        raise ImageError("wrong-type", f"{target.url} has the media type {kind[:100]!r}; name an image")
    encoding = answer.header("content-encoding").lower()
    if encoding not in {"", "identity"}:
        raise ImageError("wrong-type", f"{target.url} is encoded as {encoding[:100]!r}, which was not asked for")
    has_end = answer.has_end  # the body, once read, says nothing of it any more
    data = answer.body(max_bytes)
    if data is None:
        raise ImageError("too-large", f"{target.url} has over {max_bytes:,} bytes; name a smaller image")
    if not data:
        raise ImageError("empty", f"{target.url} has no bytes; copy the image there again")
    if data[:64].lstrip().lower().startswith(_PAGE):
        raise ImageError("wrong-type", f"{target.url} is a page, though it is called {kind!r}; name an image")
    if has_end:
        return ImageData(data, signature_of(answer))
    if _is_cut_off(data):
        raise ImageError("broken-off", f"{target.url} ended too early; run again later")
    return ImageData(data)  # it may be another one the next time, of the same ETag


def _is_cut_off(data: bytes) -> bool:
    """Whether *data* is an image without the end of its format, as far as that can be told."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-1024:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-1024:]
    return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)


def robots_of(_target: Target, answer: Answer) -> str | Moved:
    """Return the text of the robots.txt in *answer*, empty where there is none, or where it is."""
    if answer.status in _REDIRECTS:
        return Moved(answer.header("location"))
    text = (answer.body(_MAX_ROBOTS_BYTES) or b"") if answer.status == _OK else b""
    return text.decode("utf-8-sig", "replace")


def condition_on(known: str | None) -> dict[str, str]:
    """Return the headers by which a server says in an answer without body that the signature is still *known*."""
    kind, _, value = (known or "").partition(":")
    names = {"etag": "if-none-match", "modified": "if-modified-since"}
    return {names[kind]: value} if kind in names else {}


def signature_of(answer: Answer) -> str | None:
    """Return the signature of the image in *answer*; None where its server gives none that can be relied on."""
    etag = answer.header("etag")
    if etag:
        return f"etag:{etag}"
    modified = answer.header("last-modified")
    changed = _time_of(modified)
    if changed is None:
        return None
    now = _time_of(answer.header("date")) or datetime.now(UTC)
    # another change within the same second would leave it as it is
    return None if (now - changed).total_seconds() < _RACY_S else f"modified:{modified}"


def _time_of(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def retry_after(text: str) -> float | None:
    """Return the seconds of a header Retry-After, which has them or a time; None where it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text)
    time = _time_of(text)
    return None if time is None else max(0.0, (time - datetime.now(UTC)).total_seconds())


def failure_of(target: Target, answer: Answer) -> ImageError | None:
    """Return what *answer* says of its server, where that cannot answer now."""
    status = answer.status
    if status == _TOO_MANY:
        return ImageError("http-429", f"{target.url} answers 429 Too Many Requests; run again later, or slower")
    if status == _TIMEOUT:
        return ImageError("timeout", f"{target.url} answers 408 Request Timeout; run again later")
    if status >= _FIRST_OF_SERVER:
        return ImageError("http-5xx", f"{target.url} answers {_named(status)}; run again later")
    return None


def _refusal(target: Target, status: int) -> ImageError:
    """Return what an answer says that is neither an image nor the failure of a server."""
    if status == UNCHANGED:  # though nothing of it is known
        return ImageError("broken-off", f"{target.url} answers {_named(status)} without having been asked; run again")
    if status < _FIRST_OF_REFUSALS:
        return ImageError("wrong-type", f"{target.url} answers {_named(status)}, which is no image; name an image")
    reason = f"http-{status}" if status in _NAMED else "http-4xx"
    return ImageError(reason, f"{target.url} answers {_named(status)}; {_REMEDIES.get(status, 'correct the address')}")


def _named(status: int) -> str:
    return f"{status} {_NAMES.get(status, '')}".strip()

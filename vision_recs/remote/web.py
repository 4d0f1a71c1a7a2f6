"""Images from web servers: fetched politely, safely, and only where they have changed."""

from __future__ import annotations

import http.client
import random
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, sleep
from typing import BinaryIO, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote, urljoin, urlsplit

from vision_recs.errors import CatalogError, ImageError, machine_remedy
from vision_recs.remote.connection import Answer, Connections, Origin, Patience
from vision_recs.remote.hosts import Host, HostAway, Hosts
from vision_recs.remote.options import RemoteOptions
from vision_recs.remote.robots import Robots
from vision_recs.types import ImageData, Unchanged

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = {301, 302, 303, 307, 308}
_MAX_REDIRECTS: Final = 5
_OK, _UNCHANGED, _TIMEOUT, _TOO_MANY = 200, 304, 408, 429
_FIRST_OF_REFUSALS, _FIRST_OF_SERVER = 400, 500
_NAMED: Final = {401, 403, 404, 410, 429}
_PASSING: Final = {"timeout", "refused", "broken-off", "http-429", "http-5xx"}
"""Reasons for which the same request is made again."""
_NAMES: Final = {status.value: status.phrase for status in http.HTTPStatus}
_SAFE: Final = "/%:@!$&'()*+,;=~?"
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
_REST_OF_429: Final = 4  # times the first pause of one image

_T = TypeVar("_T")


class Target(NamedTuple):
    """Where the address *url* leads: to *path*, which has the query, of the server *origin*."""

    url: str
    origin: Origin
    path: str


class Moved(NamedTuple):
    """An answer that names another address, which may be relative."""

    location: str


@dataclass(slots=True)
class Budget:
    """The *seconds* that are left for the requests of an image, which may be several if there are redirects."""

    seconds: float


class WebImages:
    """Images at http and https addresses; a `BulkImageSource` that several threads may use at once.

    The signature of an image is its ETag, or the time when it was last modified, as its server says. An image whose
    signature is known is asked for under the condition that it has changed.
    """

    def __init__(
        self, options: RemoteOptions, *, ports: frozenset[int] | None = None, wait: Callable[[float], None] = sleep
    ) -> None:
        """Fetch as *options* say, from *ports* only, if they are named; *wait* waits some seconds."""
        self._options = options
        self._ports = ports
        self._wait = wait
        self._hosts = Hosts(options, wait)
        self._connections = Connections(allow_private=options.allow_private, kept=options.per_host)
        self._robots = None if options.own_images else Robots(self._robots_text)

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image at *reference*, or Unchanged if its signature is still *known*; raises ImageError."""
        condition = _condition(known)

        def use(target: Target, answer: Answer) -> ImageData | Unchanged | Moved:
            if answer.status == _UNCHANGED and condition:
                return Unchanged()
            return _image_of(target, answer, self._options.max_bytes)

        found = self._tried(lambda: self._follow(reference, condition, use))
        return cast("ImageData | Unchanged", found)

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return None for each of *references*: `read` with the known signature costs no more than to ask for it."""
        return [None] * len(references)

    def notes(self) -> list[str]:
        """Return what there is to say of the hosts."""
        return self._hosts.notes()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._connections.close()

    def _tried(self, fetch: Callable[[], _T]) -> _T:
        """Return what *fetch* returns; it is called again after a pause where it fails for what may pass."""
        failed = asked_to_wait = 0
        tries = self._options.tries
        while True:
            try:
                return fetch()
            except HostAway:
                raise
            except ImageError as error:
                if error.reason not in _PASSING:
                    raise
                if error.reason == "http-429":  # the next try waits until the host has rested
                    asked_to_wait += 1
                else:
                    failed += 1
                if failed >= tries or asked_to_wait >= 2 * tries:
                    raise
            if failed:
                self._wait(self._options.backoff_s * 2 ** (failed - 1) * random.uniform(0.5, 1.5))  # noqa: S311

    def download(self, url: str, file: BinaryIO) -> str:
        """Write what is at *url* into *file*, whatever it is but a page, and return its media type; raises ImageError.

        The robots.txt is not asked: somebody has named the file.
        """

        def write(target: Target, answer: Answer) -> str | Moved:
            if answer.status in _REDIRECTS:
                return Moved(answer.header("location"))
            if answer.status != _OK:
                raise _refusal(target, answer.status)
            kind = answer.header("content-type").partition(";")[0].strip().lower()
            if kind == "text/html":
                raise ImageError("wrong-type", f"{target.url} is a page; name the file itself")
            _empty(file)
            length = 0
            for part in answer.parts():
                length += len(part)
                if length > self._options.max_bytes:
                    limit = f"{self._options.max_bytes:,}"
                    raise ImageError("too-large", f"{target.url} has over {limit} bytes; name a smaller file")
                _write(file, part, target.url)
            return kind

        return self._tried(lambda: self._follow(url, {"accept": "*/*"}, write, ask_robots=False))

    def _follow(
        self,
        url: str,
        headers: Mapping[str, str],
        use: Callable[[Target, Answer], _T | Moved],
        *,
        ask_robots: bool = True,
    ) -> _T:
        """Return what *use* makes of the answer at *url*, or of that to which it leads; raises ImageError."""
        budget = Budget(self._options.total_s)
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._target(url)
            if ask_robots:
                self._require_allowed(target)
            found = self._request(target, headers, use, budget)
            if not isinstance(found, Moved):
                return found
            url = _led_to(target.url, found.location)
        raise ImageError("redirect", f"{url} is more than {_MAX_REDIRECTS} redirects away; name the image itself")

    def _request(
        self, target: Target, headers: Mapping[str, str], use: Callable[[Target, Answer], _T], budget: Budget
    ) -> _T:
        """Return what *use* makes of the answer of *target*, when it is its turn; raises ImageError."""
        options, host = self._options, self._hosts.of(target.origin.host)
        headers = {"accept": "image/*,*/*;q=0.5", "user-agent": options.user_agent, **headers}
        with host.turn():
            began = monotonic()
            patience = Patience(options.connect_s, options.idle_s, began + budget.seconds)
            try:
                with self._connections.get(target.origin, target.path, headers, patience) as answer:
                    failure = _failure_of(target, answer)
                    if failure is None:
                        found = use(target, answer)
            except ImageError:
                host.answered()
                raise
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = _broken(target, error)
                host.failed(began, failure)
                raise failure from error
            finally:
                budget.seconds -= monotonic() - began
            if failure is None:
                host.answered()
                return found
            self._let_rest(host, began, failure, answer)
            raise failure

    def _let_rest(self, host: Host, began: float, failure: ImageError, answer: Answer) -> None:
        """Note that *host* answered with *failure*, and how long it wants to be left alone."""
        seconds = _retry_after(answer.header("retry-after"))
        if seconds is None and failure.reason == "http-429":
            seconds = self._options.backoff_s * _REST_OF_429
        if seconds is None:
            host.failed(began, failure)
        else:
            host.asked_for_rest(seconds, began, failure)

    def _target(self, url: str) -> Target:
        """Return where *url* leads; raises ImageError (remote)."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
            host = host.encode("idna").decode()
        except ValueError as error:  # a port out of range, brackets, a name with empty parts
            raise ImageError("remote", f"{url!r} is no address ({error}); correct it") from error
        if not url.isprintable() or parts.scheme not in _PORTS or not host or " " in host:
            raise ImageError("remote", f"{url!r} is no address of the web; correct it")
        if parts.username is not None:  # it is empty where there is a password alone
            raise ImageError("remote", "an address with a user name or password is not read; remove them")
        if self._ports is not None and port not in self._ports:
            allowed = " and ".join(map(str, sorted(self._ports)))
            raise ImageError("remote", f"{url!r} names the port {port}; only {allowed} are allowed")
        path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        return Target(url, Origin(parts.scheme, host, port), path)

    def _require_allowed(self, target: Target) -> None:
        if self._robots is None:
            return
        if not self._robots.allow(target.origin, target.path):
            raise ImageError(
                "robots",
                f"the robots.txt of {target.origin.host} forbids {target.url}; if the images are your own, "
                "say so with --own-images",
            )
        pause = self._robots.pause(target.origin)
        if pause:
            self._hosts.of(target.origin.host).slow_down(1 / pause)

    def _robots_text(self, origin: Origin) -> str:
        """Return the robots.txt of *origin*, empty where it has none; raises ImageError where it may have one."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        url = f"{origin.scheme}://{host}:{origin.port}/robots.txt"
        budget = Budget(self._options.total_s)
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                found = self._request(self._target(url), {}, _robots_of, budget)
            except ImageError as error:
                if error.reason in _PASSING:
                    raise type(error)(error.reason, f"before the images of {origin.host}: {error}") from error
                return ""
            if not isinstance(found, Moved):
                return found
            try:
                url = _led_to(url, found.location)
            except ImageError:
                return ""
        return ""


def _image_of(target: Target, answer: Answer, max_bytes: int) -> ImageData | Moved:
    """Return the image in *answer*, or where it is; raises ImageError."""
    if answer.status in _REDIRECTS:
        return Moved(answer.header("location"))
    if answer.status != _OK:
        raise _refusal(target, answer.status)
    kind = answer.header("content-type").partition(";")[0].strip().lower()
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
        return ImageData(data, _signature(answer))
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


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _write(file: BinaryIO, part: bytes, url: str) -> None:
    try:
        file.write(part)
    except OSError as error:  # of the disk, not of the server
        why = f"the temporary copy cannot be written ({error.strerror}); {machine_remedy(error) or 'check the disk'}"
        raise CatalogError(why, path=url) from error


def _robots_of(_target: Target, answer: Answer) -> str | Moved:
    if answer.status in _REDIRECTS:
        return Moved(answer.header("location"))
    text = (answer.body(_MAX_ROBOTS_BYTES) or b"") if answer.status == _OK else b""
    return text.decode("utf-8-sig", "replace")


def _led_to(url: str, location: str) -> str:
    """Return the address to which *location* leads from *url*; raises ImageError."""
    with suppress(UnicodeError):  # headers are read as latin-1, and many servers write UTF-8
        location = location.encode("latin-1").decode()
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImageError("redirect", f"{url} leads to what is no address ({error}); name the image itself") from error


def _condition(known: str | None) -> dict[str, str]:
    """Return the headers by which a server says in an answer without body that the signature is still *known*."""
    kind, _, value = (known or "").partition(":")
    names = {"etag": "if-none-match", "modified": "if-modified-since"}
    return {names[kind]: value} if kind in names else {}


def _signature(answer: Answer) -> str | None:
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


def _retry_after(text: str) -> float | None:
    """Return the seconds of a header Retry-After, which has them or a time; None where it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text)
    time = _time_of(text)
    return None if time is None else max(0.0, (time - datetime.now(UTC)).total_seconds())


def _failure_of(target: Target, answer: Answer) -> ImageError | None:
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
    if status == _UNCHANGED:  # though nothing of it is known
        return ImageError("broken-off", f"{target.url} answers {_named(status)} without having been asked; run again")
    if status < _FIRST_OF_REFUSALS:
        return ImageError("wrong-type", f"{target.url} answers {_named(status)}, which is no image; name an image")
    reason = f"http-{status}" if status in _NAMED else "http-4xx"
    return ImageError(reason, f"{target.url} answers {_named(status)}; {_REMEDIES.get(status, 'correct the address')}")


def _named(status: int) -> str:
    return f"{status} {_NAMES.get(status, '')}".strip()


def _broken(target: Target, error: Exception) -> ImageError:
    """Return why there was no answer, without the bytes that the server has sent."""
    url, host = target.url, target.origin.host
    if isinstance(error, TimeoutError):
        return ImageError("timeout", f"{url} did not come in time; run again later")
    if isinstance(error, socket.gaierror):
        return ImageError("refused", f"the host {host} is not known ({error.strerror}); correct the address")
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "verify_message", "") or error.reason
        return ImageError("refused", f"{host} has no safe connection ({why}); mend its certificate")
    if isinstance(error, ValueError):
        return ImageError("broken-off", f"{host} answers what is no HTTP ({url}); run again later")
    if isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
        return ImageError("broken-off", f"{url} ended too early ({type(error).__name__}); run again later")
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return ImageError("refused", f"{host} cannot be reached ({why}); run again later")

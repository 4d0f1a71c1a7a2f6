"""Images from web servers: fetched politely, safely, and only where they have changed."""

from __future__ import annotations

import http.client
import random
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import BinaryIO, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote, urljoin, urlsplit

from vision_recs.errors import CatalogError, ImageError, machine_remedy
from vision_recs.remote.answers import (
    UNCHANGED,
    Moved,
    Target,
    condition_on,
    failure_of,
    image_of,
    media_type_of,
    retry_after,
    robots_of,
)
from vision_recs.remote.connection import Answer, Connections, Origin, Patience
from vision_recs.remote.hosts import Host, HostAway, Hosts
from vision_recs.remote.options import RemoteOptions
from vision_recs.remote.robots import Robots
from vision_recs.types import ImageData, Unchanged

_PORTS: Final = {"http": 80, "https": 443}
_MAX_REDIRECTS: Final = 5
_PASSING: Final = {"timeout", "refused", "broken-off", "http-429", "http-5xx"}
"""Reasons for which the same request is made again."""
_SAFE: Final = "/%:@!$&'()*+,;=~?"
_REST_OF_429: Final = 4  # times the first pause of one image

_T = TypeVar("_T")


class Downloaded(NamedTuple):
    """A file that was fetched: the *url* to which its address led, and its media type."""

    url: str
    media_type: str


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
        condition = condition_on(known)

        def use(target: Target, answer: Answer) -> ImageData | Unchanged | Moved:
            if answer.status == UNCHANGED and condition:
                return Unchanged()
            return image_of(target, answer, self._options.max_bytes)

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

    def download(self, url: str, file: BinaryIO) -> Downloaded:
        """Write what is at *url* into *file*, whatever it is but a page; raises ImageError.

        The robots.txt is not asked: somebody has named the file.
        """

        def write(target: Target, answer: Answer) -> Downloaded | Moved:
            kind = media_type_of(target, answer)
            if isinstance(kind, Moved):
                return kind
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
            return Downloaded(target.url, kind)

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
                    failure = failure_of(target, answer)
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
        seconds = retry_after(answer.header("retry-after"))
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
                found = self._request(self._target(url), {}, robots_of, budget)
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


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _write(file: BinaryIO, part: bytes, url: str) -> None:
    try:
        file.write(part)
    except OSError as error:  # of the disk, not of the server
        why = f"the temporary copy cannot be written ({error.strerror}); {machine_remedy(error) or 'check the disk'}"
        raise CatalogError(why, path=url) from error


def _led_to(url: str, location: str) -> str:
    """Return the address to which *location* leads from *url*; raises ImageError."""
    with suppress(UnicodeError):  # headers are read as latin-1, and many servers write UTF-8
        location = location.encode("latin-1").decode()
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImageError("redirect", f"{url} leads to what is no address ({error}); name the image itself") from error


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

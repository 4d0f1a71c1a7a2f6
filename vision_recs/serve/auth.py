"""Authentication: the token, the session cookie of a browser, and the hosts that the server answers for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Final, NoReturn

from starlette.types import Scope

from vision_recs.errors import RequestError

log = logging.getLogger(__name__)

COOKIE: Final = "visrec"
_DELAY_S = 0.5
_MAX_DELAYED = 64
_MAX_ACCEPTED = 100


class TokenAuth:
    """Checks the token that a request brings. Without a token every request is authenticated."""

    def __init__(self, token: str | None) -> None:
        """Require *token*, or nothing if it is None."""
        self._token = token
        self._delayed = 0
        self.session_cookie = "" if token is None else hmac.digest(token.encode(), b"a visrec session", "sha256").hex()
        """What a browser keeps after it has sent the token: it opens the API, and does not give the token away."""

    @property
    def is_required(self) -> bool:
        """Whether requests need the token."""
        return self._token is not None

    def is_token(self, candidate: str) -> bool:
        """Return whether *candidate* is the token; a server without a token accepts every candidate."""
        return self._token is None or _equal(candidate, self._token)

    def is_authenticated(self, authorization: bytes, cookie: bytes) -> bool:
        """Return whether a request with these two headers (empty if there is none) brings the token or the cookie."""
        if self._token is None:
            return True
        scheme, _, candidate = authorization.decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and _equal(candidate.strip(), self._token):
            return True
        return _equal(_session(cookie), self.session_cookie)

    async def reject(self, scope: Scope, what: str = "token") -> NoReturn:
        """Raise RequestError 401 for a request with a wrong *what*: logged, and delayed, so that guessing is slow.

        If many requests with wrong tokens are delayed at the same time, further ones get 429 at once: they shall not
        occupy the server. The right token is never delayed.
        """
        client = (scope.get("client") or ("unknown",))[0]
        log.warning("wrong %s from %s", what, client, extra={"event": "wrong_token", "client": client})
        if self._delayed >= _MAX_DELAYED:
            raise RequestError("too many requests bring a wrong token", status=429, retry_after_s=1)
        self._delayed += 1
        try:
            await asyncio.sleep(_DELAY_S)
        finally:
            self._delayed -= 1
        raise RequestError(f"the {what} is wrong; ask who runs this server", status=401)


class AllowedHosts:
    """Checks the Host header, so that a web site whose name resolves to this server (DNS rebinding) cannot use it."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """Allow *hosts*, such as "shop.example", "*.shop.example" or "127.0.0.1"; without any, allow every host."""
        names = [host.lower() for host in hosts]
        self._accepted: set[bytes] = set()  # headers that were checked before
        self._any = not names or "*" in names
        self._exact = frozenset(name for name in names if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def allows(self, header: bytes) -> bool:
        """Return whether the Host *header* names a host that is allowed; its port does not matter."""
        if self._any or header in self._accepted:
            return True
        host = header.decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name not in self._exact and not (self._suffixes and name.endswith(self._suffixes)):
            return False
        if len(self._accepted) < _MAX_ACCEPTED:
            self._accepted.add(header)
        return True

    def require(self, header: bytes) -> None:
        """Raise RequestError 421 if the Host *header* names a host that is not allowed."""
        if not self.allows(header):
            host = header.decode("latin-1").lower()
            raise RequestError(
                f"this server does not answer for the host {host[:100]!r}; allow it with --allowed-hosts", status=421
            )


def _equal(candidate: str, secret: str) -> bool:
    """Compare in a time that depends on neither of them."""
    return hmac.compare_digest(hashlib.sha256(candidate.encode()).digest(), hashlib.sha256(secret.encode()).digest())


def _session(header: bytes) -> str:
    """Return the session cookie in a Cookie *header*, or ""."""
    try:
        found = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value

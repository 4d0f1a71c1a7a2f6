"""The middleware around all routes: request id, authentication, security headers, errors, metrics, the request log."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from contextlib import suppress
from time import perf_counter
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision_recs.errors import RequestError, VisionRecsError
from vision_recs.serve.auth import COOKIE, AllowedHosts
from vision_recs.serve.errors import problem_response
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.proxies import ROOT, TrustedProxies, below_root, root_path
from vision_recs.serve.state import AppState

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_USED_HEADERS = frozenset({b"x-request-id", b"authorization", b"cookie", b"host"})
_PROBES = frozenset({"/healthz", "/readyz"})  # an orchestrator calls them by the address of a container
_SHOPPER = "/v1/for/"
_SLOW_S = 1.0
_SERVER_ERROR = 500
_TIMEOUT = 408
_DISCARD_S: Final = 2.0
_DISCARD_BYTES: Final = 32 << 20
_SECURITY_HEADERS: Final = [
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
            b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class RequestMiddleware:
    """An ASGI application around the routes; every request passes it first and last."""

    def __init__(self, app: ASGIApp, state: AppState, *, public: frozenset[str]) -> None:
        """Let requests for the paths *public* pass without a token."""
        self._app = app
        self._state = state
        self._public = public
        self._hosts = AllowedHosts(state.options.allowed_hosts)
        self._proxies = TrustedProxies(state.options.trusted_proxies)
        self._root = root_path(state.options.root_path)
        self._headers = security_headers(state.options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises nothing."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        headers = {name: value for name, value in scope["headers"] if name in _USED_HEADERS}
        request_id = request_id_of(headers.get(b"x-request-id"))
        scope["visrec.request_id"] = request_id
        scope[ROOT] = self._root
        self._proxies.resolve(scope)
        status = 0
        body = _Body(receive)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", request_id.encode()), *scope.get("visrec.headers", ())]
                message = {**message, "headers": [*message.get("headers", ()), *self._headers, *extra]}
            await send(message)

        try:
            if below_root(scope):  # relative addresses in the page would lead elsewhere
                query = scope["query_string"].decode("latin-1")
                location = f"{scope[ROOT]}/{'?' if query else ''}{query}"
                await Response(None, 308, {"location": location})(scope, receive, send_with_headers)
                return
            await self._check(scope, headers)
            await self._app(scope, body.receive, send_with_headers)
        except Exception as error:
            if status == 0:
                if _has_body(scope) and getattr(error, "status", 0) != _TIMEOUT:
                    await body.discard()
                await problem_response(error, request_id)(scope, receive, send_with_headers)
            elif not isinstance(error, VisionRecsError):
                log.exception("a response was interrupted", extra={"event": "failed", "request_id": request_id})
        finally:
            named = f"{scope['method']} {_loggable(scope['path'])}"
            record(self._state, scope.get("visrec.route", "none"), named, status, perf_counter() - start, request_id)

    async def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise RequestError 421 for a host that is not allowed, and 401 if the token is missing or wrong."""
        path = scope["path"]
        if path not in _PROBES:
            self._hosts.require(headers.get(b"host", b""))
        auth = self._state.auth
        if not auth.is_required or path in self._public or path.startswith("/page/"):
            return
        authorization, cookie = headers.get(b"authorization", b""), headers.get(b"cookie", b"")
        if auth.is_authenticated(authorization, cookie):
            return
        if authorization or COOKIE.encode() + b"=" in cookie:
            await auth.reject(scope)
        raise RequestError("a token is needed; send `Authorization: Bearer TOKEN`", status=401)


class _Body:
    """The rest of the body of a request.

    A connection that is closed with bytes unread is reset, and its client may never see the answer.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_ended = False

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._has_ended = True
        return message

    async def discard(self) -> None:
        """Read what has not been read, within limits."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                while not self._has_ended and size < _DISCARD_BYTES:
                    size += len((await self.receive()).get("body", b""))


def security_headers(options: ServeOptions) -> list[tuple[bytes, bytes]]:
    """Return the headers that every response has."""
    is_shared = bool(options.cors_origins)
    return [h for h in _SECURITY_HEADERS if not (is_shared and h[0] == b"cross-origin-resource-policy")]


def record(  # noqa: PLR0913, PLR0917 - what there is to say of a request
    state: AppState, route: str, named: str, status: int, seconds: float, request_id: str
) -> None:
    """Count a request, whose method and path are *named*; log it if it failed, was slow, or if all are logged."""
    state.metrics.observe_request(route, status, seconds)
    is_notable = status >= _SERVER_ERROR or seconds > _SLOW_S
    if is_notable or state.options.log_requests:
        log.log(
            logging.WARNING if is_notable else logging.INFO,
            "%s: %d in %.1f ms",
            named,
            status,
            1e3 * seconds,
            extra={
                "event": "request",
                "request_id": request_id,
                "route": route,
                "status": status,
                "ms": round(1e3 * seconds, 2),
            },
        )


def _loggable(path: str) -> str:
    """Return *path* without the name of a shopper: that is in no log."""
    return f"{_SHOPPER}*" if path.startswith(_SHOPPER) else path


def _has_body(scope: Scope) -> bool:
    """Return whether the client sends a body, without waiting for leave to do so."""
    headers = dict(scope["headers"])
    return b"expect" not in headers and (
        headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    )


def request_id_of(proposed: bytes | None) -> str:
    """Return the id that a proxy has given the request, or a new id."""
    if proposed is not None and _REQUEST_ID.fullmatch(proposed):
        return proposed.decode()
    return secrets.token_hex(8)

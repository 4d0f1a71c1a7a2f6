"""What every request passes first and last: request id, token, headers, figures, a line in the log, errors."""

from __future__ import annotations

import logging
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision_recs.errors import RequestError, VisionRecsError
from vision_recs.serve.errors import response_of
from vision_recs.serve.handlers.admin import COOKIE, cookie_of, is_right
from vision_recs.serve.state import Service

log = logging.getLogger("visrec.requests")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SLOW_S = 1.0
_SERVER_ERROR = 500
_HEADERS: Final = [
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


class Front:
    """An ASGI application around the routes."""

    def __init__(self, app: ASGIApp, service: Service, *, public: frozenset[str]) -> None:
        """Let requests for the paths of *public* through without a token."""
        self._app = app
        self._service = service
        self._public = public
        origins = service.options.origins
        self._headers = [header for header in _HEADERS if not (origins and header[0].startswith(b"cross-origin"))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing is raised."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        given = {
            name: value for name, value in scope["headers"] if name in {b"x-request-id", b"authorization", b"cookie"}
        }
        request_id = _request_id(given.get(b"x-request-id"))
        scope["visrec.request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", request_id.encode()), *scope.get("visrec.headers", ())]
                message = {**message, "headers": [*message.get("headers", ()), *self._headers, *extra]}
            await send(message)

        try:
            self._let_in(scope["path"], given)
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status == 0:
                await response_of(error, request_id)(scope, receive, send_with_headers)
            elif not isinstance(error, VisionRecsError):
                log.exception("an answer broke off", extra={"event": "failed", "request_id": request_id})
        finally:
            self._note(scope, status, perf_counter() - began, request_id)

    def _let_in(self, path: str, given: dict[bytes, bytes]) -> None:
        """Raise RequestError 401 where a token is needed and not brought."""
        token = self._service.options.token
        if token is None or path in self._public or path.startswith("/page/"):
            return
        kind, _, brought = given.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() == "bearer" and is_right(brought.strip(), token):
            return
        if is_right(_cookie(given.get(b"cookie", b"")), cookie_of(token)):
            return
        raise RequestError("a token is needed; send `Authorization: Bearer TOKEN`", status=401)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = scope.get("visrec.route", "none")
        self._service.metrics.observe(route, status, seconds)
        is_worse = status >= _SERVER_ERROR or seconds > _SLOW_S
        if is_worse or self._service.options.log_requests:
            log.log(
                logging.WARNING if is_worse else logging.INFO,
                "%s %s: %d in %.1f ms",
                scope["method"],
                scope["path"],
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


def _request_id(given: bytes | None) -> str:
    """Return the id that a proxy gave the request, or a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return secrets.token_hex(8)


def _cookie(header: bytes) -> str:
    try:
        found = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value

"""Queries that are one id, from the request to the bytes of its answer, before any router or request object.

They may name a shopper, and the answers may be kept: see `answering`. What is not as plain as that is left to the
general path, `RequestMiddleware` and what is behind it. It gives the same answers to the byte, and it alone refuses
requests.
"""

from __future__ import annotations

import re
from time import perf_counter
from typing import Final, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from vision_recs.feedback.answers import hour_of
from vision_recs.serve.answering import KeptQuery
from vision_recs.serve.auth import AllowedHosts
from vision_recs.serve.errors import problem_response
from vision_recs.serve.id_search import IdQuery
from vision_recs.serve.middleware import record, request_id_of, security_headers
from vision_recs.serve.proxies import root_path
from vision_recs.serve.served import Served
from vision_recs.serve.state import AppState

Headers: TypeAlias = list[tuple[bytes, bytes]]

_PATH: Final = "/v1/similar"
_ROUTE: Final = "similar"
_QUERY: Final = re.compile(
    rb"id=([!-$'-*,-~]{1,200})"  # ASCII without the characters that are encoded or encode others: % & +
    rb"(?:&k=([1-9][0-9]{0,2}))?(?:&cover=(true))?(?:&shopper=([!-$'-*,-~]{1,200}))?(?:&reports_shown=(true))?"
)
_PRIVATE: Final = (b"cache-control", b"private, no-store")
_LEFT: Final = frozenset({b"if-none-match", b"x-forwarded-prefix"})
"""Headers whose requests are left to the general path."""


class FusedQueries:
    """An ASGI application in front of another one, which answers all but queries that are one id."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Answer from *state*, and leave other requests to *app*, the general path."""
        self._app = app
        self._state = state
        self._hosts = AllowedHosts(state.options.allowed_hosts)
        self._security = security_headers(state.options)
        root = root_path(state.options.root_path)
        is_ours = not root or not _PATH.startswith(root)  # below /v1, /v1/similar were /similar
        self._paths = frozenset({_PATH, root + _PATH} if is_ours else ())
        self._known: tuple[tuple[str, int], Headers] = ("", 0), []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises nothing."""
        start = perf_counter()
        snapshot = self._state.reloader.snapshot
        query = self._query(scope, snapshot)
        if query is None:
            await self._app(scope, receive, send)
            return
        status = 200
        proposed = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = request_id_of(proposed)
        try:
            if snapshot.kept is None:
                body = await self._state.id_batches.run(snapshot, query.query)
            else:
                body = await self._state.kept_batches.run(snapshot, query)
        except Exception as error:  # noqa: BLE001 - too many requests wait, or the server has a fault, which is logged
            response = problem_response(error, request_id)
            status, headers, body = response.status_code, response.raw_headers, bytes(response.body)
        if body is None:
            await self._app(scope, receive, send)
            return
        if status == 200:  # noqa: PLR2004 - a problem has these headers already
            headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
            headers = [*headers, _PRIVATE] if query.shopper else [*self._headers(snapshot, query.time), *headers]
        headers = [*headers, *self._security, (b"x-request-id", request_id.encode())]
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            record(self._state, _ROUTE, f"GET {_PATH}", status, perf_counter() - start, request_id)

    def _query(self, scope: Scope, snapshot: Served) -> KeptQuery | None:
        """Return the query of a request; None if it is another one, or if the general path has to look at it."""
        if (snapshot.ids is None and snapshot.kept is None) or self._state.candidate is not None:
            return None
        if scope["path"] not in self._paths or scope.get("method") != "GET":  # WebSocket: none
            return None
        found = _QUERY.fullmatch(scope["query_string"])
        if found is None or not self._admits(scope["headers"]):
            return None
        item, k, cover, shopper, reports_shown = found.groups()
        query = IdQuery(item.decode(), 10 if k is None else int(k), cover is not None)
        return KeptQuery(
            query, self._state.now(), None if shopper is None else shopper.decode(), reports_shown is not None
        )

    def _admits(self, headers: Headers) -> bool:
        """Whether a request with *headers* may be answered, and needs no more than the answer."""
        host = authorization = cookie = b""
        for name, value in headers:
            if name == b"host":
                host = value
            elif name == b"authorization":
                authorization = value
            elif name == b"cookie":
                cookie = value
            elif name in _LEFT:
                return False
        return self._hosts.allows(host) and self._state.auth.is_authenticated(authorization, cookie)

    def _headers(self, snapshot: Served, time: float) -> Headers:
        """Return the headers that every cacheable answer from *snapshot* begins with, which was asked for at *time*."""
        known, headers = self._known
        now = snapshot.version, hour_of(time)
        if known != now:
            etag, cache = self._state.etag(snapshot, hourly=True, time=time), self._state.cache_control
            headers = [(b"etag", etag.encode()), (b"cache-control", cache.encode())]
            self._known = now, headers
        return headers

"""Routing: from a request to the typed arguments of a handler, and from what the handler returns to a response.

A handler is a coroutine function `(context, parameters)` or `(context, parameters, body)`. The annotations of
*parameters*, of *body* and of the returned value are structs of `schemas`. Requests are validated against these
structs, and the OpenAPI document is made of them, so that the two cannot differ.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from vision_recs.errors import RequestError
from vision_recs.serve.served import Served

if TYPE_CHECKING:
    from vision_recs.serve.state import AppState

_MAX_FIELDS = 2_000  # of a query string
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Context:
    """A request, the state of the worker that answers it, and the snapshot of the store to answer from."""

    state: AppState
    request: Request
    snapshot: Served

    @property
    def is_authenticated(self) -> bool:
        """Whether the request brings the token, or none is needed; only routes that are public have to ask."""
        headers = self.request.headers
        return self.state.auth.is_authenticated(
            headers.get("authorization", "").encode("latin-1"), headers.get("cookie", "").encode("latin-1")
        )


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, and the handler for them.

    *upload_types* are the media types of a body that the handler reads itself, and *media_type* is the type of the
    `Response` that it returns. A *cacheable* answer has an ETag that names the generation, and an *hourly* one, where
    answers are kept, the hour as well; one for a shopper is never cached. A *public* route needs no token. *errors* are
    error statuses in addition to those of every route.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    upload_types: tuple[str, ...] = ()
    media_type: str = "application/json"
    cacheable: bool = False
    hourly: bool = False
    public: bool = False
    errors: tuple[int, ...] = ()
    status: int = 200
    parameters: type[msgspec.Struct] = field(init=False)
    body: type[msgspec.Struct] | None = field(init=False)
    response: Any = field(init=False)

    def __post_init__(self) -> None:
        """Read the annotations of the handler."""
        hints = get_type_hints(self.handler, localns={"Context": Context})
        object.__setattr__(self, "parameters", hints["parameters"])
        object.__setattr__(self, "body", hints.get("body"))
        object.__setattr__(self, "response", hints["return"])

    @property
    def name(self) -> str:
        """The name of the route in metrics, in the log and in the OpenAPI document."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").partition("\n")[0].rstrip(".")


class Endpoint:
    """All routes of one path, as an ASGI application."""

    def __init__(self, state: AppState, routes: Sequence[Route]) -> None:
        """Serve *routes* by method; the web server leaves out the body of HEAD, and OPTIONS names the methods."""
        self._state = state
        self._routes = {route.method: route for route in routes}
        if "GET" in self._routes:
            self._routes["HEAD"] = self._routes["GET"]
        self._fields = {route.name: _fields(route.parameters) for route in routes}
        self._decoders = {route.name: msgspec.json.Decoder(route.body) for route in routes if route.body is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises VisionRecsError."""
        route = self._routes.get(scope["method"])
        if route is None:
            allowed = ", ".join(sorted([*self._routes, "OPTIONS"]))
            if scope["method"] == "OPTIONS":
                await Response(None, 204, {"allow": allowed})(scope, receive, send)
                return
            scope["visrec.headers"] = [(b"allow", allowed.encode())]
            raise RequestError(f"{scope['path'][:200]!r} does not support this method; use {allowed}", status=405)
        scope["visrec.route"] = route.name
        snapshot = self._state.reloader.snapshot
        snapshot.acquire()  # the body may arrive slowly, and a new generation meanwhile
        try:
            response = await self._respond(route, Context(self._state, Request(scope, receive), snapshot))
        finally:
            snapshot.release()
        await response(scope, receive, send)

    async def _respond(self, route: Route, context: Context) -> Response:
        parameters = self._parameters(route, context.request)
        if getattr(parameters, "shopper", None) is not None:
            response = await self._handle(route, context, parameters)
            response.headers["cache-control"] = "private, no-store"
            return response
        if not route.cacheable:
            return await self._handle(route, context, parameters)
        etag = self._state.etag(context.snapshot, hourly=route.hourly)
        headers = {"etag": etag, "cache-control": self._state.cache_control}
        if _matches(context.request.headers.get("if-none-match"), headers["etag"]):
            return Response(None, 304, headers)
        return await self._handle(route, context, parameters, headers)

    async def _handle(
        self, route: Route, context: Context, parameters: msgspec.Struct, headers: Mapping[str, str] | None = None
    ) -> Response:
        if route.body is None:
            answer = await route.handler(context, parameters)
        else:
            data = await self._state.bodies.json(context.request)
            try:
                body = self._decoders[route.name].decode(data)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise RequestError(f"the body is not valid: {_message(error)}; see /openapi.json") from None
            answer = await route.handler(context, parameters, body)
        if isinstance(answer, Response):
            answer.headers.update(headers or {})
            return answer
        return Response(_encode(answer), route.status, headers, media_type="application/json")

    def _parameters(self, route: Route, request: Request) -> msgspec.Struct:
        values: dict[str, Any] = dict(request.path_params)
        query = request.scope["query_string"]
        if query and route.parameters.__struct_config__.forbid_unknown_fields:
            _add_query(values, query, self._fields[route.name])
        try:
            return msgspec.convert(values, route.parameters, strict=False)
        except msgspec.ValidationError as error:
            raise RequestError(f"a parameter is not valid: {_message(error)}; see /openapi.json") from None


class _Anything(Convertor[str]):
    """A part of a path that may hold every character; that of Starlette ends at the end of a line."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _Anything())


def router(state: AppState, routes: Sequence[Route], *, default: ASGIApp) -> ASGIApp:
    """Return an application that finds the endpoint of a path: at once, or by its parameters in the order of *routes*.

    *default* answers for other paths.
    """
    by_path: dict[str, list[Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, []).append(route)
    found = {path: Endpoint(state, same) for path, same in by_path.items()}
    of_starlette = [StarletteRoute(path, endpoint) for path, endpoint in found.items()]
    others = Router(of_starlette, default=default, redirect_slashes=False)
    at_once = {path: endpoint for path, endpoint in found.items() if "{" not in path}

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = at_once.get(scope["path"]) if scope["type"] == "http" else None
        await (endpoint or others)(scope, receive, send)

    return dispatch


def _fields(parameters: type[msgspec.Struct]) -> dict[str, bool]:
    """Return the names of the *parameters*, and whether each may be repeated."""
    info = msgspec.inspect.type_info(parameters)
    assert isinstance(info, msgspec.inspect.StructType)
    return {part.name: isinstance(_unwrap(part.type), msgspec.inspect.ListType) for part in info.fields}


def _unwrap(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return _unwrap(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def _add_query(values: dict[str, Any], query: bytes, fields: Mapping[str, bool]) -> None:
    """Add the parameters of the *query* string, which *fields* names, to *values*.

    Raises RequestError for one that there is not, or that is repeated wrongly.
    """
    try:
        pairs = _pairs(query.decode("latin-1"))
    except (ValueError, UnicodeDecodeError) as error:
        raise RequestError(f"the query string is not valid ({error}); encode it as UTF-8") from None
    for name, value in pairs:
        if name not in fields:
            raise RequestError(_unknown(name, fields))
        if fields[name]:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise RequestError(f"the parameter {name!r} is given twice; give it once")
        else:
            values[name] = value


def _pairs(query: str) -> list[tuple[str, str]]:
    """Return the names and values in a *query* string; raises ValueError. Most have nothing to be decoded."""
    if "%" in query or "+" in query or query.count("&") >= _MAX_FIELDS:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    return [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]


def _unknown(name: str, fields: Mapping[str, bool]) -> str:
    nearest = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
    if nearest:
        hint = f"the nearest is {nearest[0]!r}"
    else:
        hint = f"there are {', '.join(fields)}" if fields else "this address takes none"
    return f"there is no parameter {name[:80]!r}; {hint}"


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known: Mapping[str, None] = dict.fromkeys(part.strip().removeprefix("W/") for part in if_none_match.split(","))
    return "*" in known or etag in known


def _message(error: Exception) -> str:
    """Return the message of msgspec, to continue a sentence."""
    text = str(error) or type(error).__name__
    return text[:1].lower() + text[1:]

"""Routes: from a request to the typed arguments of a handler, and from what it returns to a response.

A handler is a coroutine function `(call, parameters)` or `(call, parameters, body)`. The annotations of the parameters,
of the body and of what it returns are structs of `messages`; requests are checked against them, and the OpenAPI
document is made of them, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from vision_recs.errors import RequestError
from vision_recs.serve.snapshots import Edition
from vision_recs.serve.uploads import read_json

if TYPE_CHECKING:
    from vision_recs.serve.state import Service

_FIELDS = 2_000  # of a query string
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Call:
    """A request on its way: who answers it, and from which generation."""

    service: Service
    request: Request
    edition: Edition


@dataclass(frozen=True, slots=True)
class Route:
    """An address and the handler for it.

    *uploads* are the types of a body that the handler reads by itself, *answers* the type of what it returns as a
    `Response`. What is *cacheable* has an ETag by generation. *errors* are the statuses besides those of every route.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    uploads: tuple[str, ...] = ()
    answers: str = "application/json"
    cacheable: bool = False
    public: bool = False
    errors: tuple[int, ...] = ()
    status: int = 200
    parameters: type[msgspec.Struct] = field(init=False)
    body: type[msgspec.Struct] | None = field(init=False)
    answer: Any = field(init=False)

    def __post_init__(self) -> None:
        """Read the annotations of the handler."""
        hints = get_type_hints(self.handler, localns={"Call": Call})
        object.__setattr__(self, "parameters", hints["parameters"])
        object.__setattr__(self, "body", hints.get("body"))
        object.__setattr__(self, "answer", hints["return"])

    @property
    def name(self) -> str:
        """What metrics and the OpenAPI document call it."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").partition("\n")[0].rstrip(".")


class Endpoint:
    """All routes of one path, as an ASGI application."""

    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        """Serve *routes* by method; HEAD is a GET whose body is left out by the server."""
        self._service = service
        self._routes = {route.method: route for route in routes}
        if "GET" in self._routes:
            self._routes["HEAD"] = self._routes["GET"]
        self._lists = {route.name: _lists(route.parameters) for route in routes}
        self._decoders = {route.name: msgspec.json.Decoder(route.body) for route in routes if route.body is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise the VisionRecsError that it deserves."""
        route = self._routes.get(scope["method"])
        if route is None:
            allowed = ", ".join(sorted(self._routes))
            scope["visrec.headers"] = [(b"allow", allowed.encode())]
            raise RequestError(f"{scope['method']} is not a method of {scope['path']}; use {allowed}", status=405)
        scope["visrec.route"] = route.name
        edition = self._service.shop.edition
        edition.hold()  # a body may arrive slowly, and another generation in the meantime
        try:
            response = await self._respond(route, Call(self._service, Request(scope, receive), edition))
        finally:
            edition.release()
        await response(scope, receive, send)

    async def _respond(self, route: Route, call: Call) -> Response:
        parameters = self._parameters(route, call.request)
        if not route.cacheable:
            return await self._handle(route, call, parameters)
        headers = {"etag": self._service.etag(call.edition), "cache-control": self._service.cache_control}
        if _is_known(call.request.headers.get("if-none-match"), headers["etag"]):
            return Response(None, 304, headers)
        response = await self._handle(route, call, parameters)
        response.headers.update(headers)
        return response

    async def _handle(self, route: Route, call: Call, parameters: msgspec.Struct) -> Response:
        if route.body is None:
            answer = await route.handler(call, parameters)
        else:
            data = await read_json(call.request, self._service.options.limits)
            try:
                body = self._decoders[route.name].decode(data)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise RequestError(f"the body cannot be read: {_said(error)}; see /openapi.json") from None
            answer = await route.handler(call, parameters, body)
        if isinstance(answer, Response):
            return answer
        return Response(_encode(answer), route.status, media_type="application/json")

    def _parameters(self, route: Route, request: Request) -> msgspec.Struct:
        values: dict[str, Any] = dict(request.path_params)
        query = request.scope["query_string"]
        if query and route.parameters.__struct_config__.forbid_unknown_fields:
            _add(values, query, self._lists[route.name])
        try:
            return msgspec.convert(values, route.parameters, strict=False)
        except msgspec.ValidationError as error:
            raise RequestError(f"the address says what cannot be: {_said(error)}; see /openapi.json") from None


def endpoints(service: Service, routes: Sequence[Route]) -> list[StarletteRoute]:
    """Return the *routes* as Starlette matches them, path by path, in order."""
    by_path: dict[str, list[Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, []).append(route)
    return [StarletteRoute(path, Endpoint(service, same)) for path, same in by_path.items()]


def _lists(parameters: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the *parameters* that may be given several times."""
    info = msgspec.inspect.type_info(parameters)
    assert isinstance(info, msgspec.inspect.StructType)
    return frozenset(part.name for part in info.fields if isinstance(_bare(part.type), msgspec.inspect.ListType))


def _bare(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return _bare(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def _add(values: dict[str, Any], query: bytes, lists: frozenset[str]) -> None:
    """Put what *query* says into *values*; raises RequestError for what is named twice."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise RequestError(f"the address cannot be read ({error}); encode it as UTF-8") from None
    for name, value in pairs:
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise RequestError(f"the address names {name!r} twice; name it once")
        else:
            values[name] = value


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known: Mapping[str, None] = dict.fromkeys(part.strip().removeprefix("W/") for part in if_none_match.split(","))
    return "*" in known or etag in known


def _said(error: Exception) -> str:
    """Return what msgspec says, within a sentence."""
    text = str(error) or type(error).__name__
    return text[:1].lower() + text[1:]

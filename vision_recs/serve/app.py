"""The routes, and the ASGI application that serves them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from vision_recs.errors import RequestError
from vision_recs.serve.handlers import admin, items
from vision_recs.serve.handlers import similar as similar_items
from vision_recs.serve.middleware import Front
from vision_recs.serve.openapi import document
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.routing import Call, Route, endpoints
from vision_recs.serve.schemas import NoParameters
from vision_recs.serve.state import Service

IMAGE_TYPES = ("image/*", "application/octet-stream", "multipart/form-data")


async def openapi(call: Call, parameters: NoParameters) -> Response:  # noqa: ARG001
    """Give this document."""
    return Response(_DOCUMENT, media_type="application/json")


ROUTES = (
    Route("GET", "/v1/similar", similar_items.similar, cacheable=True, errors=(404, 422)),
    Route("POST", "/v1/similar", similar_items.similar_to_query, errors=(404, 408, 413, 415, 422)),
    Route(
        "POST",
        "/v1/similar/image",
        similar_items.similar_to_image,
        uploads=IMAGE_TYPES,
        errors=(404, 408, 413, 415, 422),
    ),
    Route("GET", "/v1/items", items.items, cacheable=True),
    Route("GET", "/v1/items/{id:path}", items.item, cacheable=True, errors=(404,)),
    Route("GET", "/v1/facets", items.facets, cacheable=True),
    Route("GET", "/v1/thumbnails/{digest}", items.thumbnail, answers="image/jpeg", errors=(404, 413, 415, 422)),
    Route("GET", "/v1/info", admin.info, public=True),
    Route("POST", "/v1/session", admin.session, status=204, public=True, errors=(408, 413, 415)),
    Route("GET", "/healthz", admin.healthz, public=True),
    Route("GET", "/readyz", admin.readyz, public=True),
    Route("GET", "/metrics", admin.metrics, answers="text/plain"),
    Route("GET", "/openapi.json", openapi, answers="application/json", public=True),
    Route("GET", "/", admin.page, answers="text/html", public=True),
    Route("GET", "/page/{file}", admin.page_file, answers="text/html", public=True, errors=(404,)),
)
"""Every address that is served."""

_DOCUMENT = document(ROUTES)


def create_app(options: ServeOptions) -> ASGIApp:
    """Return the ASGI application that serves the store of *options*, which is opened now; raises StoreError.

    Its lifespan closes the store. It logs to `visrec.serve` and `visrec.requests`, which it does not configure.
    """
    service = Service(options)
    routes = Router(endpoints(service, ROUTES), default=_nowhere, redirect_slashes=False)
    app: ASGIApp = Front(routes, service, public=frozenset(route.path for route in ROUTES if route.public))
    if options.origins:
        app = CORSMiddleware(  # outside: a browser asks for leave without a token, and reads errors too
            app,
            allow_origins=options.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "if-none-match", "x-request-id"],
            expose_headers=["etag", "x-request-id", "retry-after"],
            max_age=600,
        )
    return _with_lifespan(app, service)


def _with_lifespan(app: ASGIApp, service: Service) -> ASGIApp:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    router = Router(lifespan=lifespan)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await (router if scope["type"] == "lifespan" else app)(scope, receive, send)

    return serve


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
    raise RequestError(f"there is nothing at {scope['path']}; see /openapi.json", status=404)

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
from vision_recs.serve.fused import FusedQueries
from vision_recs.serve.handlers import admin, events, for_you, items
from vision_recs.serve.handlers import similar as similar_items
from vision_recs.serve.middleware import RequestMiddleware
from vision_recs.serve.openapi import openapi_document
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.routing import Context, Route, router
from vision_recs.serve.schemas import NoParameters
from vision_recs.serve.state import AppState

IMAGE_TYPES = ("image/*", "application/octet-stream", "multipart/form-data")


async def openapi(context: Context, parameters: NoParameters) -> Response:  # noqa: ARG001
    """Return this document."""
    return Response(_DOCUMENT, media_type="application/json")


ROUTES = (
    Route("GET", "/v1/similar", similar_items.similar, cacheable=True, hourly=True, errors=(404, 422)),
    Route("POST", "/v1/similar", similar_items.similar_to_query, errors=(404, 408, 413, 415, 422, 429)),
    Route(
        "POST",
        "/v1/similar/image",
        similar_items.similar_to_image,
        upload_types=IMAGE_TYPES,
        errors=(404, 408, 413, 415, 422, 429),
    ),
    Route(
        "POST",
        "/v1/events",
        events.record,
        upload_types=events.BODY_TYPES,
        status=202,
        public=True,
        errors=(403, 408, 413, 415),
    ),
    Route("GET", "/v1/for/{shopper:any}", for_you.for_you, errors=(403,)),
    Route("GET", "/v1/items", items.items, cacheable=True),
    Route(
        "POST",
        "/v1/items:update",
        items.update,
        upload_types=items.UPDATE_TYPES,
        status=202,
        errors=(403, 408, 413, 415, 422),
    ),
    Route("GET", "/v1/item", items.item_by_id, cacheable=True, errors=(404,)),
    Route("GET", "/v1/items/{id:any}", items.item, cacheable=True, errors=(404,)),
    Route("GET", "/v1/facets", items.facets, cacheable=True),
    Route("GET", "/v1/thumbnails/{digest}", items.thumbnail, media_type="image/jpeg", errors=(404, 413, 415, 422)),
    Route("GET", "/v1/info", admin.info, public=True),
    Route("POST", "/v1/session", admin.session, status=204, public=True, errors=(408, 413, 415, 429)),
    Route("GET", "/healthz", admin.healthz, public=True),
    Route("GET", "/readyz", admin.readyz, public=True),
    Route("GET", "/metrics", admin.metrics, media_type="text/plain"),
    Route("GET", "/openapi.json", openapi, media_type="application/json", public=True),
    Route("GET", "/", admin.page, media_type="text/html", public=True),
    Route("GET", "/page/{file}", admin.page_file, media_type="text/html", public=True, errors=(404,)),
)
"""Every path that is served."""

_DOCUMENT = openapi_document(ROUTES)


def create_app(options: ServeOptions) -> ASGIApp:
    """Return the ASGI application that serves the store of *options*; opens the store, and raises StoreError.

    The lifespan of the application closes the store. Its loggers are below `vision_recs.serve`; it does not configure
    logging.
    """
    state = AppState(options)
    routes = router(state, ROUTES, default=_not_found)
    general = RequestMiddleware(routes, state, public=frozenset(route.path for route in ROUTES if route.public))
    app: ASGIApp = FusedQueries(general, state)
    if options.cors_origins:
        app = CORSMiddleware(  # outermost: a preflight request has no token, and a browser reads errors too
            app,
            allow_origins=options.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "if-none-match", "x-request-id"],
            expose_headers=["etag", "x-request-id", "retry-after"],
            max_age=600,
        )
    return _with_lifespan(app, state)


def _with_lifespan(app: ASGIApp, state: AppState) -> ASGIApp:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await state.start()
        try:
            yield
        finally:
            await state.stop()

    lives = Router(lifespan=lifespan)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await (lives if scope["type"] == "lifespan" else app)(scope, receive, send)

    return serve


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
    raise RequestError(f"the path {scope['path'][:200]!r} does not exist; see /openapi.json", status=404)

"""Handlers: information about the server, health checks, metrics, the login of a browser, and the web page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import UNSET
from starlette.responses import Response

from vision_recs._version import __version__
from vision_recs.encoders.registry import supports_text
from vision_recs.errors import RequestError
from vision_recs.serve import metrics as prometheus
from vision_recs.serve.auth import COOKIE
from vision_recs.serve.proxies import ROOT
from vision_recs.serve.routing import Context
from vision_recs.serve.schemas import AnyParameters, Health, Info, NoParameters, PagePath, Readiness, Session

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


async def info(context: Context, parameters: NoParameters) -> Info:  # noqa: ARG001
    """Describe the store that is served, its encoder, and what queries may contain."""
    options, auth_required = context.state.options, context.state.auth.is_required
    if not context.is_authenticated:
        return Info(auth_required)
    facts = context.snapshot.facts
    return Info(
        auth_required,
        version=__version__,
        **facts._asdict(),
        supports_text=supports_text(facts.encoder),
        accepts_image_urls=options.allow_urls,
        keeps_events=context.state.recorder is not None and (options.events_key is None or auth_required),
        weak_below=UNSET if context.snapshot.weak_below is None else context.snapshot.weak_below,
    )


async def healthz(context: Context, parameters: AnyParameters) -> Health:  # noqa: ARG001
    """Report that the server is alive (liveness)."""
    return Health("ok")


async def readyz(context: Context, parameters: AnyParameters) -> Readiness:  # noqa: ARG001
    """Report that the server answers requests (readiness), and why not from the newest generation, if so."""
    if not context.is_authenticated:
        return Readiness("ready")
    return Readiness("ready", context.snapshot.items.generation, context.state.reloader.reload_error)


async def metrics(context: Context, parameters: AnyParameters) -> Response:  # noqa: ARG001
    """Return metrics for Prometheus: requests and their durations, queues, the generation."""
    context.state.update_gauges()
    return Response(context.state.metrics.text(), headers={"content-type": prometheus.CONTENT_TYPE})


async def session(context: Context, parameters: NoParameters, body: Session) -> Response:  # noqa: ARG001
    """Exchange the token for a session cookie: a browser cannot send the token in a header when it loads images."""
    auth = context.state.auth
    if not auth.is_token(body.token):
        await auth.reject(context.request.scope)
    response = Response(None, 204, {"cache-control": "no-store"})
    if auth.is_required:
        secure = context.request.url.scheme == "https"
        path = f"{context.request.scope[ROOT]}/"
        response.set_cookie(COOKIE, auth.session_cookie, path=path, httponly=True, samesite="strict", secure=secure)
    return response


async def page(context: Context, parameters: AnyParameters) -> Response:  # noqa: ARG001
    """Return the web page."""
    return await page_file(context, PagePath("index.html"))


async def page_file(context: Context, parameters: PagePath) -> Response:
    """Return a file of the web page."""
    found = page_files().get(parameters.file)
    if found is None:
        raise RequestError(f"the page has no file {parameters.file[:200]!r}", status=404)
    data, etag = found
    headers = {"etag": etag, "cache-control": "no-cache"}
    if context.request.headers.get("if-none-match") == etag:
        return Response(None, 304, headers)
    return Response(data, media_type=_MEDIA_TYPES[parameters.file.rpartition(".")[2]], headers=headers)


@cache
def page_files() -> dict[str, tuple[bytes, str]]:
    """Return each file of the page by its name, with its ETag."""
    found = {}
    for file in files("vision_recs.serve").joinpath("page").iterdir():
        if file.name.rpartition(".")[2] in _MEDIA_TYPES:
            data = file.read_bytes()
            found[file.name] = data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    return found

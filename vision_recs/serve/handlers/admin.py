"""Handlers: what is served, whether it works, and the page."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.responses import Response

from vision_recs._version import __version__
from vision_recs.encoders.text import reads_text
from vision_recs.errors import RequestError
from vision_recs.serve import metrics as prometheus
from vision_recs.serve.routing import Call
from vision_recs.serve.schemas import Health, Info, NoParameters, PageParameters, PagePath, Readiness, Session

COOKIE: Final = "visrec"
_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


async def info(call: Call, parameters: NoParameters) -> Info:  # noqa: ARG001
    """Tell what is served: the index, its encoder, and what may be asked."""
    store, options = call.edition.store, call.service.options
    manifest = store.manifest
    return Info(
        visrec=__version__,
        generation=manifest.generation,
        created=manifest.created,
        items=manifest.items,
        images=manifest.images,
        dim=store.dim,
        encoder=manifest.encoder.name,
        fingerprint=store.fingerprint,
        index_type=manifest.index_type,
        recall_at_10=manifest.recall_at_10,
        reads_text=reads_text(manifest.encoder.name),
        takes_urls=options.allow_urls,
        needs_token=options.token is not None,
    )


async def healthz(call: Call, parameters: NoParameters) -> Health:  # noqa: ARG001
    """Tell that the server is alive."""
    return Health("ok")


async def readyz(call: Call, parameters: NoParameters) -> Readiness:  # noqa: ARG001
    """Tell whether requests are answered, by which generation, and why not by the newest one."""
    return Readiness("ready", call.edition.store.generation, call.service.shop.refused)


async def metrics(call: Call, parameters: NoParameters) -> Response:  # noqa: ARG001
    """Give figures to Prometheus: latencies by route, the generation, rows, and what waits."""
    call.service.gauge()
    return Response(call.service.metrics.text(), headers={"content-type": prometheus.CONTENT_TYPE})


async def session(call: Call, parameters: NoParameters, body: Session) -> Response:  # noqa: ARG001
    """Let a browser in that has the token: images cannot be asked for with a header, but with a cookie."""
    token = call.service.options.token
    if token is not None and not is_right(body.token, token):
        raise RequestError("the token is wrong; ask who runs this server", status=401)
    response = Response(None, 204, {"cache-control": "no-store"})
    if token is not None:
        secure = call.request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie_of(token), httponly=True, samesite="strict", secure=secure)
    return response


async def page(call: Call, parameters: PageParameters) -> Response:  # noqa: ARG001
    """Show the web page."""
    return await page_file(call, PagePath("index.html"))


async def page_file(call: Call, parameters: PagePath) -> Response:
    """Give a file of the web page."""
    found = _page().get(parameters.file)
    if found is None:
        raise RequestError(f"the page has no file {parameters.file!r}", status=404)
    data, etag = found
    headers = {"etag": etag, "cache-control": "no-cache"}
    if call.request.headers.get("if-none-match") == etag:
        return Response(None, 304, headers)
    return Response(data, media_type=_TYPES[parameters.file.rpartition(".")[2]], headers=headers)


def is_right(given: str, token: str) -> bool:
    """Whether *given* is the *token*; the time that it takes says nothing about either."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(token.encode()).digest())


def cookie_of(token: str) -> str:
    """Return what a browser keeps that has the token: enough to be let in, but not the token."""
    return hmac.digest(token.encode(), b"a visrec session", "sha256").hex()


@cache
def _page() -> dict[str, tuple[bytes, str]]:
    """Return the files of the page by name, each with its ETag."""
    found = {}
    for file in files("vision_recs.serve").joinpath("page").iterdir():
        if file.name.rpartition(".")[2] in _TYPES:
            data = file.read_bytes()
            found[file.name] = data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    return found

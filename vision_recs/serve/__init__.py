"""Serving: an HTTP application over a published store, and its web page.

options server       what is served and how; the processes that do it
application routing  the routes, and what calls their handlers; openapi describes them, problems says what went wrong
similar catalog    the handlers: similar items; items, facets and thumbnails; operation: what is served, and the page
messages asking      what travels as JSON; from there to a `Query` and a `Policy`, and back
service lanes        what handlers share; a thread for each kind of work, with a bounded queue
gathering            the lane of queries, on which those that wait are answered together
shop editions        the generation that answers, and how another one replaces it; remembered: its items in memory
lookup facets        what is derived from the items: their words and values; thumbnails: small images, made once
bodies urls          what strangers send, within limits; images from public addresses
front metrics logs   every request: token, request id, headers, figures, a line of JSON
page/                the page: HTML, CSS and JavaScript as a browser reads them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.serve.app import create_app
    from vision_recs.serve.options import Limits, ServeOptions
    from vision_recs.serve.server import Address, serve

_HOMES = {
    "Address": "server",
    "Limits": "options",
    "ServeOptions": "options",
    "create_app": "app",
    "serve": "server",
}

__all__ = ["Address", "Limits", "ServeOptions", "create_app", "serve"]

__getattr__ = lazy_names(__name__, _HOMES)

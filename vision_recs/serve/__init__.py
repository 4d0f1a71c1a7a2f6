"""The HTTP server: an ASGI application over a store, its web page, and the processes that run it.

options       `ServeOptions` and `Limits`: timeouts, bounds on bodies and on waiting requests (rate limits)
server        the processes: a supervisor and its workers (granian), the port, signals
workers       how a worker begins, and what is logged of its end
following     stores in buckets: a process that keeps their copies up to date
connections   how many connections there may be, and how many of them a client may have
proxies       who the client of a request is that came through a trusted proxy (X-Forwarded-For)
app           the routes, and `create_app`, which puts the application together
fused         queries by id in front of all that follows, and `id_answers`, the bytes of their answers, `kept_answers`
              where answers are kept; `id_search` finds the images around ids, `shown_items` knows who shows them
middleware    around every request: request id, authentication, security headers, errors, metrics, the request log
auth          tokens, session cookies, allowed hosts
routing       from a request to the typed arguments of a handler; validation, ETags (caching by browsers and proxies)
schemas       the JSON of requests and responses; `openapi` makes the OpenAPI document of them
errors        problem details (RFC 9457) and the HTTP status of each error
handlers/     similar (queries), events (of shoppers), for_you, items (items, changes, facets, thumbnails), admin (info,
              health, metrics, login)
answering     answers that are kept: ids, arms, exploration; "for you"
choices       what the answers of late were chosen from, kept for whoever asks for the same next
candidate     another store, for a share of the shoppers
recording     the folder of events, as long as it can be written to
shoppers      histories and what is liked, from the log, read in the background
convert       between schemas and the types of the library
uploads       bodies with JSON, images and forms; `fetch` downloads images from URLs
state         what handlers share in a worker
updates       changes of items: a queue, and one thread that makes what waits one generation
executors     a thread and a bounded queue for each kind of work; batching of queries that wait
served        a generation that is open to answer requests; `references` says when it closes
reloader      its replacement by a new generation, which `store_source` opens, or `engine_source`
cached_items  the items of a store, cached in memory; `served_partitions` are those of several stores
item_search   full-text search; `search_files` caches it on disk; `facets` counts the attributes, `listing` lists items
              (`search_builder`: built by a process of its own)
prices        what shoppers pay, by which lists are sorted and facets count
weak_matches  how low a score is for a match to be weak
thumbnails    small JPEGs of images, cached on disk
metrics       metrics for Prometheus; `logs` formats the log as JSON
page/         the web page: HTML, CSS and JavaScript, without a build step
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

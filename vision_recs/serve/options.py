"""What a server serves, to whom, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vision_recs.recommend import Policy
from vision_recs.store.partitions import Stores
from vision_recs.types import ImageSource

DEFAULT_SHARE = 0.1
"""The share of the shoppers who are answered from a candidate, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost. The defaults suit a shop.

    *max_json_bytes* and *max_image_bytes* bound the body of a request, *max_pixels* an image before it is decoded, and
    *max_decode_s* the processor time that decoding takes.
    A body has to arrive within *body_timeout_s* seconds, and an answer has to be ready within *answer_timeout_s*.
    *max_update_bytes* bounds a body with changes of items, of which eight times as many bytes may wait, and
    *max_event_bytes* one with events.
    *max_bodies* may arrive at the same time, a quarter of them from one client (429). *max_pending* bounds each queue
    of `executors`, and *max_uploads* those of images and of downloads, of which each holds a large body in memory.
    A request beyond these bounds gets the status 503 and the header Retry-After.
    """

    max_json_bytes: int = 1 << 20
    max_image_bytes: int = 20 << 20
    max_update_bytes: int = 4 << 20
    max_event_bytes: int = 256 << 10
    max_pixels: int = 40_000_000
    max_decode_s: float = 5.0
    body_timeout_s: float = 20.0
    answer_timeout_s: float = 30.0
    max_bodies: int = 128
    max_pending: int = 256
    max_uploads: int = 8


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The *store* to serve, or several as one, and how; an *engine* is served in its place, and changes nothing.

    *policy* applies to every answer; a request may override all of it except the rules. *weights* and *device* are for
    the encoder. It is loaded by the first query that brings an image or a text, or at the start with *preload*. With a
    *token* only requests that bring the token are answered; without one nobody can change items over HTTP. *images*
    reads the images of the items, for thumbnails and for changes, where they do not lie in files as the catalog had
    them. Else only files below *images_below* are read, by default the folder of the catalog; changes name images in
    buckets only below it, too. Images at web addresses are fetched from public hosts, or also from private networks
    with *allow_private_addresses*. *allowed_hosts* are the
    host names that requests may name, such as "shop.example" or "*.shop.example"; without any, every name is allowed.
    *trusted_proxies* are networks, such as "10.0.0.0/8", whose headers say who the client of a request is, and below
    which path it sees the server; *root_path* is that path, such as "/shop", where they do not say it.
    *cors_origins* are the web sites whose pages may call the API. With *allow_urls* a query may name images by their
    URLs, which the server downloads. With *log_requests* every request is logged, else only those that fail or are
    slow. The store is checked for a new generation every *poll_interval_s* seconds.

    In the folder *events*, what was answered and what shoppers did is kept. Events may bring the *events_key*, which
    pages of the shop can hold, in place of the token. The *candidate_share*, from 0 to 1, of the shoppers is answered
    from the store *candidate*, as long as that did not end: see `feedback.candidates`.
    """

    store: Stores
    policy: Policy = field(default_factory=Policy)
    weights: Path | None = None
    device: str = "auto"
    preload: bool = False
    images: ImageSource | None = field(default=None, repr=False)
    images_below: str | Path | None = None
    allow_private_addresses: bool = False
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    root_path: str = ""
    cors_origins: tuple[str, ...] = ()
    allow_urls: bool = False
    log_requests: bool = False
    poll_interval_s: float = 0.25
    engine: str | None = None
    events: Path | None = None
    events_key: str | None = field(default=None, repr=False)
    candidate: Path | None = None
    candidate_share: float = DEFAULT_SHARE
    limits: Limits = field(default_factory=Limits)

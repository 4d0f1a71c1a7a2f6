"""What is served, to whom, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vision_recs.recommend import Policy


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost; `ServeOptions` has those that suit a shop.

    *json_bytes* and *image_bytes* bound a body, *pixels* an image before it is decoded, *images* those of one
    query, *k* the items of one answer. *body_s* is how long a body may take to arrive, *answer_s* how long an answer
    may take to be made. Of each kind of work (see `lanes`) *waiting* requests may wait, those that bring images
    *uploads*; more are turned away.
    """

    json_bytes: int = 1 << 20
    image_bytes: int = 20 << 20
    pixels: int = 40_000_000
    images: int = 8
    k: int = 1_000
    body_s: float = 20.0
    answer_s: float = 30.0
    waiting: int = 256
    uploads: int = 8


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The *store* to answer from, and how.

    *policy* holds for every answer; a request may overrule all of it but its rules. *weights* and *device* are for the
    encoder, which is loaded with the first image or text, or at the start if it is to be preloaded: *preload*. With a *token* only
    who brings it is answered. *origins* are the web sites whose pages may ask. With *allow_urls* a query may name
    images by their addresses. *poll_s* is how often the store is looked at for a new generation.
    """

    store: Path
    policy: Policy = field(default_factory=Policy)
    weights: Path | None = None
    device: str = "auto"
    preload: bool = False
    token: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    allow_urls: bool = False
    log_requests: bool = False
    poll_s: float = 1.0
    limits: Limits = field(default_factory=Limits)

"""What all handlers share: the shop, the lanes, the figures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from vision_recs._version import __version__
from vision_recs.errors import RequestError
from vision_recs.serve import convert
from vision_recs.serve.batching import GatheringLane
from vision_recs.serve.executors import Lane
from vision_recs.serve.item_search import Lookup
from vision_recs.serve.metrics import Metrics
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.reloader import Shop
from vision_recs.serve.schemas import QueryBody, Similar
from vision_recs.serve.snapshots import Edition
from vision_recs.serve.thumbnails import Thumbnails

_LOOKUP_S, _LOOKED_EVERY_S = 10.0, 0.05


class Service:
    """One worker's server, from its start to its end.

    Answers, images (and words) that an encoder has to read, thumbnails, and addresses each have a lane.
    """

    def __init__(self, options: ServeOptions) -> None:
        """Open the store; raises StoreError."""
        limits = options.limits
        self.options = options
        self.shop = Shop(options)
        self.metrics = Metrics()
        self.answers = GatheringLane("answers", self._answer_all, most=limits.waiting, timeout_s=limits.answer_s)
        self.images = Lane("images", most=limits.uploads, timeout_s=limits.answer_s)
        self.small = Lane("thumbnails", most=limits.waiting, timeout_s=limits.answer_s)
        self.addresses = Lane("addresses", most=limits.uploads, timeout_s=limits.answer_s)
        self.thumbnails = Thumbnails(pixels=limits.pixels)
        self._uploading = 0
        self._watching: asyncio.Task[None] | None = None
        # what else an answer depends on: another visrec or other rules make another one of the same generation
        rules = f"{__version__} {sorted(options.policy.exclude)} {replace(options.policy, exclude=frozenset())!r}"
        self._made_by = hashlib.sha256(rules.encode()).hexdigest()[:8]
        self.cache_control = "no-cache" if options.token is None else "private, no-cache"

    async def start(self) -> None:
        """Load what is wished for at the start, and watch the store."""
        await self.shop.start()
        self.gauge()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching and close the store."""
        if self._watching is not None:
            self._watching.cancel()
        for lane in self.lanes:
            lane.close()
        self.shop.close()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes."""
        return self.answers, self.images, self.small, self.addresses

    def etag(self, edition: Edition) -> str:
        """Return the ETag of all answers from *edition*."""
        return f'"{edition.version}-{self._made_by}"'

    async def lookup(self, edition: Edition) -> Lookup:
        """Return the words and facets of *edition*, once they are ready; raises RequestError 503."""
        for _ in range(int(_LOOKUP_S / _LOOKED_EVERY_S)):
            if edition.lookup is not None:
                return edition.lookup
            if edition.lookup_error is not None:
                raise edition.lookup_error
            await asyncio.sleep(_LOOKED_EVERY_S)
        raise RequestError(
            "the words of this generation are still being read; try again in some seconds", status=503, retry_after_s=5
        )

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Count a request that brings images; raises RequestError 503 where there are too many, as they are large."""
        if self._uploading >= self.options.limits.uploads:
            raise RequestError(
                f"{self._uploading} requests bring images already; try again in a second", status=503, retry_after_s=1
            )
        self._uploading += 1
        try:
            yield
        finally:
            self._uploading -= 1

    async def look(self) -> None:
        """Take the newest generation where there is another one, and write down how things are."""
        taken = await self.shop.look()
        if taken is not None:
            self.metrics.reload(taken=taken)
        self.gauge()

    def _answer_all(self, edition: Edition, bodies: Sequence[QueryBody]) -> list[Similar | Exception]:
        return convert.answer_all(edition.recommender, bodies, self.options.policy)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.options.poll_s)
            await self.look()

    def gauge(self) -> None:
        """Bring the figures of what is, not of what happened, up to date."""
        manifest = self.shop.edition.store.manifest
        self.metrics.generation(manifest.generation, rows=manifest.images, items=manifest.items)
        for lane in self.lanes:
            self.metrics.waiting(lane.name, lane.waiting)

"""The state of a worker that all handlers share: the store that is served, executors, metrics, the thumbnail cache."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time
from typing import Final, TypeVar

from vision_recs._version import __version__
from vision_recs.errors import RequestError, VisionRecsError
from vision_recs.feedback.answers import hour_of
from vision_recs.feedback.records import Event
from vision_recs.images import DecoderProcess
from vision_recs.recommend import Weighted
from vision_recs.serve import convert
from vision_recs.serve.answering import Answering, Asked, KeptQuery
from vision_recs.serve.auth import TokenAuth
from vision_recs.serve.candidate import Candidate
from vision_recs.serve.executors import BatchingExecutor, BoundedExecutor
from vision_recs.serve.facets import ItemFacets
from vision_recs.serve.id_search import IdQuery
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.metrics import Metrics
from vision_recs.serve.options import Limits, ServeOptions
from vision_recs.serve.recording import Recorder
from vision_recs.serve.reloader import Reloader
from vision_recs.serve.schemas import QueryBody, SimilarItems
from vision_recs.serve.served import Served
from vision_recs.serve.shoppers import Shoppers
from vision_recs.serve.thumbnails import Fetch, Thumbnails
from vision_recs.serve.updates import Updates
from vision_recs.serve.uploads import Bodies

T = TypeVar("T")

_SEARCH_TIMEOUT_S, _SEARCH_POLL_S = 10.0, 0.05
_FETCHES: Final = 8  # at the same time: a slow host holds up few others
_BYTES_PER_PIXEL: Final = 16  # the most that any format takes while it is decoded


class AppState:
    """One worker of a server, from its start to its end.

    There is an executor for queries without images or texts, one for lists and facets, which may take longer, one for
    images (and texts), which the encoder has to read, one for thumbnails, one for the images of thumbnails that are at
    addresses, and one for downloads.
    """

    def __init__(self, options: ServeOptions) -> None:
        """Open the store; raises StoreError."""
        limits = options.limits
        self.options = options
        self.auth = TokenAuth(options.token)
        self.bodies = Bodies(limits)
        self._decoder, self._thumbnail_decoder = _decoder(limits), _decoder(limits)  # neither waits for the other
        self.reloader = Reloader(options, partial(self._decoder.load, max_pixels=limits.max_pixels))
        self.metrics = Metrics()
        self.queries = BoundedExecutor("queries", max_pending=limits.max_pending, timeout_s=limits.answer_timeout_s)
        self.query_batches = BatchingExecutor(self.queries, self._query_batch)
        self.id_batches = BatchingExecutor(self.queries, _id_batch)
        self.lists = BoundedExecutor("lists", max_pending=limits.max_pending, timeout_s=limits.answer_timeout_s)
        self.images = BoundedExecutor("images", max_pending=limits.max_uploads, timeout_s=limits.answer_timeout_s)
        self.image_batches = BatchingExecutor(self.images, self._query_batch)
        self.thumbnailing = BoundedExecutor(
            "thumbnails", max_pending=limits.max_pending, timeout_s=limits.answer_timeout_s
        )
        self.fetches = BoundedExecutor(
            "fetches", max_pending=limits.max_pending, timeout_s=limits.answer_timeout_s, threads=_FETCHES
        )
        self.downloads = BoundedExecutor("downloads", max_pending=limits.max_uploads, timeout_s=limits.answer_timeout_s)
        self.thumbnails = Thumbnails(self._thumbnail_decoder, max_pixels=limits.max_pixels)
        self.updates = Updates(options, lambda: self.reloader.snapshot, self.metrics)
        self._polling: asyncio.Task[None] | None = None
        self._published = asyncio.Event()
        # Another version of visrec or other rules may answer differently from the same generation.
        settings = f"{__version__} {sorted(options.policy.exclude)} {replace(options.policy, exclude=frozenset())!r}"
        self._settings_digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        self.cache_control = "no-cache" if options.token is None else "private, no-cache"
        self.recorder: Recorder | None = None
        self.shoppers: Shoppers | None = None
        self.answering: Answering | None = None
        if options.events is not None:
            self.recorder = Recorder(options.events, self.metrics, worker=str(os.getpid()))
            self.shoppers = Shoppers(options.events)
            self.answering = Answering(self.recorder, self.shoppers, options.policy, self._settings_digest)
        self.candidate: Candidate | None = None
        if options.candidate is not None and options.events is not None:
            load_image = partial(self._decoder.load, max_pixels=limits.max_pixels)
            self.candidate = Candidate(options, options.candidate, options.events, load_image)
        self.answer_batches = BatchingExecutor(self.queries, self._answer_batch)
        self.image_answer_batches = BatchingExecutor(self.images, self._answer_batch)
        self.recording = BoundedExecutor("events", max_pending=limits.max_pending, timeout_s=limits.answer_timeout_s)
        self.kept_batches = BatchingExecutor(self.queries, self._kept_batch)
        self.event_batches = BatchingExecutor(self.recording, self._event_batch)
        self._batches = (
            self.query_batches,
            self.image_batches,
            self.id_batches,
            self.answer_batches,
            self.image_answer_batches,
            self.kept_batches,
            self.event_batches,
        )

    async def start(self) -> None:
        """Load the encoder if it is to be preloaded, and poll the store for new generations from now on."""
        await self.reloader.start()
        if self.candidate is not None:
            await self.candidate.start()
        self.update_gauges()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Finish the changes that are being made, stop polling and close the store."""
        await self.updates.close()
        if self._polling is not None:
            self._polling.cancel()
        for batches in self._batches:
            batches.close()
        for executor in self.executors:
            executor.close()
        self._decoder.close()
        self._thumbnail_decoder.close()
        self.reloader.close()
        if self.candidate is not None:
            self.candidate.close()
        if self.recorder is not None and self.shoppers is not None:
            self.shoppers.close()
            self.recorder.close()

    @property
    def executors(self) -> tuple[BoundedExecutor, ...]:
        """All executors that have a queue."""
        return self.queries, self.lists, self.images, self.thumbnailing, self.fetches, self.downloads, self.recording

    @staticmethod
    def now() -> float:
        """Return the time by the server's clock, in seconds since 1970: all its answers and events are of its hours."""
        return time()

    def etag(self, snapshot: Served, *, hourly: bool = False, time: float | None = None) -> str:
        """Return the ETag of every cacheable answer from *snapshot*; an *hourly* one, if it is kept, ends in an hour.

        It was asked for at *time*, or now. So whoever keeps answers asks again in the next hour, and each answer is
        counted once in its hour.
        """
        hour = f"-{hour_of(self.now() if time is None else time)}" if hourly and self.answering is not None else ""
        other = None if self.candidate is None or not hourly else self.candidate.snapshot
        return f'"{snapshot.version}-{self._settings_digest}{hour}{"" if other is None else "-" + other.version}"'

    def assign(self, snapshot: Served, asked: Asked) -> tuple[Served, Asked]:
        """Return what *asked* is answered from: *snapshot*, or the candidate for a share of the shoppers."""
        other = None if self.candidate is None else self.candidate.snapshot
        if other is None or self.answering is None:
            return snapshot, asked
        if not self.answering.is_for_candidate(asked, self.options.candidate_share):
            return snapshot, asked
        return other, replace(asked, for_candidate=True)

    async def thumbnail(self, snapshot: Served, digest: str, side: int) -> bytes:
        """Return the image of *snapshot* with *digest* as a small JPEG; see `Thumbnails.get`."""
        run = self.thumbnailing.run
        found = await run(snapshot, self._found_thumbnail, snapshot, digest, side)
        if isinstance(found, bytes):
            return found
        image = await self.fetches.run(snapshot, found.image)  # while other thumbnails are made
        return await run(snapshot, self.thumbnails.make, image, digest, side)

    def _found_thumbnail(self, snapshot: Served, digest: str, side: int) -> bytes | Fetch:
        items, images = snapshot.opened.part_with(digest)
        other = None if self.candidate is None else self.candidate.snapshot
        if other is not None and items.image_with(digest) is None:
            items, images = other.opened.part_with(digest)
        return self.thumbnails.get(items, images, digest, side)

    async def item_search(self, snapshot: Served) -> ItemSearch:
        """Return the item search of *snapshot* once it is ready; raises RequestError 503."""
        return await self._ready(snapshot, lambda: snapshot.item_search)

    async def item_facets(self, snapshot: Served) -> ItemFacets:
        """Return the facets of *snapshot*, and its items as the rows of a table, as `item_search` does."""
        return await self._ready(snapshot, lambda: snapshot.facets)

    async def _ready(self, snapshot: Served, get: Callable[[], T | None]) -> T:
        for _ in range(int(_SEARCH_TIMEOUT_S / _SEARCH_POLL_S)):
            found = get()
            if found is not None:
                return found
            if snapshot.item_search_error is not None:
                raise snapshot.item_search_error
            await asyncio.sleep(_SEARCH_POLL_S)
        raise RequestError(
            "the item search of this generation is not ready yet; try again in some seconds",
            status=503,
            retry_after_s=5,
        )

    def wake(self) -> None:
        """Look for a new generation now: this worker has published one."""
        self._published.set()

    async def reload(self) -> None:
        """Load the published generation if it is another one, and update the metrics."""
        success = await self.reloader.reload()
        if success is not None:
            self.metrics.count_reload(success=success)
        self.update_gauges()

    def update_gauges(self) -> None:
        """Set the metrics that describe the present, not what has happened."""
        facts = self.reloader.snapshot.facts
        self.metrics.set_generation(facts.generation, images=facts.images, items=facts.items)
        for executor in self.executors:
            self.metrics.set_queue_depth(executor.name, executor.pending)
        self.metrics.set_queue_depth("updates", self.updates.pending)

    def _query_batch(
        self, snapshot: Served, asked: Sequence[tuple[QueryBody, Sequence[Weighted[bytes]]]]
    ) -> list[SimilarItems | Exception]:
        return convert.query_batch(snapshot, asked, self.options.policy)

    def _answer_batch(self, snapshot: Served, asked: Sequence[Asked]) -> list[SimilarItems | Exception]:
        assert self.answering is not None
        return self.answering.batch(snapshot, asked)

    def _kept_batch(self, snapshot: Served, asked: Sequence[KeptQuery]) -> Sequence[bytes | Exception | None]:
        assert self.answering is not None
        try:
            return self.answering.by_id(snapshot, asked)
        except VisionRecsError:  # the general path says which query it is
            return [None] * len(asked)

    def _event_batch(self, _: Served, batches: Sequence[Sequence[Event]]) -> list[int | Exception]:
        assert self.recorder is not None
        return self.recorder.keep_events(batches)

    async def _poll(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._published.wait(), self.options.poll_interval_s)
            self._published.clear()
            await self.reload()
            if self.candidate is not None:
                await self.candidate.reload()
            if self.shoppers is not None:
                self.shoppers.refresh()


def _id_batch(snapshot: Served, queries: Sequence[IdQuery]) -> Sequence[bytes | Exception | None]:
    try:
        return [None] * len(queries) if snapshot.ids is None else snapshot.ids.batch(queries)
    except VisionRecsError:  # the general path says which query it is
        return [None] * len(queries)


def _decoder(limits: Limits) -> DecoderProcess:
    return DecoderProcess(max_seconds=limits.max_decode_s, max_bytes=limits.max_pixels * _BYTES_PER_PIXEL)

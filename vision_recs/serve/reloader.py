"""The generation that is served, and its replacement: a new one takes over while requests go on.

A `Served` generation stays open until the last request that uses it has ended. The `Reloader` replaces it when another
one is published, but only after that was verified and has answered a query.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from vision_recs.errors import StoreError
from vision_recs.recommend import Recommender
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.search_builder import SearchBuilder
from vision_recs.serve.served import Generation, Served

if TYPE_CHECKING:
    from vision_recs.recommend.query_encoder import LoadImage

log = logging.getLogger(__name__)

_RETRY_S = 30.0
_QUIET_S = 10.0  # where changes come all the time, their generations do not fill the log


class Source(Protocol):
    """What is served: it knows which generation is published, and opens it."""

    @property
    def poll_interval_s(self) -> float:
        """How often at most it is asked what is published: a question may cost something."""
        ...

    def current(self, opened: Generation) -> object:
        """Return what says which generation is published; *opened* is one that is open. Raises StoreError and others.

        It equals what `open` returned with a generation as long as that is the published one.
        """
        ...

    def open(self, before: Generation | None = None) -> tuple[object, Generation]:
        """Open the published generation, and return what says that it is published, and the generation.

        With the generation *before*, what is new since is verified, and what both share is not opened again.
        """
        ...


class Reloader:
    """The published generation of what is served: *snapshot* answers, and each new generation replaces it.

    *reload_error* is why the newest generation is not served, or None. *needs_encoder* is whether queries have brought
    images, so that a new generation needs its encoder before it takes over.
    """

    def __init__(self, options: ServeOptions, load_image: LoadImage | None = None) -> None:
        """Open what *options* serve; *load_image* decodes the images of queries. Raises StoreError and EngineError."""
        self._options = options
        self._load_image = load_image
        self._source = source_of(options)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="visrec-reload")
        self._searches = ThreadPoolExecutor(1, thread_name_prefix="visrec-search")
        self._builder = SearchBuilder()
        self._next_poll = 0.0
        self._failed_at = 0.0
        self._logged_at = -_QUIET_S
        self._failed_current: object = None
        current, opened = self._source.open()
        self.snapshot = Served(opened, current, options, load_image)
        self.reload_error: str | None = None
        self.needs_encoder = options.preload

    async def start(self) -> None:
        """Load what the first answers need, and begin to load what they do not."""
        loop = asyncio.get_running_loop()
        with suppress(StoreError):  # which tells the queries that need it
            await loop.run_in_executor(self._background, self.snapshot.warm)
        if self._options.preload:
            await loop.run_in_executor(self._background, load_encoder, self.snapshot.recommender)
        self._load_item_search(self.snapshot)

    async def reload(self) -> bool | None:
        """Load the published generation if it is another one.

        Returns True if it took over, False if it failed for the first time, and None if there is nothing new.
        """
        if monotonic() < self._next_poll:
            return None
        self._next_poll = monotonic() + self._source.poll_interval_s
        loop = asyncio.get_running_loop()
        try:
            current = await loop.run_in_executor(self._background, self._source.current, self.snapshot.opened)
        except Exception as error:  # noqa: BLE001 - as below
            return self._fail(error, None)
        if current == self.snapshot.current:
            self.reload_error = None
            self._retry_item_search(self.snapshot)
            return None
        if current == self._failed_current and monotonic() < self._failed_at + _RETRY_S:
            return None
        try:
            snapshot, is_searchable = await loop.run_in_executor(self._background, self._open_tried)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new generation, the old one goes on
            return self._fail(error, current)
        self._replace(snapshot)
        if not is_searchable:
            self._load_item_search(snapshot)
        return True

    def close(self) -> None:
        """Stop loading; what is open is closed with the last request."""
        self._background.shutdown(wait=False, cancel_futures=True)
        self._searches.shutdown(wait=False, cancel_futures=True)
        self._builder.close()
        self.snapshot.release()

    def _replace(self, snapshot: Served) -> None:
        before, self.snapshot = self.snapshot, snapshot
        self.reload_error = None
        before.release()
        log.log(
            logging.INFO if monotonic() > self._logged_at + _QUIET_S else logging.DEBUG,
            "generation %d replaces generation %d",
            snapshot.facts.generation,
            before.facts.generation,
            extra={"event": "reload", "generation": snapshot.facts.generation},
        )
        self._logged_at = monotonic()

    def _load_item_search(self, snapshot: Served) -> None:
        """Begin to load the item search of *snapshot*, unless another snapshot is served by then."""

        def load() -> None:
            if self.snapshot is snapshot:
                snapshot.load_item_search(self._builder)

        snapshot.acquire()
        self._searches.submit(load).add_done_callback(lambda _: snapshot.release())

    def _retry_item_search(self, snapshot: Served) -> None:
        """Load the item search of *snapshot* again some time after that has failed."""
        if snapshot.item_search_error is not None and monotonic() > snapshot.search_failed_at + _RETRY_S:
            snapshot.search_failed_at = monotonic() + _RETRY_S  # not again until this attempt has ended
            self._load_item_search(snapshot)

    def _open_tried(self) -> tuple[Served, bool]:
        """Return the published generation, verified and ready, and whether its item search is too."""
        before = self.snapshot
        current, opened = self._source.open(before.opened)
        snapshot = Served(opened, current, self._options, self._load_image)
        try:
            _try(snapshot, before)
            is_searchable = snapshot.inherit(before)
            snapshot.warm()
            if self.needs_encoder:
                load_encoder(snapshot.recommender)
        except BaseException:
            snapshot.release()
            raise
        return snapshot, is_searchable

    def _fail(self, error: Exception, current: object) -> bool | None:
        is_known = self.reload_error == str(error)
        self.reload_error, self._failed_current, self._failed_at = str(error), current, monotonic()
        if is_known:
            return None
        generation = self.snapshot.facts.generation
        log.error(
            "the newest generation cannot be served, generation %d stays: %s",
            generation,
            error,
            extra={"event": "reload_failed", "generation": generation},
        )
        return False


def source_of(options: ServeOptions) -> Source:
    """Return what *options* serve; nothing is opened yet, but an engine is not imported before it is needed."""
    if options.engine is None:
        from vision_recs.serve.store_source import StoreSource

        return StoreSource(options)
    from vision_recs.serve.engine_source import EngineSource

    return EngineSource(options.engine, options)


def load_encoder(recommender: Recommender) -> None:
    """Load the encoder of *recommender* by a query with the canary image; raises EncoderError and SpaceMismatch."""
    from io import BytesIO

    from vision_recs import images

    file = BytesIO()
    images.canary_image().save(file, "PNG")
    recommender.similar_to_image(file.getvalue(), k=1)


def _try(snapshot: Served, before: Served) -> None:
    """Ask *snapshot* for an item, and for similar ones unless all that answers this is shared with *before*."""
    for item in snapshot.items.ids(limit=1):
        if snapshot.opened.answers_as(before.opened):
            snapshot.items.images(item)  # without an index, a query would compare all vectors after each change
        else:
            snapshot.recommender.similar(item, k=1)

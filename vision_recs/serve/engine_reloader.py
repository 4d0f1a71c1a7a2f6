"""The published generation of an engine, served as that of a store is: another one takes over while requests go on."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from time import monotonic
from typing import TYPE_CHECKING

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.engines import OpenedEngine, open_engine
from vision_recs.engines.published import CURRENT
from vision_recs.errors import EngineError, StoreUnavailable
from vision_recs.recommend import Recommender
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.options import RemoteOptions
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.reloader import load_encoder
from vision_recs.serve.search_files import open_item_search
from vision_recs.serve.served import facts_of_engine
from vision_recs.types import ImageSource

if TYPE_CHECKING:
    from vision_recs.recommend.query_encoder import LoadImage

log = logging.getLogger(__name__)

_POLL_S = 2.0
"""How often at most the engine is asked for another generation: of a bucket that is some requests."""

_RETRY_S = 30.0


class EngineSnapshot:
    """One generation of an engine, open: what `Snapshot` is for a store."""

    def __init__(self, opened: OpenedEngine, options: ServeOptions, load_image: LoadImage | None) -> None:
        """Own *opened*; *options* name the encoder, and *load_image* decodes the images of queries."""
        self._opened = opened
        self.items = opened.items
        self.facts = facts_of_engine(opened.published)
        self.images = options.images or _images(options)
        self.recommender = Recommender(
            opened.items, opened.index, weights=options.weights, device=options.device, load_image=load_image
        )
        self.token = opened.published.token
        self.item_search: ItemSearch | None = None
        self.search_generation = 0
        self.item_search_error: Exception | None = None
        self.search_failed_at = 0.0
        self._references = 1
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """What names the answers."""
        digest = hashlib.sha256(f"{self.token} {self._opened.published.content}".encode()).hexdigest()[:16]
        return f"{self.facts.generation}-{digest}"

    def acquire(self) -> None:
        """Add a reference."""
        with self._lock:
            self._references += 1

    def release(self) -> None:
        """Remove a reference, from any thread; the last one closes the engine."""
        with self._lock:
            self._references -= 1
            is_last = self._references == 0
        if is_last:
            self._opened.close()

    def is_current(self) -> bool:
        """Whether readers of the engine open this generation; raises EngineError."""
        return self._opened.engine.read_document(CURRENT) == self._opened.published.to_bytes()

    def load_item_search(self) -> None:
        """Open the item search: it is built on this machine from all items of the engine, once for each generation."""
        name = hashlib.sha256(self._opened.published.content.encode()).hexdigest()[:32]
        try:
            self.item_search = open_item_search(self.items, name=name)
            self.search_generation, self.item_search_error = self.facts.generation, None
        except (EngineError, sqlite3.Error, OSError) as error:  # raised where a request needs it
            self.search_failed_at = monotonic()
            self.item_search_error = StoreUnavailable(f"the item search is not available ({error})")
            log.error("the item search is not available (%s)", error, extra={"event": "no_item_search"})  # noqa: TRY400


class EngineReloader:
    """The published generation of an engine: what `Reloader` is for a store."""

    def __init__(self, uri: str, options: ServeOptions, load_image: LoadImage | None = None) -> None:
        """Open the engine at *uri*; raises EngineError."""
        self._uri = uri
        self._options = options
        self._load_image = load_image
        self._background = ThreadPoolExecutor(1, thread_name_prefix="visrec-reload")
        self._searches = ThreadPoolExecutor(1, thread_name_prefix="visrec-search")
        self._next_poll = 0.0
        self.snapshot = EngineSnapshot(open_engine(uri), options, load_image)
        self.reload_error: str | None = None
        self.needs_encoder = options.preload

    async def start(self) -> None:
        """Load the encoder if it is to be preloaded, and begin to load what the first answers do not need."""
        if self._options.preload:
            await asyncio.get_running_loop().run_in_executor(self._background, load_encoder, self.snapshot.recommender)
        self._load_item_search(self.snapshot)

    async def reload(self) -> bool | None:
        """Open the published generation if it is another one: see `Reloader.reload`."""
        if monotonic() < self._next_poll:
            return None
        self._next_poll = monotonic() + max(_POLL_S, self._options.poll_interval_s)
        try:
            snapshot = await asyncio.get_running_loop().run_in_executor(self._background, self._open_other)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new generation, the old one goes on
            return self._fail(error)
        self.reload_error = None
        if snapshot is None:
            self._retry_item_search(self.snapshot)
            return None
        old, self.snapshot = self.snapshot, snapshot
        old.release()
        self._load_item_search(snapshot)
        generation = snapshot.facts.generation
        log.info(
            "generation %d replaces generation %d",
            generation,
            old.facts.generation,
            extra={"event": "reload", "generation": generation},
        )
        return True

    def close(self) -> None:
        """Stop loading; the engine is closed with the last request."""
        self._background.shutdown(wait=False, cancel_futures=True)
        self._searches.shutdown(wait=False, cancel_futures=True)
        self.snapshot.release()

    def _open_other(self) -> EngineSnapshot | None:
        """Return the generation that is published now, which has answered a query, or None where it is the same."""
        if self.snapshot.is_current():
            return None
        snapshot = EngineSnapshot(open_engine(self._uri), self._options, self._load_image)
        try:
            snapshot.recommender.share_encoder(self.snapshot.recommender)
            for item in snapshot.items.ids(limit=1):
                snapshot.recommender.similar(item, k=1)
            if self.needs_encoder:
                load_encoder(snapshot.recommender)
            snapshot.item_search, snapshot.search_generation = self.snapshot.item_search, 0
        except BaseException:
            snapshot.release()
            raise
        return snapshot

    def _load_item_search(self, snapshot: EngineSnapshot) -> None:
        def load() -> None:
            if self.snapshot is snapshot:
                snapshot.load_item_search()

        snapshot.acquire()
        self._searches.submit(load).add_done_callback(lambda _: snapshot.release())

    def _retry_item_search(self, snapshot: EngineSnapshot) -> None:
        if snapshot.item_search_error is not None and monotonic() > snapshot.search_failed_at + _RETRY_S:
            snapshot.search_failed_at = monotonic() + _RETRY_S
            self._load_item_search(snapshot)

    def _fail(self, error: Exception) -> bool | None:
        is_known, self.reload_error = self.reload_error == str(error), str(error)
        if is_known:
            return None
        message = "the newest generation cannot be served, generation %d stays: %s"
        log.error(message, self.snapshot.facts.generation, error, extra={"event": "reload_failed"})
        return False


def require_engine(uri: str) -> None:
    """Raise EngineError unless the engine at *uri* can be opened.

    That is tried in a process of its own: the libraries of engines have threads, and a process that has these must not
    be copied into workers.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_try_engine, uri).result()


def _try_engine(uri: str) -> None:
    open_engine(uri).close()


def _images(options: ServeOptions) -> ImageSource:
    """Return what reads the images for clients: below the folder that *options* name, or at public addresses."""
    remote = replace(
        RemoteOptions().hurried(),
        allow_private=options.allow_private_addresses,
        max_bytes=options.limits.max_image_bytes,
    )
    below = None if options.images_below is None else str(options.images_below)
    return ImageFiles(below or "", below=below, remote=RemoteImages(remote))

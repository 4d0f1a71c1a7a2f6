"""Snapshots of the store, and their replacement: a new generation takes over while requests go on.

A `Snapshot` is one generation that is open to answer requests. It stays open until the last request that uses it has
ended. The `Reloader` replaces it when another generation is published, but only after that generation was verified.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from vision_recs import indexes
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import StoreDamaged, StoreError, StoreUnavailable
from vision_recs.recommend import Recommender
from vision_recs.remote.images import RemoteImages
from vision_recs.serve.cached_items import CachedItems
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.search_builder import SearchBuilder
from vision_recs.serve.search_files import open_item_search
from vision_recs.serve.served import facts_of_store
from vision_recs.store import Layout, Store
from vision_recs.store.atomic_files import sha256_file
from vision_recs.store.layout import read_current
from vision_recs.store.shards import shard_problems
from vision_recs.types import ImageSource

if TYPE_CHECKING:
    from vision_recs.recommend.query_encoder import LoadImage

log = logging.getLogger(__name__)

_RETRY_S = 30.0
_MOST_INHERITED = 10_000  # items that changed: finding out what they touch takes longer than reading anew
_FEW_ITEMS = 20_000  # whose item search is built as quickly as a process starts
_QUIET_S = 10.0  # where changes come all the time, their generations do not fill the log


class Snapshot:
    """One generation, open: its *recommender* answers queries; *current* is what the file CURRENT says of it.

    *items* is a cache of the items of *store*, which handlers read, and *images* reads their images.

    It counts references, beginning with that of its owner, and closes with the last one.
    """

    def __init__(
        self,
        store: Store,
        current: tuple[int, str],
        options: ServeOptions,
        load_image: LoadImage | None,
        old: Snapshot | None,
    ) -> None:
        """Own *store*; raises StoreError.

        *options* name the encoder, and *load_image* decodes the images of queries. The files of the index of *old* are
        not opened again where they are the same.
        """
        self.store = store
        self.items = CachedItems(store)
        self.images = _images_of(store, options)
        shared = old.recommender.index if old is not None and _shares_index(store, old.store) else None
        index = indexes.open_published(store, self.items, previous=shared)
        self.recommender: Recommender = Recommender(
            self.items, index, weights=options.weights, device=options.device, load_image=load_image
        )
        self.facts = facts_of_store(store)
        self.current = current
        self.item_search: ItemSearch | None = None
        self.search_generation = 0
        self.item_search_error: Exception | None = None
        self.search_failed_at = 0.0
        self._references = 1
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """What names the answers: the generation, and as long as its own item search is not ready, that of another."""
        generation, digest = self.current
        search = "" if self.search_generation in {0, generation} else f"-{self.search_generation}"
        return f"{generation}-{digest[:16]}{search}"

    def acquire(self) -> None:
        """Add a reference."""
        with self._lock:
            self._references += 1

    def release(self) -> None:
        """Remove a reference, from any thread; the last one closes the files."""
        with self._lock:
            self._references -= 1
            is_last = self._references == 0
        if is_last:
            self.store.close()

    def inherit(self, old: Snapshot) -> bool:
        """Keep of *old* what holds of this generation too; return False if the item search has to be loaded yet.

        Until then that of *old* answers.
        """
        self.recommender.share_encoder(old.recommender)
        changed = self.store.changed_since(old.store)
        if changed is not None and len(changed) <= _MOST_INHERITED:
            self.items.inherit(old.items, changed)
        self.item_search, self.search_generation = old.item_search, old.search_generation
        if changed is None or old.item_search is None or old.search_generation != old.store.generation:
            return False
        self.item_search = old.item_search.changed(changed, old.store.attributes_of, self.store.attributes_of)
        self.search_generation = self.store.generation
        return True

    def load_item_search(self, builder: SearchBuilder | None = None) -> None:
        """Open the item search, which takes seconds the first time, and a minute for a million items.

        *builder* builds it where there are many items.
        """
        store = self.store
        try:
            base = replace(store.manifest, items_files=store.manifest.items_files[:1])
            entry = base.items_files[0]
            build = None
            if builder is not None and base.items > _FEW_ITEMS:
                build = partial(builder.build, store.layout.items(entry.generation))
            with Store(store.layout, base) as before:
                search = open_item_search(before.items, name=entry.digest[:32], build=build)
                changed = store.changed_since(before)
                if changed:
                    search = search.changed(changed, before.attributes_of, store.attributes_of)
            self.item_search, self.search_generation = search, store.generation
            self.item_search_error = None
        except Exception as error:  # raised again where a request needs it
            if builder is not None and builder.is_closed:
                return
            self.search_failed_at = monotonic()
            is_foreseen = isinstance(error, StoreError | sqlite3.Error | OSError)
            sentence = f"the item search is not available ({error})"
            self.item_search_error = StoreUnavailable(sentence) if is_foreseen else error
            log.log(logging.ERROR, sentence, exc_info=None if is_foreseen else error, extra={"event": "no_item_search"})


def open_snapshot(options: ServeOptions, load_image: LoadImage | None = None, old: Snapshot | None = None) -> Snapshot:
    """Open the published generation; raises StoreError. See `Snapshot` for *load_image* and *old*."""
    store = Store.open(options.store, images=options.images)
    store.pin()
    current = read_current(store.layout)
    if current[0] != store.generation:  # another generation was published in this very moment
        store.close()
        return open_snapshot(options, load_image, old)
    directory = store.layout.index_of(store.manifest)
    if directory is not None and not directory.is_dir():
        log.warning(
            "the index of generation %d is missing, so every vector is compared, which is slow; run `visrec index`",
            store.generation,
            extra={"event": "no_index", "generation": store.generation},
        )
    return Snapshot(store, current, options, load_image, old)


def _images_of(store: Store, options: ServeOptions) -> ImageSource:
    """Return what reads the images of *store* for clients, who may name any file of this machine, and any address."""
    source = store.image_source
    if not isinstance(source, ImageFiles):
        return source
    if options.images is None:
        limit = options.limits.max_image_bytes
        hurried = store.remote_options.hurried()
        remote = replace(hurried, allow_private=options.allow_private_addresses, max_bytes=limit)
        source = ImageFiles(store.image_root, remote=RemoteImages(remote))
    return source.below(str(options.images_below or store.image_root))


class Reloader:
    """The published generation of a store: *snapshot* answers, and each new generation replaces it.

    *reload_error* is why the newest generation is not served, or None. *needs_encoder* is whether queries have brought
    images, so that a new generation needs its encoder before it takes over.
    """

    def __init__(self, options: ServeOptions, load_image: LoadImage | None = None) -> None:
        """Open the store; raises StoreError. *load_image* decodes the images of queries."""
        self._options = options
        self._load_image = load_image
        self._layout = Layout(options.store)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="visrec-reload")
        self._searches = ThreadPoolExecutor(1, thread_name_prefix="visrec-search")
        self._builder = SearchBuilder()
        self._failed_at = 0.0
        self._logged_at = -_QUIET_S
        self._failed_current: tuple[int, str] | None = None
        self.snapshot = open_snapshot(options, load_image)
        self.reload_error: str | None = None
        self.needs_encoder = options.preload

    async def start(self) -> None:
        """Load the encoder if it is to be preloaded, and begin to load what the first answers do not need."""
        loop = asyncio.get_running_loop()
        if self._options.preload:
            await loop.run_in_executor(self._background, load_encoder, self.snapshot.recommender)
        self._load_item_search(self.snapshot)

    async def reload(self) -> bool | None:
        """Load the published generation if it is another one.

        Returns True if it took over, False if it failed for the first time, and None if there is nothing new.
        """
        loop = asyncio.get_running_loop()
        try:
            current = await loop.run_in_executor(self._background, read_current, self._layout)
        except StoreError as error:
            return self._fail(error, None)
        if current == self.snapshot.current:
            self.reload_error = None
            self._retry_item_search(self.snapshot)
            return None
        if current == self._failed_current and monotonic() < self._failed_at + _RETRY_S:
            return None
        try:
            snapshot, is_searchable = await loop.run_in_executor(self._background, self._open_verified)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new generation, the old one goes on
            return self._fail(error, current)
        old, self.snapshot = self.snapshot, snapshot
        self.reload_error = None
        old.release()
        if not is_searchable:
            self._load_item_search(snapshot)
        log.log(
            logging.INFO if monotonic() > self._logged_at + _QUIET_S else logging.DEBUG,
            "generation %d replaces generation %d",
            snapshot.current[0],
            old.current[0],
            extra={"event": "reload", "generation": snapshot.current[0]},
        )
        self._logged_at = monotonic()
        return True

    def close(self) -> None:
        """Stop loading; the files are closed with the last request."""
        self._background.shutdown(wait=False, cancel_futures=True)
        self._searches.shutdown(wait=False, cancel_futures=True)
        self._builder.close()
        self.snapshot.release()

    def _load_item_search(self, snapshot: Snapshot) -> None:
        """Begin to load the item search of *snapshot*, unless another snapshot is served by then."""

        def load() -> None:
            if self.snapshot is snapshot:
                snapshot.load_item_search(self._builder)

        snapshot.acquire()
        self._searches.submit(load).add_done_callback(lambda _: snapshot.release())

    def _retry_item_search(self, snapshot: Snapshot) -> None:
        """Load the item search of *snapshot* again some time after that has failed."""
        if snapshot.item_search_error is not None and monotonic() > snapshot.search_failed_at + _RETRY_S:
            snapshot.search_failed_at = monotonic() + _RETRY_S  # not again until this attempt has ended
            self._load_item_search(snapshot)

    def _open_verified(self) -> tuple[Snapshot, bool]:
        """Return a snapshot of the published generation, verified and ready, and whether its item search is too."""
        snapshot = open_snapshot(self._options, self._load_image, self.snapshot)
        try:
            _require_sound(snapshot.store, self.snapshot.store)
            _try(snapshot, self.snapshot.store)
            is_searchable = snapshot.inherit(self.snapshot)
            if self.needs_encoder:
                load_encoder(snapshot.recommender)
        except BaseException:
            snapshot.release()
            raise
        return snapshot, is_searchable

    def _fail(self, error: Exception, current: tuple[int, str] | None) -> bool | None:
        is_known = self.reload_error == str(error)
        self.reload_error, self._failed_current, self._failed_at = str(error), current, monotonic()
        if is_known:
            return None
        log.error(
            "the newest generation cannot be served, generation %d stays: %s",
            self.snapshot.current[0],
            error,
            extra={"event": "reload_failed", "generation": self.snapshot.current[0]},
        )
        return False


def _try(snapshot: Snapshot, old: Store) -> None:
    """Ask *snapshot* for an item, and for similar ones unless all that answers this is shared with *old*."""
    for item in snapshot.items.ids(limit=1):
        if _shares_index(snapshot.store, old) and snapshot.store.manifest.shards == old.manifest.shards:
            snapshot.items.images(item)  # without an index, a query would compare all vectors after each change
        else:
            snapshot.recommender.similar(item, k=1)


def _require_sound(new: Store, old: Store) -> None:
    """Raise StoreDamaged if a file of *new* that *old* does not share is missing or altered; reads every byte."""
    problem = next(_problems(new, old), None)
    if problem is not None:
        raise StoreDamaged(f"{problem}; run `visrec verify`")


def _problems(new: Store, old: Store) -> Iterator[str]:
    manifest, layout = new.manifest, new.layout
    known = {shard.name for shard in old.manifest.shards}
    expected: dict[Path, str] = {
        layout.items(entry.generation): entry.digest
        for entry in manifest.items_files
        if entry not in old.manifest.items_files
    }
    for shard in manifest.shards:
        if shard.name not in known:
            yield from shard_problems(layout.shard(shard.name))
    for path, digest in expected.items():
        try:
            if sha256_file(path) != digest:
                yield f"{path} was altered"
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror})"
    directory = layout.index_of(manifest)
    if directory is not None and directory.is_dir() and not _shares_index(new, old):
        yield from indexes.verify(directory)


def _shares_index(new: Store, old: Store) -> bool:
    """Return whether *new* uses the index of *old*, which was verified; what was measured of it tells it from others.

    A generation that another store has in its place may have an index in the same folder.
    """
    mine, others = new.manifest, old.manifest
    return (mine.index_type, mine.index_generation, mine.index_stats, mine.space) == (
        others.index_type,
        others.index_generation,
        others.index_stats,
        others.space,
    )


def load_encoder(recommender: Recommender) -> None:
    """Load the encoder of *recommender* by a query with the canary image; raises EncoderError and SpaceMismatch."""
    from io import BytesIO

    from vision_recs import images

    file = BytesIO()
    images.canary_image().save(file, "PNG")
    recommender.similar_to_image(file.getvalue(), k=1)

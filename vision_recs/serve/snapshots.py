"""A generation that is open for answers, and what has to be right before one may replace another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from vision_recs import indexes
from vision_recs.errors import StoreDamaged, VisionRecsError
from vision_recs.recommend import Recommender
from vision_recs.recommend import open as open_shop
from vision_recs.serve.cached_items import RememberedItems
from vision_recs.serve.item_search import Lookup, open_lookup
from vision_recs.serve.options import ServeOptions
from vision_recs.store import Store
from vision_recs.store.files import sha256_file
from vision_recs.store.store import read_current

log = logging.getLogger("visrec.serve")


class Edition:
    """One generation, open: *recommender* answers; *current* is what CURRENT holds of it.

    It is closed when it was released as often as it was held, the first time by who opened it.
    """

    def __init__(self, recommender: Recommender, current: tuple[int, str]) -> None:
        """Offer *recommender*."""
        self.recommender = recommender
        self.current = current
        self.version = f"{current[0]}-{current[1][:16]}"
        self.lookup: Lookup | None = None
        self.lookup_error: VisionRecsError | None = None
        self._holders = 1
        self._lock = threading.Lock()

    @property
    def store(self) -> Store:
        """The store of the generation."""
        return self.recommender.store

    def hold(self) -> None:
        """Keep it open until `release`."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Let go of it, from any thread; the last one closes the files."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders == 0
        if is_last:
            if self.lookup is not None:
                self.lookup.close()
            self.store.close()

    def prepare(self) -> None:
        """Open what is derived from the items, their words and facets, which takes seconds the first time."""
        try:
            self.lookup = open_lookup(self.store)
        except VisionRecsError as error:
            self.lookup_error = error
            log.error("the words of the items cannot be searched: %s", error, extra={"event": "lookup_failed"})  # noqa: TRY400 - a sentence for people


def open_edition(options: ServeOptions) -> Edition:
    """Open the published generation; raises StoreError."""
    recommender = open_shop(options.store, weights=options.weights, device=options.device)
    store = recommender.store
    current = read_current(store.layout)
    if current[0] != store.generation:  # another one was published in this very moment
        store.close()
        return open_edition(options)
    engine = store.layout.index_dir(store.manifest.index_type, store.generation)
    if store.manifest.index_type != "exact" and not engine.is_dir():
        log.warning(
            "the index of generation %d is gone, so that every vector is compared, slowly; run `visrec index`",
            store.generation,
            extra={"event": "no_index", "generation": store.generation},
        )
    store.items.close()
    store.items = RememberedItems(store.layout.items(store.generation))
    return Edition(recommender, current)


def require_sound(new: Edition, old: Edition) -> None:
    """Raise StoreDamaged where a file of *new* that *old* does not share is missing or altered; every byte is read."""
    problem = next(_problems(new.store, old.store), None)
    if problem is not None:
        raise StoreDamaged(f"{problem}; run `visrec verify`")


def _problems(new: Store, old: Store) -> Iterator[str]:
    manifest, layout = new.manifest, new.layout
    known = {shard.name for shard in old.manifest.shards}
    expected: dict[Path, str] = {layout.items(manifest.generation): manifest.items_digest}
    for shard in manifest.shards:
        if shard.name not in known:
            expected |= {layout.shard(shard.name) / name: digest for name, digest in shard.digests.items()}
    for path, digest in expected.items():
        try:
            if sha256_file(path) != digest:
                yield f"{path} was altered"
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror})"
    engine = layout.index_dir(manifest.index_type, manifest.generation)
    if engine.is_dir():
        yield from indexes.verify(engine)


def warm(recommender: Recommender) -> None:
    """Load the encoder of *recommender* by asking with the probe image; raises EncoderError and SpaceMismatch."""
    from io import BytesIO

    from vision_recs import images

    file = BytesIO()
    images.canary_image().save(file, "PNG")
    recommender.similar_to_image(file.getvalue(), k=1)

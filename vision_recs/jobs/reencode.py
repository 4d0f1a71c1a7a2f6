"""The items of a store, embedded by another encoder; the new store is kept in the cache for the next time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from vision_recs.cache_dir import cache_dir
from vision_recs.encoders.registry import canonical_name
from vision_recs.jobs.indexing import embed
from vision_recs.jobs.progress import ProgressCallback, silent
from vision_recs.store import Store
from vision_recs.types import Item


class StoredItems:
    """The items of a store as a catalog, with their images as they are now."""

    def __init__(self, store: Store) -> None:
        """Take the items of *store*; their images are read by its image source."""
        self.location = store.manifest.catalog.location
        self.root = store.image_root
        self.images = store.image_source
        self._store = store

    def __iter__(self) -> Iterator[Item]:
        """Yield each item that has an image, by id."""
        for item, attributes in self._store.items.all_attributes():
            images = self._store.items.images(item)
            shown = [image for image in images if image.image]
            names = tuple(image.image for image in shown)
            yield Item(item, names, attributes, tuple(image.attributes for image in shown))


def store_of_encoder(store: Store, encoder: str, *, progress: ProgressCallback = silent) -> Store:
    """Return *store* itself where *encoder* made its vectors and it has no projection, else a store made by *encoder*.

    That store is kept in the cache, and the next time only what has changed is embedded. Raises EncoderError,
    StoreError and EmptyCatalog.
    """
    name = canonical_name(encoder)
    if store.manifest.encoder.name == name and store.manifest.projection is None:
        return store
    key = hashlib.sha256(f"{store.layout.root.absolute()}\n{name}".encode()).hexdigest()[:16]
    folder = cache_dir() / "reencoded" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    embed(StoredItems(store), folder, encoder=name, progress=progress)
    return Store.open(folder)

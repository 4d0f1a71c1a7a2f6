"""A cache in memory of the items of a generation: a query by id asks SQLite some fifty small questions."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from vision_recs.errors import StoreDamaged
from vision_recs.store import Store
from vision_recs.store.recent_items import KnownItem
from vision_recs.types import Attribute, FilteredSource, ItemImage, Row, Vectors

if TYPE_CHECKING:
    from vision_recs.filters import Filter

K = TypeVar("K")
V = TypeVar("V")

_MAX_ENTRIES = 120_000
"""Items, images and digests that are kept: some 250 MB for items with ten attributes."""


_BLOCK = 500  # positions whose rows are read together


class CachedItems:
    """The items and vectors of a store; what was read once is kept. An `ItemSource` and a `VectorSource`.

    What is returned is shared, and must not be modified. Safe to use from several threads.
    """

    def __init__(self, store: Store, *, max_entries: int = _MAX_ENTRIES) -> None:
        """Read from *store*, and keep at most *max_entries* answers of each kind, the newest."""
        self._store = store
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._known: dict[str, KnownItem] = {}
        self._rows: defaultdict[int, dict[int, list[Row]]] = defaultdict(dict)  # by limit, then by position
        self._positions: dict[str, int] = {}
        self.generation, self.fingerprint, self.dim = store.generation, store.fingerprint, store.dim
        self.item_count, self.image_count = store.item_count, store.image_count
        self.encoder, self.weights_file, self.canary = store.encoder, store.weights_file, store.canary
        self.model_file = store.model_file
        self.attribute_columns = store.attribute_columns
        self.ids, self.attribute_types = store.ids, store.attribute_types
        self.positions, self.vectors = store.positions, store.vectors
        self.cosines, self.open_shards = store.cosines, store.open_shards
        self.sample_vectors, self.project = store.sample_vectors, store.project
        self.lookup = store.lookup

    def inherit(self, other: CachedItems, changed: Sequence[str]) -> None:
        """Keep what *other*, of another generation with the same base, has kept, but for the items that *changed*."""
        self._known, self._positions = other._known.copy(), other._positions.copy()
        self._rows.update({limit: rows.copy() for limit, rows in list(other._rows.items())})
        for store in (other._store, self._store):
            stored = store.items.stored.items(changed)
            for item in changed:
                self._known.pop(item, None)
                for image in stored[item].images if item in stored else ():
                    self._positions.pop(image.digest.hex() if image.digest else "", None)
                    for rows in self._rows.values():
                        rows.pop(-1 if image.position is None else image.position, None)

    def known(self, items: Sequence[str], rows: Sequence[int] | None = None) -> Mapping[str, KnownItem]:
        """Return what `Store.known` returns."""
        if rows is None:
            return self._get_all(self._known, items, self._read)
        row_of = dict(zip(items, rows, strict=True))
        return self._get_all(
            self._known, items, lambda missing: self._store.known(missing, [row_of[item] for item in missing])
        )

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return what `Store.attributes_of` returns."""
        return {item: known.attributes for item, known in self.known(items).items()}

    def images(self, item: str) -> Sequence[ItemImage]:
        """Return what `Store.images` returns; raises UnknownItem."""
        found = self.known([item]).get(item)
        return self._store.images(item) if found is None else found.item_images()

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[Mapping[str, Attribute] | None]:
        """Return what `Store.match_attributes` returns."""
        known = self.known([item for item, _ in images])
        return [known[item].attributes_with(image) if item in known else None for item, image in images]

    def _read(self, items: Sequence[str]) -> dict[str, KnownItem]:
        parts = (items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK))
        return {item: known for part in parts for item, known in self._store.known(part).items()}

    def rows(self, positions: Iterable[int], *, limit: int) -> dict[int, list[Row]]:
        """Return what `Store.rows` returns."""
        return self._get_all(self._rows[limit], positions, lambda missing: self._store.rows(missing, limit=limit))

    def positions_of(self, digests: Iterable[str]) -> dict[str, int]:
        """Return what `Store.positions_of` returns."""
        return self._get_all(self._positions, digests, self._store.positions_of)

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return what `Store.vectors_of` returns."""
        positions = self.positions_of(digests)
        return self._store.vectors(np.array([positions[digest] for digest in digests], dtype=np.int64))

    def filtered(self, where: Filter) -> FilteredSource:
        """Return what `Store.filtered` returns; raises FilterError."""
        return _CachedFilter(self, self._store, where)

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text that *where* looks for and no item has, with the nearest one that one has."""
        return self._store.unknown_values(where)

    def ids_where(self, where: Filter) -> Iterator[str]:
        """Yield the id of each item that matches *where* once, in the order in which the images were embedded."""
        filtered = self.filtered(where)
        positions = filtered.positions()
        seen: set[str] = set()
        for block in np.array_split(positions, range(_BLOCK, len(positions), _BLOCK)):
            rows = filtered.rows(block.tolist(), limit=_BLOCK)
            for position in block.tolist():
                for row in rows.get(position, ()):
                    if row.id not in seen:
                        seen.add(row.id)
                        yield row.id

    def image_with(self, digest: str) -> str | None:
        """Return the reference of an image whose bytes have *digest*, or None where no item shows one."""
        try:
            position = self.positions_of([digest])[digest]
        except StoreDamaged:
            return None
        return next((row.image for row in self.rows([position], limit=1)[position]), None)

    def _get_all(
        self, cache: dict[K, V], keys: Iterable[K], read: Callable[[Sequence[K]], Mapping[K, V]]
    ) -> dict[K, V]:
        """Return the value of each of *keys*; those that are not in *cache* are read, and kept if they exist."""
        found = {key: cache.get(key) for key in keys}
        missing = [key for key, value in found.items() if value is None]
        if not missing:
            return cast("dict[K, V]", found)
        values = read(missing)
        self._keep(cache, values)
        return {key: value for key, value in (found | dict(values)).items() if value is not None}

    def _keep(self, cache: dict[K, V], values: Mapping[K, V]) -> None:
        """Put *values* into *cache*, and remove the oldest entries if there are too many."""
        with self._lock:
            cache.update(values)
            while len(cache) > self._max_entries:
                del cache[next(iter(cache))]


class _CachedFilter:
    """What a filter leaves of `CachedItems`: a `FilteredSource` that reads cached rows as far as it can."""

    def __init__(self, items: CachedItems, store: Store, where: Filter) -> None:
        self._items = items
        self._store = store
        self._where = where
        filtered = store.filtered(where)
        self.positions, self.count, self.mask = filtered.positions, filtered.count, filtered.mask

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* rows of items that match, by id, then by image."""
        mask = self.mask()
        unshared = {
            position: rows
            for position, rows in self._items.rows(positions, limit=2).items()
            if len(rows) == 1 and mask[position]  # the mask says that an item matches, and no other has the image
        }
        others = [position for position in positions if position not in unshared]
        return unshared | self._store.items.rows_where(others, limit, self._where) if others else unshared

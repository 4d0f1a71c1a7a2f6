"""Reading a store: one published generation, pinned."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, StoreNotFound, UnknownItem
from vision_recs.store.items import Items, StoredPicture
from vision_recs.store.layout import VECTORS_FILE, Layout
from vision_recs.store.manifest import Manifest
from vision_recs.store.vectors import map_vectors
from vision_recs.types import Attribute, Row, Vectors, scale_rows

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import AttributeType, Filter

_NEAREST_AMONG = 50_000
"""How many ids at most are compared to name the nearest ones to a misspelt id."""

_CURRENT = re.compile(rb"([0-9]{6,18}) ([0-9a-f]{64})\n")


class Store:
    """One generation of a store: its items, rows and vectors; a `VectorSource`.

    It stays what it was when opened, also while another process publishes the next generation.
    """

    def __init__(self, layout: Layout, manifest: Manifest) -> None:
        """Read the generation that *manifest* describes; use `Store.open` for the published one."""
        self.layout = layout
        self.manifest = manifest
        self.items = Items(layout.items(manifest.generation))
        self._shards: dict[int, NDArray[np.float16]] = {}
        self._attribute_types: dict[str, AttributeType] | None = None
        self._firsts = np.array([shard.first for shard in manifest.shards], dtype=np.int64)
        self._ends = self._firsts + np.array([shard.rows for shard in manifest.shards], dtype=np.int64)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open the published generation of the store in the folder *path*.

        Raises StoreNotFound, StoreDamaged or UnknownFormat.
        """
        layout = Layout(Path(path))
        current = read_current(layout)
        try:
            return cls(layout, read_manifest(layout, *current))
        except StoreDamaged:
            if read_current(layout) == current:
                raise
            return cls.open(path)  # another generation was published, and this one reclaimed, in the meantime

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return self.manifest.encoder.fingerprint

    @property
    def generation(self) -> int:
        """The number of this generation."""
        return self.manifest.generation

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        return self.manifest.encoder.dim

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of all vectors in use, ascending."""
        return np.concatenate(
            [np.empty(0, np.int64)]
            + [shard.first + _alive(shard.rows, shard.deleted) for shard in self.manifest.shards]
        )

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions* (n, dim), in that order, scaled to unit length after their float16.

        Raises StoreDamaged for a position that no shard has, and for a vector without a direction.
        """
        positions = np.asarray(positions, dtype=np.int64)
        result = np.empty((len(positions), self.dim), dtype=np.float16)
        shard_of = np.searchsorted(self._firsts, positions, side="right") - 1
        self._require((shard_of >= 0) & (positions < self._ends[shard_of]), positions, "is in no shard")
        for number in np.flatnonzero(np.bincount(shard_of)):  # not np.unique: it loads numpy.ma, 10 ms
            chosen = shard_of == number
            result[chosen] = self._shard(int(number))[positions[chosen] - self._firsts[number]]
        vectors, alive = scale_rows(result)
        self._require(alive, positions, "has no direction")
        return vectors

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* of its rows, ordered by id, then by picture."""
        return {position: self.items.rows(position, limit) for position in positions}

    def positions_of(self, digests: Iterable[str]) -> dict[str, int]:
        """Return where the vector of each of the pictures with *digests* is, which rows have named."""
        return {digest: self.items.position(digest) for digest in digests}

    def attribute_types(self) -> Mapping[str, AttributeType]:
        """Return what the items hold under the name of each attribute; the first call reads every item."""
        if self._attribute_types is None:
            self._attribute_types = self.items.attribute_types()
        return self._attribute_types

    def select(self, where: Filter) -> NDArray[np.int64]:
        """Return the positions of all vectors that an item which matches *where* shows, ascending.

        The same vector may be shown by items that do not match: see `Selection`. Raises FilterError where *where* does
        not fit `attribute_types`.
        """
        where.check(self.attribute_types())
        return np.array(self.items.positions_where(where), dtype=np.int64)

    def pin(self) -> None:
        """Open every shard now, so that nobody can take it away before it is needed."""
        for number in range(len(self.manifest.shards)):
            self._shard(number)

    def attributes(self, item: str) -> dict[str, Attribute]:
        """Return the attributes of *item*; raises UnknownItem."""
        found = self.items.attributes(item)
        if found is None:
            raise self._unknown(item)
        return found

    def pictures(self, item: str) -> list[StoredPicture]:
        """Return the pictures of *item* in the order of the catalogue; raises UnknownItem."""
        found = self.items.pictures(item)
        if not found:
            raise self._unknown(item)
        return found

    def close(self) -> None:
        """Close the files; the store is of no use afterwards."""
        self._shards.clear()
        self.items.close()

    def _shard(self, number: int) -> NDArray[np.float16]:
        if number not in self._shards:
            entry = self.manifest.shards[number]
            folder = self.layout.shard(entry.name)
            try:
                self._shards[number] = map_vectors(folder, rows=entry.rows, dim=self.dim)
            except (OSError, ValueError) as error:
                raise StoreDamaged(f"{folder / VECTORS_FILE} cannot be read ({error}); run `visrec verify`") from error
        return self._shards[number]

    def _require(self, sound: NDArray[np.bool_], positions: NDArray[np.int64], what: str) -> None:
        if not sound.all():
            position = positions[int(np.argmin(sound))]
            raise StoreDamaged(f"the vector at position {position} of {self.layout.root} {what}; run `visrec verify`")

    def _unknown(self, item: str) -> UnknownItem:
        skipped = self.items.skipped(item)
        if skipped:
            why = f"its picture {skipped[0].picture} was skipped ({skipped[0].message})"
            return UnknownItem(f"the item {item!r} is not in the index: {why}", item=item)
        nearest = tuple(difflib.get_close_matches(item, self._like(item), n=3, cutoff=0.0))
        hint = ", ".join(nearest)
        return UnknownItem(f"no item has the id {item!r}; the nearest are {hint}", item=item, nearest=nearest)

    def _like(self, item: str) -> list[str]:
        """Return the ids that are worth comparing with *item*: those with the longest prefix in common, else some."""
        if self.manifest.items <= _NEAREST_AMONG:
            return self.items.ids()
        for length in range(len(item), -1, -1):
            found = self.items.ids(item[:length], _NEAREST_AMONG)
            if found:
                return found
        return []


def read_current(layout: Layout) -> tuple[int, str]:
    """Return the published generation and the digest of its manifest; raises StoreNotFound or StoreDamaged."""
    try:
        data = layout.current.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreNotFound(f"there is no index in {layout.root}; make one with `visrec index CATALOG`") from None
    except OSError as error:
        raise StoreDamaged(f"{layout.current} cannot be read ({error.strerror}); check its permissions") from error
    found = _CURRENT.fullmatch(data)
    if found is None:
        raise StoreDamaged(f"{layout.current} is damaged: it holds {data[:90]!r}; restore it from a backup or rebuild")
    return int(found[1]), found[2].decode()


def current_text(generation: int, digest: str) -> str:
    """Return what CURRENT holds when *generation*, with a manifest of *digest*, is published."""
    return f"{generation:06d} {digest}\n"


def read_manifest(layout: Layout, generation: int, digest: str | None = None) -> Manifest:
    """Return the manifest of *generation*; raises StoreDamaged where it is missing, altered or not of *digest*."""
    path = layout.manifest(generation)
    try:
        data = path.read_bytes()
    except OSError as error:
        named = "" if digest is None else f", which {layout.current} names,"
        raise StoreDamaged(f"{path}{named} cannot be read ({error.strerror}); run `visrec verify`") from error
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise StoreDamaged(f"{path} is not the file that {layout.current} names; run `visrec verify`")
    try:
        return Manifest.from_bytes(data)
    except StoreDamaged as error:
        raise StoreDamaged(f"{path}: {error}") from error


def _alive(rows: int, deleted: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    alive = np.ones(rows, dtype=bool)
    for first, stop in deleted:
        alive[first:stop] = False
    return np.flatnonzero(alive).astype(np.int64)

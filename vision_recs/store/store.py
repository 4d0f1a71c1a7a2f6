"""Reading a store: one published generation, pinned."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, StoreNotFound, UnknownItem
from vision_recs.store.items import Items, StoredImage
from vision_recs.store.layout import Layout
from vision_recs.store.manifest import Manifest
from vision_recs.store.projections import Projection, read_projection
from vision_recs.store.vectors import ShardVectors
from vision_recs.types import Attribute, Row, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import AttributeType, Filter
    from vision_recs.store.attributes.bitmaps import Masks
    from vision_recs.store.attributes.format import Columns

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
        self._vectors = ShardVectors(layout, manifest.shards, manifest.encoder.dim)
        self._projection: Projection | None = None

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
        return self.manifest.fingerprint

    @property
    def generation(self) -> int:
        """The number of this generation."""
        return self.manifest.generation

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        return self.manifest.dim

    @property
    def projection(self) -> Projection | None:
        """The projection that is applied to the vectors, if there is one; raises StoreDamaged."""
        entry = self.manifest.projection
        if self._projection is None and entry is not None:
            path = self.layout.projection(entry.digest)
            self._projection = read_projection(path, digest=entry.digest, dim=self.manifest.encoder.dim)
        return self._projection

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of all vectors in use, ascending."""
        return np.concatenate(
            [np.empty(0, np.int64)]
            + [shard.first + _alive(shard.rows, shard.deleted) for shard in self.manifest.shards]
        )

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions* (n, dim), in that order, projected where the generation has a projection.

        Raises StoreDamaged for a position that no shard has, and for a vector without a direction.
        """
        vectors = self.encoder_vectors(positions)
        return vectors if self.projection is None else self.project(vectors)

    def project(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim of the encoder) in the space of the store, of unit length.

        Without a projection they are returned as they are. A vector that the projection gives no direction, which does
        not come about by chance, raises StoreDamaged.
        """
        if self.projection is None:
            return vectors
        projected, alive = normalize_rows(self.projection.apply(vectors))
        if not alive.all():
            raise StoreDamaged(
                f"the projection of {self.layout.root} gives a vector no direction; run `visrec tune --undo`"
            )
        return projected

    def encoder_vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions* as the encoder made them, scaled to unit length after their float16.

        Raises as `vectors` does.
        """
        vectors, alive = self._vectors.unit(positions)
        if not alive.all():
            raise self._vectors.damaged(int(positions[np.argmin(alive)]), "has no direction")
        return vectors

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* of its rows, ordered by id, then by image."""
        return self.items.rows(positions, limit)

    def positions_of(self, digests: Iterable[str]) -> dict[str, int]:
        """Return where the vector of each of the images with *digests* is, which rows have named."""
        return self.items.positions(digests)

    def attribute_types(self) -> Mapping[str, AttributeType]:
        """Return what the items hold under the name of each attribute."""
        return self._masks.attribute_types

    def mask(self, where: Filter) -> NDArray[np.bool_]:
        """Return, for every position up to the last of a shard, whether an item that matches *where* shows its vector.

        The same vector may be shown by items that do not match: see `Selection`. The mask is kept, and not to be
        written to. Raises FilterError where *where* does not fit `attribute_types`.
        """
        return self._masks.select(where).mask

    def count(self, where: Filter) -> int:
        """Return how many positions `mask` marks."""
        return self._masks.select(where).total

    def select(self, where: Filter) -> NDArray[np.int64]:
        """Return the positions that `mask` marks, ascending; not to be written to."""
        return self._masks.select(where).positions

    def pin(self) -> None:
        """Open every shard and the projection now, so that nobody can take them away before they are needed."""
        _ = self.projection, self._columns  # opened when they are first asked for
        self._vectors.open_all()

    def attributes(self, item: str) -> dict[str, Attribute]:
        """Return the attributes of *item*; raises UnknownItem."""
        found = self.items.attributes(item)
        if found is None:
            raise self._unknown(item)
        return found

    def images(self, item: str) -> list[StoredImage]:
        """Return the images of *item* in the order of the catalog; raises UnknownItem."""
        found = self.items.images(item)
        if not found:
            raise self._unknown(item)
        return found

    def close(self) -> None:
        """Close the files; the store is of no use afterwards."""
        self._vectors.close()
        self.items.close()

    @cached_property
    def _columns(self) -> Columns | None:
        """The attributes by column, unless they were deleted."""
        from vision_recs.store.attributes.format import Columns

        try:
            return Columns(self.layout.columns(self.generation), items_digest=self.manifest.items_digest)
        except FileNotFoundError:
            return None

    @cached_property
    def _masks(self) -> Masks:
        from vision_recs.store.attributes.bitmaps import Masks

        return Masks(self.items, self._columns, vectors=self._vectors.end)

    def _unknown(self, item: str) -> UnknownItem:
        skipped = self.items.skipped(item)
        if skipped:
            why = f"its image {skipped[0].image} was skipped ({skipped[0].message})"
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

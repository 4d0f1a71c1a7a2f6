"""Reading a store: one published generation."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, UnknownItem, read_error
from vision_recs.store.bucket.mark import folder_of
from vision_recs.store.items import Items, StoredRow
from vision_recs.store.layout import Layout, Manifest, canary_vector, read_current, read_manifest
from vision_recs.store.recent_items import KnownItem
from vision_recs.store.vectors import OpenShards, ShardVectors
from vision_recs.types import Attribute, EncoderSpec, ImageSource, ItemImage, Row, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:  # a query without a filter does not load the language of filters
    from vision_recs.filters import AttributeType, Filter
    from vision_recs.remote.options import RemoteOptions
    from vision_recs.store.attributes.bitmaps import FilterBitmaps, FilteredStore
    from vision_recs.store.attributes.format import AttributeColumns
    from vision_recs.store.attributes.lookup import RowLookup
    from vision_recs.store.projections import Projection

_PAGE = 10_000  # images that are read at once
_NEAREST_AMONG = 50_000
"""How many ids at most are compared to name the nearest ones to a misspelt id."""


class Store:
    """One generation of a store: its items, images and vectors; a `VectorSource` and an `ItemSource`.

    It stays what it was when it was opened, also while another process publishes the next generation. Close it with
    `close` or a `with` statement.
    """

    def __init__(
        self, layout: Layout, manifest: Manifest, *, images: ImageSource | None = None, items: Items | None = None
    ) -> None:
        """Open the generation of *manifest*; use `Store.open` for the published one, and see there for *images*.

        With *items*, those take the place of the items of the generation.
        """
        self.layout = layout
        self.manifest = manifest
        self.items = items or Items(*(layout.items(entry.generation) for entry in manifest.items_files))
        self._vectors = ShardVectors(layout, manifest.shards, manifest.encoder.dim)
        self._projection: Projection | None = None
        self._model: IO[bytes] | None = None  # held open once the store is pinned
        self._image_source = images

    @classmethod
    def open(cls, path: str | Path, *, images: ImageSource | None = None) -> Store:
        """Open the published generation of the store in the folder *path*, or at an address in a bucket.

        *images* reads the images of the items, where they do not lie in files as the catalog had them. Raises
        StoreNotFound, StoreDamaged or UnknownFormat.
        """
        layout = Layout(folder_of(path))
        current = read_current(layout)
        try:
            return cls(layout, read_manifest(layout, *current), images=images)
        except StoreDamaged:
            if read_current(layout) == current:
                raise
            # another generation was published, and this one removed, in the meantime
            return cls.open(path, images=images)

    def __enter__(self) -> Self:
        """Return the store, which is closed at the end of the `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return self.manifest.space

    @property
    def generation(self) -> int:
        """The number of this generation."""
        return self.manifest.generation

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        return self.manifest.dim

    @property
    def item_count(self) -> int:
        """How many items there are."""
        return self.manifest.items

    @property
    def image_count(self) -> int:
        """How many images the items have together."""
        return self.manifest.images

    @property
    def encoder(self) -> EncoderSpec:
        """The encoder that made the vectors."""
        return self.manifest.encoder

    @property
    def weights_file(self) -> str | None:
        """The path of the encoder's weights, where they are not the published ones."""
        return self.manifest.weights_file

    @property
    def canary(self) -> Vectors:
        """The vector (dim of the encoder,) that the encoder gave the canary image."""
        return canary_vector(self.manifest.canary)

    @property
    def place(self) -> str:
        """The folder of the store."""
        return str(self.layout.root)

    @property
    def image_source(self) -> ImageSource:
        """What reads the images of the items: what the store was opened with, else files below `image_root`.

        Images at addresses are fetched as when they were indexed.
        """
        if self._image_source is None:
            from vision_recs.catalog.image_files import ImageFiles
            from vision_recs.remote.images import RemoteImages

            self._image_source = ImageFiles(self.image_root, remote=RemoteImages(self.remote_options))
        return self._image_source

    @property
    def remote_options(self) -> RemoteOptions:
        """How images at addresses were fetched when the catalog was indexed."""
        from vision_recs.remote.options import RemoteOptions

        return RemoteOptions.from_stored(self.manifest.catalog.remote)

    @property
    def image_root(self) -> str:
        """The folder to which references of images are relative; it may have moved together with the store."""
        catalog = self.manifest.catalog
        if not catalog.relative_root or Path(catalog.root).is_dir():
            return catalog.root
        moved = os.path.normpath(self.layout.root.absolute() / catalog.relative_root)
        return moved if Path(moved).is_dir() else catalog.root

    @property
    def projection(self) -> Projection | None:
        """The projection that is applied to the vectors, if there is one; raises StoreDamaged."""
        entry = self.manifest.projection
        if self._projection is None and entry is not None:
            from vision_recs.store.projections import read_projection

            path = self.layout.projection(entry.digest)
            self._projection = read_projection(path, digest=entry.digest, dim=self.manifest.encoder.dim)
        return self._projection

    @property
    def model_file(self) -> tuple[Path, str] | None:
        """The file of the model that `visrec learn` published, and its SHA-256, if there is one."""
        digest = self.manifest.model
        if digest is None:
            return None
        held = self._model
        return (self.layout.model(digest) if held is None else Path(f"/dev/fd/{held.fileno()}")), digest

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of all vectors in use, ascending."""
        return np.concatenate(
            [np.empty(0, np.int64)]
            + [shard.first_position + _alive(shard.rows, shard.deleted) for shard in self.manifest.shards]
        )

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions* (n, dim), in that order, projected where the generation has a projection.

        Raises StoreDamaged for a position that is in no shard, and for a vector without a direction.
        """
        vectors = self.encoder_vectors(positions)
        if self.projection is None:
            return vectors
        return self._projected(
            self.projection, self.projection.completed(vectors) if self.projection.parts else vectors
        )

    def cosines(self, positions: NDArray[np.int64], queries: Vectors) -> NDArray[np.float32] | None:
        """Return the cosines (m, n) of *queries* (m, dim) with the vectors at *positions* (m, n), -2 where one is < 0.

        Returns None where the vectors have to be read first, see `vectors`.
        """
        return None if self.projection is not None else self._vectors.cosines(positions, queries)

    def open_shards(self) -> OpenShards | None:
        """Where the vectors lie that `cosines` compares; None where it returns None."""
        return None if self.projection is not None else self._vectors.open

    def project(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim of the encoder) in the space of the store, of unit length; NaN is not known.

        Without a projection, *vectors* are returned unchanged. Raises StoreDamaged for a vector that the projection
        gives no direction, which does not happen by chance.
        """
        if self.projection is None:
            return vectors
        return self._projected(self.projection, self.projection.completed(vectors))

    def _projected(self, projection: Projection, vectors: NDArray[np.floating]) -> Vectors:
        projected, alive = normalize_rows(projection.apply(vectors))
        if not alive.all():
            raise StoreDamaged(
                f"the projection of {self.layout.root} gives a vector no direction; run `visrec tune --undo`"
            )
        return projected

    def encoder_vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions* as the encoder made them: read as float16, then scaled to unit length.

        Raises as `vectors` does.
        """
        vectors, alive = self._vectors.unit(positions)
        if not alive.all():
            raise self._vectors.damaged(int(positions[np.argmin(alive)]), "has no direction")
        return vectors

    def stored_vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the vectors at *positions* (n, dim) as the shards hold them: those of the encoder, not scaled."""
        return self._vectors.read(positions)

    def rows(self, positions: Iterable[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images that have its vector, by id, then by image."""
        return self.items.rows(positions, limit)

    def positions_of(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the position of the vector of each image digest of *digests*, which rows have named."""
        return self.items.positions(digests)

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return the vectors (n, dim) of the n images with *digests*, in that order, as `vectors` does."""
        positions = self.items.positions(digests)
        return self.vectors(np.array([positions[digest] for digest in digests], dtype=np.int64))

    def sample_vectors(self, count: int) -> Vectors:
        """Return at most *count* vectors (n, dim), always the same ones, spread evenly over all images."""
        positions = self.positions()
        return self.vectors(positions[:: max(1, -(-len(positions) // count))])

    def attribute_types(self) -> Mapping[str, AttributeType]:
        """Return the types of the values that the items have under each attribute."""
        return self._bitmaps.attribute_types

    def attribute_columns(self) -> Sequence[AttributeColumns]:
        """Return the attribute columns of each items file, or nothing where one of them was deleted."""
        return self._columns or ()

    def filtered(self, where: Filter) -> FilteredStore:
        """Return the part of the store that *where* selects.

        Raises FilterError where *where* does not fit `attribute_types`.
        """
        from vision_recs.store.attributes.bitmaps import FilteredStore

        return FilteredStore(self, where)

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text that *where* looks for and no item has, with the nearest one that one has."""
        return self._bitmaps.unknown_values(where)

    def mask(self, where: Filter) -> NDArray[np.bool_]:
        """Return, for each position up to the end of the last shard, whether an item that matches *where* is there.

        Items that do not match may have the same vector: see `FilteredStore`. The mask is cached, and must not be
        written to. Raises FilterError where *where* does not fit `attribute_types`.
        """
        return self._bitmaps.select(where).mask

    def count(self, where: Filter) -> int:
        """Return how many positions `mask` marks."""
        return self._bitmaps.select(where).total

    def select(self, where: Filter) -> NDArray[np.int64]:
        """Return the positions that `mask` marks, ascending; the array must not be written to."""
        return self._bitmaps.select(where).positions

    def lookup(self) -> RowLookup | None:
        """Return the items by the positions of their vectors; None where the attribute columns were deleted."""
        return self._lookup

    def known(self, items: Sequence[str], rows: Sequence[int] | None = None) -> Mapping[str, KnownItem]:
        """Return the attributes and images of each of *items*, which are few, by id; an unknown id is left out.

        With the *rows* of `lookup` in which the items are, those are read, which takes a third of the time.
        """
        found = None if rows is None or self._lookup is None else self._lookup.known(rows)
        return self.items.known(items) if found is None else dict(zip(items, found, strict=True))

    def pin(self) -> None:
        """Open every file now, so that nobody can remove one before it is needed."""
        _ = self.projection, self._columns  # opened when they are first used
        if self.model_file is not None and self._model is None:
            path, _ = self.model_file
            try:
                self._model = path.open("rb")
            except OSError as error:
                raise read_error(path, error, "run `visrec learn --undo`, or restore it from a backup") from error
        self._vectors.open_all()

    def attributes(self, item: str) -> dict[str, Attribute]:
        """Return the attributes of *item*; raises UnknownItem."""
        found = self.items.attributes(item)
        if found is None:
            raise self._unknown(item)
        return found

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        return self.items.attributes_of(items)

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> Sequence[Mapping[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where either is unknown."""
        return self.items.match_attributes(images)

    def ids(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the ids greater than *after*, ascending, the first *limit* of them."""
        return self.items.ids_after(after, -1 if limit is None else limit)

    def stored_rows(self) -> Iterator[StoredRow]:
        """Yield every image, by id, then by ordinal."""
        last: StoredRow | None = None
        while rows := self.items.rows_after(last, _PAGE):
            yield from rows
            last = rows[-1]

    def all_attributes(self) -> Iterator[tuple[str, Mapping[str, Attribute]]]:
        """Yield each id with its attributes, by id."""
        return self.items.all_attributes()

    def images(self, item: str) -> list[ItemImage]:
        """Return the images of *item* in the order of the catalog; raises UnknownItem."""
        found = self.items.images(item)
        if not found:
            raise self._unknown(item)
        return found

    def changed_since(self, other: Store) -> list[str] | None:
        """Return the items of which this generation and *other* may differ; None where they have not the same base."""
        mine, others = self.manifest.items_files, other.manifest.items_files
        if mine[0] != others[0]:
            return None
        changed: set[str] = set()
        for store, known in ((self, others), (other, mine)):
            for number, entry in enumerate(store.manifest.items_files):
                if entry not in known:
                    changed.update(*store.items.stored.pages_of_changed(number))
        return sorted(changed)

    def close(self) -> None:
        """Close the files; the store cannot be used afterwards. A second call does nothing."""
        self._vectors.close()
        self.items.close()
        if self._model is not None:
            self._model.close()
        for cached in ("_columns", "_bitmaps", "_lookup"):
            self.__dict__.pop(cached, None)

    @cached_property
    def _columns(self) -> list[AttributeColumns] | None:
        """The attribute columns of each items file, unless one of them was deleted."""
        from vision_recs.store.attributes.format import AttributeColumns

        try:
            return [
                AttributeColumns(self.layout.attributes(entry.generation), items_digest=entry.digest)
                for entry in self.manifest.items_files
            ]
        except FileNotFoundError:
            return None

    @cached_property
    def _bitmaps(self) -> FilterBitmaps:
        from vision_recs.store.attributes.bitmaps import FilterBitmaps

        return FilterBitmaps(self.items, self._columns, vectors=self._vectors.end)

    @cached_property
    def _lookup(self) -> RowLookup | None:
        from vision_recs.store.attributes.lookup import RowLookup

        return None if self._columns is None else RowLookup(self._bitmaps.table, vectors=self._vectors.end)

    def _unknown(self, item: str) -> UnknownItem:
        skipped = self.items.skipped(item)
        if skipped:
            what = f"its image {skipped[0].image}" if skipped[0].image else "a row of it"
            why = f"{what} was skipped ({skipped[0].message})"
            return UnknownItem(f"the item {item!r} is not in the store: {why}", item=item)
        nearest = tuple(difflib.get_close_matches(item, self._like(item), n=3, cutoff=0.0))
        hint = ", ".join(nearest)
        return UnknownItem(f"no item has the id {item!r}; the nearest are {hint}", item=item, nearest=nearest)

    def _like(self, item: str) -> list[str]:
        """Return the ids to compare with *item*: those with the longest prefix in common, else some ids."""
        if self.manifest.items <= _NEAREST_AMONG:
            return self.items.ids()
        for length in range(len(item), -1, -1):
            found = self.items.ids(item[:length], _NEAREST_AMONG)
            if found:
                return found
        return []


def _alive(rows: int, deleted: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    alive = np.ones(rows, dtype=bool)
    for first, stop in deleted:
        alive[first:stop] = False
    return np.flatnonzero(alive).astype(np.int64)

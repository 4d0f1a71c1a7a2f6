"""Records: one for each image of each item, as they are published.

key               what names the record: a digest of the item's id and the image, and of how often it shows it before
hash              a digest of all else, by which a rerun finds what has changed
item image        the id of the item, and the reference of the image
ordinal           the place of the image among those of its item, from 0
digest            the SHA-256 of the image's bytes, in hexadecimal
attributes        those of the item, as JSON
image_attributes  those of the image alone, as JSON
NAME__KIND        the values of an attribute that filters test: see `columns`
vector            as the store has it, so that scores are those of the store to the last bit
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import compress, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import base
from vision_recs.engines.base import Schema, VectorType
from vision_recs.engines.cells import Held, arrays_of, attribute_cells, kinds_of_items, strings
from vision_recs.engines.columns import Kinds, columns_of
from vision_recs.store import Store
from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.store.attributes.format import UNREADABLE, AttributeColumns
from vision_recs.store.attributes.table import ItemTable, Part
from vision_recs.store.attributes.values import values_of
from vision_recs.store.attributes.write import write_attribute_columns
from vision_recs.store.stored_items import FileImages

if TYPE_CHECKING:
    import pyarrow as pa

KEY_BYTES, HASH_BYTES = 16, 8

_FORMAT = 3
"""Part of every hash: where records are made in another way, all of them are written again."""


class StoreRecords:
    """The records of a store. A store with a projection has projected vectors, which float16 would round."""

    def __init__(self, store: Store) -> None:
        """Read *store*, which has to stay open."""
        self._store = store
        self._vector_type: VectorType = "float16" if store.projection is None else "float32"

    @cached_property
    def schema(self) -> Schema:
        """What the records look like; the attributes of every item are read."""
        return Schema(self._store.fingerprint, self._store.dim, self._vector_type, columns_of(self.kinds))

    @cached_property
    def kinds(self) -> Kinds:
        """The kinds of columns of each attribute."""
        return kinds_of_items(self._items, self._store.items)

    def tables(self, size: int) -> Iterator[pa.Table]:
        """Yield all records, about *size* at a time, those of an item together; raises StoreDamaged.

        A table has the columns of the schema.
        """
        files = {id(columns): number for number, columns in enumerate(self._columns)}
        for part in self._items.parts:
            for some in _runs(part, size):
                table = self._table(files[id(part.columns)], some)
                if len(table):
                    yield table

    @cached_property
    def _items(self) -> ItemTable:
        return ItemTable(self._columns)

    @cached_property
    def _columns(self) -> Sequence[AttributeColumns]:
        return self._store.attribute_columns() or _columns_made(self._store)

    def _table(self, file: int, some: _Run) -> pa.Table:
        """Return the records of the items *some* of the *file* with that number, but for those that are replaced."""
        import pyarrow as pa

        ids = some.ids
        attributes, images = self._store.items.stored.of_file(file, ids[0].as_py(), ids[-1].as_py())
        if len(attributes) != len(ids) or not all(len(each) == len(some.positions) for each in images):
            raise some.part.columns.damage("it has other items than the store")
        alive = self._items.alive[some.part.first + some.first : some.part.first + some.stop]
        owners, positions = some.owners, some.positions
        if not alive.all():
            shown = alive[owners]
            ids, attributes = ids.filter(pa.array(alive)), list(compress(attributes, alive))
            owners, positions = (np.cumsum(alive) - 1)[owners[shown]], positions[shown]
            images = FileImages(*(list(compress(each, shown)) for each in images))
        held = Held(ids, attributes)
        columns = self._of_images(held, owners, images, positions)
        for name, kinds in self.kinds.items():
            values = values_of(arrays_of(some.part, name), some.first, some.stop).of(alive)
            cells = attribute_cells(name, values, kinds, held)
            columns |= {column: _of_owners(each, owners) for column, each in cells.items()}
        arrow = self.schema.arrow()
        return pa.table([columns[name] for name in arrow.names], schema=arrow)

    def _of_images(
        self, held: Held, owners: NDArray[np.int64], images: FileImages, positions: NDArray[Any]
    ) -> dict[str, pa.Array]:
        """Return the columns that every record has; *owners* are the numbers of the items that show the *images*."""
        import pyarrow as pa

        names, own, digests = images
        is_single = len(owners) == len(held.ids)
        ids, texts = held.ids.to_pylist(), held.attributes
        if not is_single:
            ids, texts = ([each[owner] for owner in owners.tolist()] for each in (ids, texts))
        vectors = np.ascontiguousarray(self._vectors(positions.astype(np.int64)))
        ordinals = np.arange(len(owners)) - np.searchsorted(owners, owners)
        keys = _keys(ids, names, repeat(0) if is_single else _repeats(ids, names))
        hashes = _hashes(ordinals, digests, texts, own, _digests_of(vectors))
        return {
            base.KEY: _hexadecimal(keys, KEY_BYTES),
            base.HASH: _hexadecimal(hashes, HASH_BYTES),
            base.ITEM: _of_owners(held.ids, owners),
            base.IMAGE: pa.array(names, pa.string()),
            base.ORDINAL: pa.array(ordinals.astype(np.int32)),
            base.DIGEST: pa.array(digests, pa.string()),
            base.ATTRIBUTES: _of_owners(pa.array(held.attributes, pa.string()), owners),
            base.IMAGE_ATTRIBUTES: pa.array(own, pa.string()),
            base.VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }

    def _vectors(self, positions: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the vectors at *positions* (n, dim): as they were stored, or projected."""
        is_half = self._vector_type == "float16"
        return self._store.stored_vectors(positions) if is_half else self._store.vectors(positions)


class _Run(NamedTuple):
    """Items of a *part* that follow each other, from *first* to before *stop*, and the positions of their vectors.

    *ids* are theirs; *owners* are the numbers of the items, counted from *first*, that have the *positions*.
    """

    part: Part
    first: int
    stop: int
    ids: pa.Array
    owners: NDArray[np.int64]
    positions: NDArray[Any]


def _runs(part: Part, size: int) -> Iterator[_Run]:
    """Yield the items of *part*, so many at a time as have about *size* images; raises StoreDamaged."""
    import pyarrow as pa

    arrays, count = part.group.arrays, part.group.items
    try:
        positions = part.columns.array(arrays["positions"])
        counts = part.columns.array(arrays["image_counts"]) if "image_counts" in arrays else np.ones(count, np.uint8)
        ids = strings(Dictionary(*(part.columns.array(arrays[name]) for name in ("ids", "id_ends"))))
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        if len(ids) != count or len(counts) != count or ends[-1] != len(positions):
            raise ValueError("its image counts do not add up")
    except UNREADABLE as error:
        raise part.columns.damage(error) from error
    first = 0
    while first < count:
        stop = max(first + 1, int(np.searchsorted(ends, ends[first] + size, side="right")) - 1)
        owners = np.repeat(np.arange(stop - first), counts[first:stop])
        own = ids.slice(first, stop - first).cast(pa.string())
        yield _Run(part, first, stop, own, owners, positions[ends[first] : ends[stop]])
        first = stop


def _columns_made(store: Store) -> Sequence[AttributeColumns]:
    """Return the attribute columns of *store*, where some were deleted: made for this run, in files without names."""
    made: list[AttributeColumns] = []
    with TemporaryDirectory(prefix="visrec-") as folder:
        below: list[tuple[Path, str]] = []
        for entry in store.manifest.items_files:
            target = Path(folder, f"{entry.generation}.bin")
            items = store.layout.items(entry.generation)
            write_attribute_columns(items, target, items_digest=entry.digest, below=below)
            made.append(AttributeColumns(target, items_digest=entry.digest))
            below.append((target, entry.digest))
    return made


def _of_owners(values: pa.Array, owners: NDArray[np.int64]) -> pa.Array:
    """Return the value of the item of each image, from the *values* of the items; every item has an image."""
    return values if len(owners) == len(values) else values.take(owners)


def _keys(ids: Sequence[str], images: Sequence[str], repeats: Iterator[int]) -> list[bytes]:
    """Return the key of each image; *repeats* say how often its item shows the same image before."""
    digest = partial(hashlib.blake2b, digest_size=KEY_BYTES)
    each = zip(ids, images, repeats, strict=False)
    return [digest(f"{len(item)} {item}{image} {times}".encode()).digest() for item, image, times in each]


def _repeats(ids: Sequence[str], images: Sequence[str]) -> Iterator[int]:
    seen = Counter[tuple[str, str]]()
    for pair in zip(ids, images, strict=True):
        yield seen[pair]
        seen[pair] += 1


def _hashes(
    ordinals: NDArray[np.int64],
    digests: Sequence[str],
    attributes: Sequence[str],
    own: Sequence[str],
    vectors: NDArray[np.uint64],
) -> list[bytes]:
    """Return the hash of each record: of the format, the ordinal, digests of image and vector, and attributes."""
    digest_of = partial(hashlib.blake2b, digest_size=HASH_BYTES)
    return [
        digest_of(f"{_FORMAT} {ordinal} {digest} {vector} {len(text)} {text}{image_text}".encode()).digest()
        for ordinal, digest, vector, text, image_text in zip(
            ordinals.tolist(), digests, vectors.tolist(), attributes, own, strict=True
        )
    ]


def _digests_of(vectors: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return a digest of the bytes of each of *vectors* (n, dim): the sum of its words times odd numbers, modulo 2^64.

    Vectors that differ have the same with a probability of about 2^-32.
    """
    word = np.uint16 if vectors.itemsize * vectors.shape[1] % 4 else np.uint32
    words: NDArray[np.unsignedinteger] = vectors.view(word)
    odd = np.frombuffer(hashlib.shake_128(b"visrec").digest(8 * words.shape[1]), np.uint64) | np.uint64(1)
    digests: NDArray[np.uint64] = np.einsum("ij,j->i", words, odd)
    return digests


def _hexadecimal(digests: Sequence[bytes], size: int) -> pa.Array:
    """Return *digests* of *size* bytes as texts."""
    import pyarrow as pa

    offsets = np.arange(len(digests) + 1, dtype=np.int32) * np.int32(2 * size)
    return pa.StringArray.from_buffers(
        len(digests), pa.py_buffer(offsets), pa.py_buffer(b"".join(digests).hex().encode())
    )

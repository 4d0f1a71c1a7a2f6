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
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import base
from vision_recs.engines.base import Schema, VectorType
from vision_recs.engines.columns import Kinds, cells, columns_of, kinds_of
from vision_recs.store import Store
from vision_recs.store.stored_items import StoredItem
from vision_recs.types import Attribute

if TYPE_CHECKING:
    import pyarrow as pa

KEY_BYTES, HASH_BYTES = 16, 8

_FORMAT = 2
"""Part of every hash: where records are made in another way, all of them are written again."""


class Record(NamedTuple):
    """An image of an item; *position* is that of its vector in the source.

    The attributes are JSON text. *repeat* counts how often the item shows the same image before.
    """

    item: str
    image: str
    ordinal: int
    digest: str
    position: int
    attributes: str
    image_attributes: str
    repeat: int = 0


class RecordSource(Protocol):
    """A generation whose records are published."""

    @property
    def space(self) -> str:
        """The space of the vectors."""
        ...

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        ...

    @property
    def vector_type(self) -> VectorType:
        """The type of numbers that holds the vectors without a loss."""
        ...

    def attributes(self) -> Iterator[Mapping[str, Attribute]]:
        """Yield the attributes of each item."""
        ...

    def records(self, size: int) -> Iterator[list[Record]]:
        """Yield all records, about *size* at a time, those of an item together."""
        ...

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the vectors at *positions* (n, dim) as numbers of `vector_type`, of any length."""
        ...


class StoreRecords:
    """The records of a store. A store with a projection has projected vectors, which float16 would round."""

    def __init__(self, store: Store) -> None:
        """Read *store*, which has to stay open."""
        self._store = store
        self.space, self.dim = store.fingerprint, store.dim
        self.vector_type: VectorType = "float16" if store.projection is None else "float32"

    def attributes(self) -> Iterator[Mapping[str, Attribute]]:
        """Yield the attributes of each item."""
        for _, attributes in self._store.items.all_attributes():
            yield attributes

    def records(self, size: int) -> Iterator[list[Record]]:
        """Yield all records, items by id, about *size* at a time; raises StoreDamaged."""
        batch: list[Record] = []
        for ids in self._store.items.pages_of_ids():
            for start in range(0, len(ids), size):
                some = ids[start : start + size]
                stored = self._store.items.stored.items(some)
                for item in some:
                    batch += self._of_item(item, stored[item])
                    if len(batch) >= size:
                        yield batch
                        batch = []
        if batch:
            yield batch

    def _of_item(self, item: str, stored: StoredItem) -> list[Record]:
        found: list[Record] = []
        seen: dict[str, int] = {}
        for image in stored.images:
            if image.position is None or image.digest is None:
                continue
            repeat = seen.get(image.image, 0)
            seen[image.image] = repeat + 1
            names = (item, image.image, len(found), image.digest.hex())
            found.append(Record(*names, image.position, stored.attributes, image.attributes, repeat))
        return found

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the vectors at *positions* (n, dim): as they were stored, or projected."""
        return (
            self._store.stored_vectors(positions) if self.vector_type == "float16" else self._store.vectors(positions)
        )


def schema_of(source: RecordSource) -> tuple[Schema, Kinds]:
    """Return what the records of *source* look like; the attributes of every item are read."""
    kinds = kinds_of(source.attributes())
    return Schema(source.space, source.dim, source.vector_type, columns_of(kinds)), kinds


def key_of(record: Record) -> str:
    """Return the key of *record*: 32 hexadecimal digits."""
    text = f"{len(record.item)} {record.item}{record.image} {record.repeat}"
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).hexdigest()


def table_of(records: Sequence[Record], source: RecordSource, schema: Schema, kinds: Kinds) -> pa.Table:
    """Return *records* of *source* with their keys, hashes and vectors, as a table with the columns of *schema*.

    The columns hold the attributes of *kinds*.
    """
    import pyarrow as pa

    vectors = np.ascontiguousarray(source.vectors(np.array([record.position for record in records], np.int64)))
    assert vectors.dtype == schema.vector_type
    columns: list[Sequence[object]] = list(zip(*records, strict=True)) or [()] * len(Record._fields)
    texts = [record.attributes for record in records]
    values = dict(zip(Record._fields, columns, strict=True))
    values |= {
        base.KEY: [key_of(record) for record in records],
        base.HASH: [_hash(*each) for each in zip(records, vectors, strict=True)],
        **cells([record.item for record in records], json.loads(f"[{','.join(texts)}]"), kinds),
    }
    arrow = schema.arrow()
    arrays = {name: pa.array(values[name], arrow.field(name).type) for name in arrow.names if name != base.VECTOR}
    arrays[base.VECTOR] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), schema.dim)
    return pa.table([arrays[name] for name in arrow.names], schema=arrow)


def _hash(record: Record, vector: NDArray[np.floating]) -> str:
    text = f"{_FORMAT} {record.ordinal} {record.digest} {len(record.attributes)} {record.attributes}"
    content = f"{text}{record.image_attributes}".encode() + vector.tobytes()
    return hashlib.blake2b(content, digest_size=HASH_BYTES).hexdigest()

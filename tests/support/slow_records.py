"""The records of items, made one at a time in the obvious way: what those of a store have to equal."""

import hashlib
import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from vision_recs.engines.base import Schema
from vision_recs.engines.columns import cells, columns_of, kinds_of

MODULUS = 2**64


class Record(NamedTuple):
    """An image of an item, with the position of its vector; attributes are JSON text.

    *repeat* counts how often the item shows the same image before.
    """

    item: str
    image: str
    ordinal: int
    digest: str
    position: int
    attributes: str
    image_attributes: str
    repeat: int = 0


def records_of(store):
    """Return a record for each image of each item of *store* that has a vector."""
    found = []
    for item in store.ids():
        stored = store.items.stored.items([item])[item]
        seen = []
        for image in stored.images:
            if image.position is not None:
                names = (item, image.image, len(seen), image.digest.hex(), image.position)
                found.append(Record(*names, stored.attributes, image.attributes, seen.count(image.image)))
                seen.append(image.image)
    return found


def table_of(records, vectors, space):
    """Return *records* with their *vectors* (n, dim) as a table, and the kinds of its columns."""
    attributes = [json.loads(record.attributes) for record in records]
    kinds = kinds_of(attributes)
    arrow = Schema(space, vectors.shape[1], vectors.dtype.name, columns_of(kinds)).arrow()
    columns = {name: [getattr(record, name) for record in records] for name in Record._fields}
    columns |= cells(columns["item"], attributes, kinds)
    columns["key"] = [_key(record) for record in records]
    columns["hash"] = [_hash(record, vector) for record, vector in zip(records, vectors, strict=True)]
    columns["vector"] = list(vectors)
    return pa.table([pa.array(columns[field.name], field.type) for field in arrow], schema=arrow), kinds


def _key(record):
    text = f"{len(record.item)} {record.item}{record.image} {record.repeat}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _hash(record, vector):
    data = vector.tobytes()
    size = 2 if len(data) % 4 else 4
    words = [int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]
    factors = np.frombuffer(hashlib.shake_128(b"visrec").digest(8 * len(words)), "<u8").tolist()
    digest = sum(word * (factor | 1) for word, factor in zip(words, factors, strict=True)) % MODULUS
    text = f"3 {record.ordinal} {record.digest} {digest} {len(record.attributes)} {record.attributes}"
    return hashlib.blake2b(f"{text}{record.image_attributes}".encode(), digest_size=8).hexdigest()

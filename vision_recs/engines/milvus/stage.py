"""`MilvusStage`: the records of the next serial, which no reader sees."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import sleep
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vision_recs.engines import base
from vision_recs.engines.base import EXACT_UP_TO, Kind, Report, Schema
from vision_recs.engines.columns import cells, kinds_of
from vision_recs.engines.milvus.client import Connection, page_size
from vision_recs.engines.milvus.dialect import kind_of, literal
from vision_recs.engines.milvus.rows import (
    BORN,
    DIED,
    JSONS,
    MOST_BYTES_OF_FIELD,
    MOST_ELEMENTS,
    ROW,
    TEXTS,
    rows_of,
    table_of_rows,
    vector_of,
)
from vision_recs.engines.milvus.state import State
from vision_recs.engines.milvus.table import LISTS, Serial

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 500  # keys in one condition, of which all fields are read and written again
_COPIED_AT_ONCE = 2_000
_POLLED_EVERY_S = 0.2
_MOST_BYTES = 16 << 20  # of one request; a server takes 64 MB


class Collections(Protocol):
    """What a stage needs of the engine."""

    def state(self, collection: str) -> State:
        """Return the state of *collection*."""
        ...

    def keep_state(self, collection: str, state: State) -> None:
        """Keep *state* of *collection*."""
        ...


class MilvusStage:
    """The records of *collection* in the serial after its newest one; or of a collection that is to be made.

    A collection that is made begins with the records of *published*, where there are any.
    """

    def __init__(  # noqa: PLR0913 - what there is, and what is to be
        self,
        connection: Connection,
        collections: Collections,
        schema: Schema,
        collection: str,
        *,
        exists: bool,
        published: Serial | None,
    ) -> None:
        """Write records of *schema*, whose columns are all fields; nothing is written yet."""
        self._connection = connection
        self._collections = collections
        self._schema = schema
        self._name = collection
        self._exists = exists
        self._published = published
        self._state = collections.state(collection) if exists else State()
        self._is_open = False

    def known(self) -> Iterator[pa.Table]:
        """Yield the keys and the hashes of the records that the stage begins with."""
        start = self._newest if self._exists else self._published
        if start is not None:
            columns = [base.KEY, base.HASH]
            for page in self._pages(start, columns, start.condition, page_size(columns, base.VECTOR, 0)):
                yield table_of_rows(page, columns, start.schema)

    def insert(self, records: pa.Table) -> None:
        """Write *records*."""
        self._open(len(records))
        count = max(1, len(records) * _MOST_BYTES // (2 * records.nbytes + 1))
        for start in range(0, len(records), count):
            some = records.slice(start, count)
            rows = rows_of(some, self._schema.columns, self._state.newest, self._numbers)
            self._connection.call("insert", self._name, rows)

    def replace(self, records: pa.Table) -> None:
        """Write *records* in the place of those with the same keys; a run that ends between the two lacks them."""
        self.delete(records.column(base.KEY).to_pylist())
        self.insert(records)

    def delete(self, keys: Sequence[str]) -> None:
        """Let the records with these *keys* die in this serial; those that were born in it go."""
        self._open(len(keys))
        for start in range(0, len(keys), _AT_ONCE):
            some = ", ".join(map(literal, keys[start : start + _AT_ONCE]))
            condition = f"({self._newest.condition} and {base.KEY} in [{some}])"
            self._connection.call("delete", self._name, filter=f"({condition} and {BORN} == {self._state.newest})")
            fields = [BORN, *self._schema.arrow().names]
            for page in self._pages(self._newest, fields, condition):
                dead = [row | {base.VECTOR: vector_of(row[base.VECTOR]), DIED: self._state.newest} for row in page]
                self._connection.call("upsert", self._name, dead)

    def seal(self, name: str, report: Report) -> str:
        """Wait until the records are stored, indexed and loaded, and note the serial, which tells all generations."""
        del name
        if self._is_open or self._state.newest not in self._state.sealed:
            self._open(0)
            report("making the index", 0, None)
            self._connection.wait("flush", self._name)
            while int(self._connection.call("describe_index", self._name, base.VECTOR).get("pending_index_rows", 0)):
                sleep(_POLLED_EVERY_S)
            self._connection.wait("load_collection", self._name)
            self._connection.refresh()
            self._keep(replace(self._state, sealed=[*self._state.sealed, self._state.newest]))
        return self._newest.token

    @property
    def _newest(self) -> Serial:
        return Serial(self._name, self._state.newest, self._schema)

    @property
    def _numbers(self) -> np.dtype[Any]:
        is_half = self._connection.has_float16 and self._schema.vector_type == "float16"
        return np.dtype(np.float16 if is_half else np.float32)

    def _open(self, count: int) -> None:
        """Begin the next serial, with a write of *count* records; a collection is made where there is none."""
        if self._is_open:
            return
        self._is_open = True
        if not self._exists:
            self._make(count)
        self._keep(replace(self._state, newest=self._state.newest + 1))
        if not self._exists and self._published is not None:
            self._copy(self._published)

    def _keep(self, state: State) -> None:
        self._collections.keep_state(self._name, state)
        self._state = state

    def _copy(self, published: Serial) -> None:
        """Write the records of *published*, whose collection lacks columns that are needed now."""
        import pyarrow as pa

        fixed = [name for name in published.schema.arrow().names if kind_of(name) is None]
        for page in self._pages(published, fixed, published.condition):
            found = table_of_rows(page, fixed, published.schema)
            attributes = [json.loads(text) for text in found.column(base.ATTRIBUTES).to_pylist()]
            own = cells(found.column(base.ITEM).to_pylist(), attributes, kinds_of(attributes))
            nothing = [None] * len(found)
            arrow = self._schema.arrow()
            for column in self._schema.columns:
                values = pa.array(own.get(column.name, nothing), arrow.field(column.name).type)
                found = found.append_column(column.name, values)
            self.insert(found)

    def _pages(
        self, serial: Serial, fields: Sequence[str], condition: str, size: int = _COPIED_AT_ONCE
    ) -> Iterator[list[dict[str, Any]]]:
        size = min(size, page_size(fields, base.VECTOR, self._schema.dim))
        return self._connection.pages(serial.collection, condition, fields, ROW, size, consistency_level="Strong")

    def _make(self, count: int) -> None:
        """Make the collection, index and load it at once: the server indexes what comes, and a stopped run can read."""
        from pymilvus import DataType

        client = self._connection.client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ROW, DataType.VARCHAR, max_length=64, is_primary=True)
        for name, most in (TEXTS | JSONS).items():
            schema.add_field(name, DataType.VARCHAR, max_length=most)
        for name in (base.ORDINAL, BORN, DIED):
            schema.add_field(name, DataType.INT64)
        for column in self._schema.columns:
            schema.add_field(column.name, **_field_type(column.kind))
        is_half = self._numbers == np.float16
        vector = DataType.FLOAT16_VECTOR if is_half else DataType.FLOAT_VECTOR
        schema.add_field(base.VECTOR, vector, dim=self._schema.dim)
        index = client.prepare_index_params()
        if self._connection.is_file and count <= EXACT_UP_TO:  # FAISS does not make many parts of few vectors
            index.add_index(base.VECTOR, index_type="FLAT", metric_type="COSINE")
        else:
            index.add_index(base.VECTOR, index_type="IVF_FLAT", metric_type="COSINE", params={"nlist": LISTS})
        self._connection.wait(
            "create_collection", self._name, schema=schema, index_params=index, consistency_level="Strong"
        )


def _field_type(kind: Kind) -> dict[str, Any]:
    """Return how the field of a column of *kind* is declared."""
    from pymilvus import DataType

    text = {"max_length": MOST_BYTES_OF_FIELD}
    types: dict[Kind, dict[str, Any]] = {
        "text": {"datatype": DataType.VARCHAR, **text},
        "number": {"datatype": DataType.DOUBLE},
        "integer": {"datatype": DataType.INT64},
        "boolean": {"datatype": DataType.INT8},
        "set": {
            "datatype": DataType.ARRAY,
            "element_type": DataType.VARCHAR,
            "max_capacity": MOST_ELEMENTS,
            **text,
        },
        "other": {"datatype": DataType.INT8},
    }
    return types[kind]

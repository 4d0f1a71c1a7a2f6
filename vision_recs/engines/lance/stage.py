"""`LanceStage`: the newest version of the table of a space, which no reader sees before it has a tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vision_recs.engines import base
from vision_recs.engines.base import EXACT_UP_TO, ColumnTest, Report, Schema
from vision_recs.engines.lance.connection import Connection
from vision_recs.engines.lance.table import LanceTable
from vision_recs.engines.lance.versions import tidy
from vision_recs.engines.sql import SqlDialect

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import Table as Opened

_INDEXED = (base.ITEM, base.DIGEST)
"""Columns by which records are looked up; the column of keys is read whole."""

_RQ_MULTIPLE = 8
"""IVF_RQ takes vectors of so many numbers or a multiple; of others, each number becomes a byte (IVF_SQ)."""

_REBUILT_FROM = 0.3
"""The share of records outside of the index from which the index is made anew, not extended."""


class LanceStage:
    """The newest version of the table of a space."""

    def __init__(self, connection: Connection, schema: Schema, name: str) -> None:
        """Write records of *schema* to the table *name*, which is made with the first of them."""
        self._connection = connection
        self._schema = schema
        self._name = name
        self._table = connection.table(name)

    def known(self) -> Iterator[pa.Table]:
        """Yield the keys and the hashes of all records."""
        if self._table is not None:
            yield from LanceTable(self._connection, self._table).scan([base.KEY, base.HASH])

    def insert(self, records: pa.Table) -> None:
        """Append *records*: one version."""
        table = self._writable()
        self._connection.do(table.add, _with_columns(records, table.schema))

    def replace(self, records: pa.Table) -> None:
        """Write *records* in the place of those with their keys: one version."""
        table = self._writable()
        merge = table.merge_insert(base.KEY).when_matched_update_all()
        self._connection.do(merge.execute, _with_columns(records, table.schema))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the records with these *keys*: one version."""
        if self._table is not None:
            self._connection.do(self._table.delete, SqlDialect().test(ColumnTest(base.KEY, "in", tuple(keys))))

    def seal(self, name: str, report: Report) -> str:
        """Index the records, and tag the version: *name* and the number of the version."""
        table = self._writable()
        count = self._connection.do(table.count_rows)
        report("making the index", 0, None)
        self._index(table, count)
        tag = f"{name}-v{table.version}"
        if tag not in self._connection.do(table.tags.list):
            self._connection.do(table.tags.create, tag, table.version)
        return f"{self._name}@{tag}"

    def _index(self, table: Opened, count: int) -> None:
        from lancedb.index import BTree, IvfRq, IvfSq

        is_indexed = {column for index in self._connection.do(table.list_indices) for column in index.columns}
        outside = self._outside(table) if base.VECTOR in is_indexed else count
        if outside or not is_indexed.issuperset(_INDEXED):
            self._connection.do(tidy, table)
        for column in _INDEXED:
            if column not in is_indexed and count:
                self._connection.do(table.create_index, column, config=BTree())
        if count > EXACT_UP_TO and outside > _REBUILT_FROM * count:
            # IVF_PQ did not come to an end where IVF_RQ takes seconds: 79 bytes a vector of 512 numbers
            codes = IvfSq if self._schema.dim % _RQ_MULTIPLE else IvfRq
            self._connection.do(table.create_index, base.VECTOR, config=codes(distance_type="dot"), replace=True)

    def _outside(self, table: Opened) -> int:
        name = next(index.name for index in self._connection.do(table.list_indices) if base.VECTOR in index.columns)
        stats = self._connection.do(table.index_stats, name)
        return 0 if stats is None else int(stats.num_unindexed_rows)

    def _writable(self) -> Opened:
        """Return the table, with all columns of the schema."""
        import pyarrow as pa

        wanted = self._schema.arrow()
        if self._table is None:
            self._table = self._connection.made(self._name, wanted)
        missing = [field for field in wanted if field.name not in self._table.schema.names]
        if missing:
            self._connection.do(self._table.add_columns, pa.schema(missing))
        return self._table


def _with_columns(records: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return *records* with the columns of *schema*, null where they have none."""
    import pyarrow as pa

    arrays = [
        records.column(field.name) if field.name in records.column_names else pa.nulls(len(records), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)

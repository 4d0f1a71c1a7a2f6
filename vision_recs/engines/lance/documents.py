"""Documents in LanceDB: rows of a table of their own, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vision_recs.engines.base import ColumnTest
from vision_recs.engines.lance.connection import Connection
from vision_recs.engines.lance.versions import tidy
from vision_recs.engines.published import CURRENT
from vision_recs.engines.sql import SqlDialect

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import Table as Opened

TABLE = "visrec_documents"
_NAME, _DATA = "name", "data"


class Documents:
    """Documents by name. Each write is one version of the table.

    CURRENT has a row from the beginning, whose data are null: LanceDB tells of two writers of a row, not of two that
    add one.
    """

    def __init__(self, connection: Connection) -> None:
        """Keep documents in a table, which is made when the first is written."""
        self._connection = connection

    def read(self, names: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, bytes]:
        """Return the documents with these *names*, and those whose names begin with one of *prefixes*."""
        tests = [ColumnTest(_NAME, "in", tuple(names))] if names else []
        tests += [ColumnTest(_NAME, "startswith", prefix) for prefix in prefixes]
        rows = self._rows([_NAME, _DATA], " OR ".join(map(SqlDialect().test, tests)))
        return {row[_NAME]: row[_DATA] for row in rows}

    def names(self) -> list[str]:
        """Return the names of all documents."""
        return [row[_NAME] for row in self._rows([_NAME])]

    def write(self, name: str, data: bytes) -> None:
        """Keep *data* under *name*: one version of the table, or none where it is kept already."""
        if self.read([name]).get(name) != data:
            merge = self._writable().merge_insert(_NAME).when_matched_update_all().when_not_matched_insert_all()
            self._connection.do(merge.execute, _row(name, data))

    def swap(self, name: str, data: bytes, expected: bytes | None) -> bool:
        """Keep *data* under *name* unless something else than *expected* is kept there; return whether it was done.

        LanceDB compares again if another write came in between.
        """
        is_expected = "target.data IS NULL" if expected is None else f"target.data = X'{expected.hex()}'"
        merge = self._writable().merge_insert(_NAME).when_matched_update_all(where=is_expected)
        return bool(self._connection.do(merge.execute, _row(name, data)).num_updated_rows)

    def delete(self, names: Sequence[str]) -> None:
        """Remove the documents with these *names*, and the older versions of the others."""
        table = self._connection.table(TABLE)
        if table is None:
            return
        if names:
            self._connection.do(table.delete, SqlDialect().test(ColumnTest(_NAME, "in", tuple(names))))
        self._connection.do(tidy, table)

    def _rows(self, columns: Sequence[str], condition: str = "") -> list[dict[str, Any]]:
        table = self._connection.table(TABLE)
        if table is None:
            return []
        where = f"data IS NOT NULL AND ({condition})" if condition else "data IS NOT NULL"
        found = self._connection.do(lambda: table.search().where(where).select(list(columns)).to_arrow())
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def _writable(self) -> Opened:
        return self._connection.table(TABLE) or self._connection.made(TABLE, _schema(), _row(CURRENT, None))


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(_NAME, pa.string()), (_DATA, pa.large_binary())])


def _row(name: str, data: bytes | None) -> pa.Table:
    import pyarrow as pa

    return pa.table({_NAME: [name], _DATA: [data]}, schema=_schema())

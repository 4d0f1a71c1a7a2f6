"""`MilvusTable`: the records of one serial, as readers see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vision_recs.engines import base
from vision_recs.engines.base import ColumnTest, Schema
from vision_recs.engines.milvus.client import Connection, page_size
from vision_recs.engines.milvus.dialect import MilvusDialect
from vision_recs.engines.milvus.rows import BORN, DIED, ROW, table_of_rows
from vision_recs.engines.milvus.state import Hold
from vision_recs.engines.searching import unit_vectors
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:
    import pyarrow as pa

LISTS = 1024
"""Parts of an IVF index; a segment of fewer than 40,000 rows has fewer of them."""

_EFFORTS = (8, 16, 32, 64, 128, 256, 512)
_GROWTH = 4
_TOLERANCE = {"float16": 2e-3, "float32": 1e-5}
"""Rounding of the query and of the vectors, 2^-11 each, where the server computes in float16."""

_SAMPLED = 1_000
_READ_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Serial:
    """A serial of a *collection* whose records are of *schema*: a token."""

    collection: str
    serial: int
    schema: Schema

    @property
    def token(self) -> str:
        """The token that opens it."""
        return f"{self.collection}@{self.serial}"

    @property
    def condition(self) -> str:
        """What the records of the serial meet."""
        return f"({BORN} <= {self.serial} and {DIED} > {self.serial})"


class MilvusTable:
    """The records of a serial. Safe to use from several threads.

    Each method raises EngineDamaged where records of the serial may have been missing, since it was given up long ago.
    """

    efforts = _EFFORTS

    def __init__(self, connection: Connection, serial: Serial, hold: Hold) -> None:
        """Read the records of *serial*, whose collection is loaded; *hold* tells whether they are still there."""
        self._connection = connection
        self._serial = serial
        self._hold = hold
        self._schema = serial.schema
        self._dialect = MilvusDialect()

    @property
    def tolerance(self) -> float:
        """How far a score of Milvus may be from the cosine."""
        return _TOLERANCE["float16" if self._connection.has_float16 else "float32"]

    def count(self, condition: str | None) -> int:
        """Return how many records meet *condition*."""
        found = self._connection.count(self._serial.collection, self._where(condition))
        self._hold.require()
        return found

    def read(
        self,
        columns: Sequence[str],
        condition: str | None = None,
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return *columns* of the records that meet *condition*: the first *limit* by the text column *order_by*."""
        where = self._where(condition)
        if order_by is None:
            return self._table(self._rows(where, columns, limit), columns)
        if limit is not None:
            where = self._narrowed(where, order_by, limit)
        rows = self._rows(where, [*{*columns, order_by}], None)
        rows.sort(key=lambda row: row[order_by])
        return self._table(rows if limit is None else rows[:limit], columns)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield *columns* of all records."""
        for page in self._pages(self._serial.condition, columns):
            yield self._table(page, columns)
        self._hold.require()

    def nearest(
        self, query: Vectors, k: int, columns: Sequence[str], condition: str | None, *, effort: int | None
    ) -> pa.Table:
        """Return *columns* of the *k* records nearest to *query* (dim,) that meet *condition*.

        A search that finds too few reads on, in more parts of the index. Where even all parts give too few, and without
        *effort*, the records are read and compared here: a server that has not made its index yet reads a part of one.
        """
        where, probes = self._where(condition), effort
        while probes is not None and k <= self._page(columns):
            rows = self._search(query, k, columns, where, probes)
            if len(rows) >= k:
                return self._table(rows, columns)
            probes = None if probes >= LISTS else min(LISTS, probes * _GROWTH)
        return self._compared(query, k, columns, where)

    def size(self) -> int | None:
        """Return None: Milvus does not tell it."""
        return None

    def close(self) -> None:
        """Do nothing: a table holds nothing."""

    def _search(
        self, query: Vectors, k: int, columns: Sequence[str], where: str, probes: int
    ) -> list[Mapping[str, Any]]:
        vector = query.astype(np.float16) if self._is_float16 else query.astype(np.float32).tolist()
        (hits,) = self._connection.call(
            "search",
            self._serial.collection,
            data=[vector],
            filter=where,
            limit=k,
            output_fields=list(columns),
            anns_field=base.VECTOR,
            search_params={"metric_type": "COSINE", "params": {"nprobe": probes}},
            **self._connection.consistency(),
        )
        return [hit["entity"] for hit in hits]

    def _compared(self, query: Vectors, k: int, columns: Sequence[str], where: str) -> pa.Table:
        """Return the same as an exact search, for more records than one answer of Milvus holds: compared here."""
        import pyarrow as pa

        needed = [*dict.fromkeys([*columns, base.VECTOR])]
        kept = self._table([], needed)
        for page in self._pages(where, needed):
            kept = pa.concat_tables([kept, self._table(page, needed)])
            order = np.argsort(-exact_cosine(unit_vectors(kept), query), kind="stable")[:k]
            kept = kept.take(order)
        self._hold.require()
        return kept.select(list(columns))

    def _narrowed(self, where: str, column: str, limit: int) -> str:
        """Return a condition that few of the records that meet *where* meet, the first *limit* by *column* among them.

        Milvus does not sort. A sample of the texts tells where to cut; the primary key, a digest, makes it a fair one.
        """
        total, share = self._connection.count(self._serial.collection, where), 2
        while total > max(_READ_AT_ONCE, 4 * limit):
            sample = sorted(row[column] for row in self._rows(where, [column], _SAMPLED))
            place = share * limit * len(sample) // total + 3
            if place >= len(sample):
                break
            cut = self._dialect.test(ColumnTest(column, "<=", sample[place]))
            narrower = f"({where} and {cut})"
            count = self._connection.count(self._serial.collection, narrower)
            if count >= limit and count < total:
                where, total, share = narrower, count, 2
            else:
                share *= 4
        return where

    def _rows(self, where: str, columns: Sequence[str], limit: int | None) -> list[dict[str, Any]]:
        if limit is not None and limit <= self._page(columns):
            return self._connection.some(self._serial.collection, where, columns, limit)
        rows: list[dict[str, Any]] = []
        for page in self._pages(where, columns):
            rows += page
            if limit is not None and len(rows) >= limit:
                return rows[:limit]
        return rows

    def _pages(self, where: str, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        return self._connection.pages(self._serial.collection, where, columns, ROW, self._page(columns))

    def _page(self, columns: Sequence[str]) -> int:
        return page_size(columns, base.VECTOR, self._schema.dim)

    def _where(self, condition: str | None) -> str:
        own = self._serial.condition
        return own if condition is None else f"({own} and {condition})"

    def _table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
        """Return *columns* of *rows*, which were read just before."""
        self._hold.require()
        return table_of_rows(rows, columns, self._schema)

    @cached_property
    def _is_float16(self) -> bool:
        return self._connection.has_float16 and self._schema.vector_type == "float16"

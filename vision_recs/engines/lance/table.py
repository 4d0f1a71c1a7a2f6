"""`LanceTable`: the records of one version, as readers see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from vision_recs.engines import base
from vision_recs.engines.lance.connection import Connection
from vision_recs.types import Vectors

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import Table as Opened

_SCANNED = 50_000  # records at a time, of which only small columns are read
_EFFORTS = (16, 32, 64, 128, 256, 512, 1024)
"""Partitions that a search reads at least; it reads more where these hold too few records that match."""

_REFINED = 0.625
"""For each probe of the effort, so many times the wished number of candidates are compared by their vectors.

That is 10 times the wished number for the least effort. Codes of one bit a number need more where a vector is short.
"""

_TOLERANCE = {"float16": 1e-3, "float32": 1e-5}
"""Rounding of the query and of the length of a vector: 2^-11 each; and the sums of float32."""


class LanceTable:
    """A version of a table, as it is when it is read. Safe to use from several threads."""

    efforts = _EFFORTS

    def __init__(self, connection: Connection, table: Opened) -> None:
        """Read *table*, which is checked out."""
        self._connection = connection
        self._table = table

    @cached_property
    def tolerance(self) -> float:
        """How far a score of LanceDB may be from the cosine."""
        return _TOLERANCE["float16" if "half" in str(self._table.schema.field(base.VECTOR).type) else "float32"]

    def count(self, condition: str | None) -> int:
        """Return how many records meet *condition*."""
        return int(self._connection.do(self._table.count_rows, condition))

    def read(
        self,
        columns: Sequence[str],
        condition: str | None = None,
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return *columns* of the records that meet *condition*: the first *limit* by the column *order_by*."""
        from lancedb.query import ColumnOrdering

        query: Any = self._table.search().select(list(columns))
        if condition is not None:
            query = query.where(condition)
        if order_by is not None:
            query = query.order_by([ColumnOrdering(column_name=order_by)])
        return self._connection.do((query if limit is None else query.limit(limit)).to_arrow)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield *columns* of all records."""
        import pyarrow as pa

        batches = self._connection.do(lambda: self._table.search().select(list(columns)).to_batches(_SCANNED))
        while (batch := self._connection.do(lambda: next(batches, None))) is not None:
            yield pa.Table.from_batches([batch])

    def nearest(
        self, query: Vectors, k: int, columns: Sequence[str], condition: str | None, *, effort: int | None
    ) -> pa.Table:
        """Return *columns* of the *k* records nearest to *query* (dim,) that meet *condition*."""
        search: Any = self._table.search(query, vector_column_name=base.VECTOR)
        search = search.distance_type("dot").limit(k).select([*columns, "_distance"])
        if condition is not None:
            search = search.where(condition, prefilter=True)
        if effort is None:
            search = search.bypass_vector_index()
        else:  # without a limit, partitions are read until there are enough that match
            search = search.minimum_nprobes(effort).maximum_nprobes(0).refine_factor(max(1, int(_REFINED * effort)))
        return self._connection.do(search.to_arrow)

    def size(self) -> int | None:
        """Return the bytes of the records and of their indexes."""
        indexes = sum(int(index.size_bytes or 0) for index in self._connection.do(self._table.list_indices))
        stats = cast("dict[str, Any]", self._connection.do(self._table.stats))
        return int(stats["total_bytes"]) + indexes

    def close(self) -> None:
        """Do nothing: a table holds no files open."""

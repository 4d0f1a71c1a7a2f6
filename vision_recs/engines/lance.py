"""LanceDB: tables of Lance in a folder or in a bucket, which are read without a server.

visrec_<space>_<type>  the records of a space. Each write makes a version; a tag keeps the version that was sealed.
visrec_documents       the documents

A token is `TABLE@TAG`. Readers open a tag, so that they do not see what is written after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from vision_recs.engines import base
from vision_recs.engines.base import EXACT_UP_TO, ColumnTest, Report, Schema
from vision_recs.engines.sql import SqlDialect
from vision_recs.errors import EngineDamaged, EngineUnavailable, UnknownEngine, first_line
from vision_recs.types import Vectors

if TYPE_CHECKING:
    import lancedb
    import pyarrow as pa
    from lancedb.table import Table as Opened

P = ParamSpec("P")
R = TypeVar("R")

_PREFIX, _DOCUMENTS = "visrec_", "visrec_documents"
_NAME, _DATA = "name", "data"
_INDEXED = (base.ITEM, base.DIGEST)
"""Columns by which records are looked up; the column of keys is read whole."""

_SCANNED = 50_000  # records at a time, of which only small columns are read
_EFFORTS = (16, 32, 64, 128, 256, 512, 1024)
"""Partitions that a search reads at least; it reads more where these hold too few records that match."""

_REFINED = 0.625
"""For each probe of the effort, so many times the wished number of candidates are compared by their vectors.

That is 10 times the wished number for the least effort. Codes of one bit a number need more where a vector is short.
"""

_RQ_MULTIPLE = 8
"""IVF_RQ takes vectors of so many numbers or a multiple; of others, each number becomes a byte (IVF_SQ)."""

_TOLERANCE = {"float16": 1e-3, "float32": 1e-5}
"""Rounding of the query and of the length of a vector: 2^-11 each; and the sums of float32."""

_INSIDE = re.compile(r", location: |, retries: |: IO \{ source: |, body: |,? *\S+\.rs:\d")
"""Where a message of Lance begins to speak of its inside."""

_LONGEST_REASON = 300

_CONFLICT = re.compile(r"preempted by|commit conflict|too many concurrent", re.IGNORECASE)
"""What a message says where somebody else wrote to the same table in the meantime."""

_READ_FOR = timedelta(hours=1)
"""How long a version is left that nobody has to keep: readers may have opened it just before."""

_NEVER = timedelta(days=36_500)

_A_MOMENT = timedelta(minutes=1)
"""What may pass between asking for the time and removing by age."""

_REBUILT_FROM = 0.3
"""The share of records outside of the index from which the index is made anew, not extended."""


class LanceEngine:
    """The tables at a URI: `lance:DIR` or `lance+s3://BUCKET/PATH`."""

    def __init__(self, uri: str) -> None:
        """Raise UnknownEngine for a URI without a place, EngineUnavailable without LanceDB; connect when it is used."""
        self.uri = uri
        self.dialect = SqlDialect()
        scheme, _, rest = uri.partition(":")
        self._place = f"{scheme.removeprefix('lance+')}:{rest}"
        if not rest.strip("/") or (scheme == "lance" and rest.startswith("//")):
            raise UnknownEngine(f"{uri!r} names no place; write lance:DIR or lance+s3://BUCKET/PATH")
        self._folder = Path(rest).absolute() if scheme == "lance" else None
        os.environ.setdefault("LANCEDB_LOG", "error")  # its warnings of single clusters would go to stderr
        try:
            import lancedb  # noqa: F401 - it is there
        except ImportError as error:
            raise EngineUnavailable(
                f"{uri} needs LanceDB, which is not installed; run `pip install 'visrec[lance]'`"
            ) from error

    @cached_property
    def _database(self) -> lancedb.DBConnection:
        """The connection, which makes the folder where there is none; see `_is_empty`."""
        import lancedb

        return self._do(lancedb.connect, self._folder or self._place)

    @property
    def _is_empty(self) -> bool:
        """Whether there is not even a folder, which reading must not make."""
        return self._folder is not None and not self._folder.is_dir()

    def read_document(self, name: str) -> bytes | None:
        """Return the document *name*, or None where there is none."""
        table = self._table(_DOCUMENTS)
        if table is None:
            return None
        condition = self._expression(ColumnTest(_NAME, "==", name))
        found = self._do(lambda: table.search().where(condition).select([_DATA]).to_arrow())
        data: list[bytes] = found.column(_DATA).to_pylist()
        return data[0] if data else None

    def write_document(self, name: str, data: bytes) -> None:
        """Keep *data* under *name*: one version of the table, or none where it is kept already."""
        import pyarrow as pa

        if self.read_document(name) == data:
            return
        schema = pa.schema([(_NAME, pa.string()), (_DATA, pa.large_binary())])
        table = self._table(_DOCUMENTS) or self._do(
            self._database.create_table, _DOCUMENTS, schema=schema, exist_ok=True
        )
        row = pa.table({_NAME: [name], _DATA: [data]}, schema=schema)
        merge = table.merge_insert(_NAME).when_matched_update_all().when_not_matched_insert_all()
        self._do(merge.execute, row)

    def documents(self) -> list[str]:
        """Return the names of all documents."""
        table = self._table(_DOCUMENTS)
        if table is None:
            return []
        names: list[str] = self._do(lambda: table.search().select([_NAME]).to_arrow()).column(_NAME).to_pylist()
        return names

    def delete_documents(self, names: Sequence[str]) -> None:
        """Remove the documents with these *names*, and the older versions of the others."""
        table = self._table(_DOCUMENTS)
        if table is None:
            return
        if names:
            self._do(table.delete, self._expression(ColumnTest(_NAME, "in", tuple(names))))
        self._do(tidy, table)

    def stage(self, schema: Schema, published: str | None) -> LanceStage:
        """Return the newest version of the table of the space: older ones do not change by what is written."""
        del published
        return LanceStage(self, schema)

    def open(self, token: str) -> LanceTable:
        """Open the version of a table that was sealed as *token*."""
        name, _, tag = token.partition("@")
        table = self._table(name)
        if table is None or tag not in self._do(table.tags.list):
            raise EngineDamaged(f"{self.uri} has no {token} any more; run `visrec publish {self.uri}` again")
        self._do(table.checkout, tag)
        return LanceTable(self, table)

    def tokens(self) -> list[str]:
        """Return the tokens of all that is sealed."""
        names = [name for name in self._names() if name.startswith(_PREFIX) and name != _DOCUMENTS]
        return [f"{name}@{tag}" for name in names for tag in self._do(self._existing(name).tags.list)]

    def drop(self, tokens: Sequence[str]) -> None:
        """Remove the tags that *tokens* name, and every version that no tag keeps."""
        for token in tokens:
            name, _, tag = token.partition("@")
            self._do(self._existing(name).tags.delete, tag)
        for name in {token.partition("@")[0] for token in tokens}:
            table = self._existing(name)
            if not self._do(table.tags.list):
                self._do(self._database.drop_table, name)
            else:
                self._do(tidy, table)

    def close(self) -> None:
        """Close the connection; it holds no files open."""

    def _expression(self, test: ColumnTest) -> str:
        return self.dialect.test(test)

    def _names(self) -> list[str]:
        if self._is_empty:
            return []
        return list(self._do(self._database.list_tables, limit=10_000).tables)

    def _existing(self, name: str) -> Opened:
        table: Opened = self._do(self._database.open_table, name)
        return table

    def _table(self, name: str) -> Opened | None:
        if self._is_empty:
            return None
        try:
            return self._database.open_table(name)
        except (OSError, RuntimeError, ValueError) as error:
            if "not found" in str(error):
                return None
            raise self._error(error) from error

    def _do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what *work* of LanceDB returns; raises EngineUnavailable in the place of its errors."""
        try:
            return work(*args, **kwargs)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> EngineUnavailable:
        if _CONFLICT.search(str(error)):
            return EngineUnavailable(f"somebody else publishes to {self.uri} at the same time; run it again")
        why = _INSIDE.split(first_line(error))[0][:_LONGEST_REASON]
        return EngineUnavailable(f"{self.uri} cannot be used ({why}); check the address and the access")


def tidy(table: Opened) -> None:
    """Join what was written to *table* in small parts, extend its indexes, and remove its older versions.

    Versions with a tag stay, and what was written last, for so long as somebody may read it. LanceDB removes by age
    only, and refuses where a version with a tag is older; so what is younger than the oldest of these stays, too.
    """
    table.optimize(cleanup_older_than=_NEVER)
    tagged = {each["version"] for each in table.tags.list().values()}
    made = [each["timestamp"].astimezone(UTC) for each in table.list_versions() if each["version"] in tagged]
    age = max([_READ_FOR, *(datetime.now(UTC) - each for each in made)])
    table.optimize(cleanup_older_than=age + _A_MOMENT)


class LanceStage:
    """The newest version of the table of a space."""

    def __init__(self, engine: LanceEngine, schema: Schema) -> None:
        """Write records of *schema*; the table is made with the first of them."""
        self._engine = engine
        self._schema = schema
        self._name = f"{_PREFIX}{schema.space}_{schema.vector_type}"
        self._table = engine._table(self._name)  # noqa: SLF001 - of this module

    def known(self) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """Yield the keys and the hashes of all records."""
        if self._table is not None:
            for page in LanceTable(self._engine, self._table).scan([base.KEY, base.HASH]):
                yield page.column(base.KEY).to_pylist(), page.column(base.HASH).to_pylist()

    def insert(self, records: pa.Table) -> None:
        """Append *records*: one version."""
        table = self._writable()
        self._do(table.add, _with_columns(records, table.schema))

    def replace(self, records: pa.Table) -> None:
        """Write *records* in the place of those with their keys: one version."""
        table = self._writable()
        self._do(table.merge_insert(base.KEY).when_matched_update_all().execute, _with_columns(records, table.schema))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the records with these *keys*: one version."""
        if self._table is not None:
            self._do(self._table.delete, SqlDialect().test(ColumnTest(base.KEY, "in", tuple(keys))))

    def seal(self, name: str, report: Report) -> str:
        """Index the records, and tag the version: *name* and the number of the version."""
        table = self._writable()
        count = self._do(table.count_rows)
        report("making the index", 0, None)
        self._index(table, count)
        tag = f"{name}-v{table.version}"
        if tag not in self._do(table.tags.list):
            self._do(table.tags.create, tag, table.version)
        return f"{self._name}@{tag}"

    def _index(self, table: Opened, count: int) -> None:
        from lancedb.index import BTree, IvfRq, IvfSq

        is_indexed = {column for index in self._do(table.list_indices) for column in index.columns}
        outside = self._outside(table) if base.VECTOR in is_indexed else count
        if outside or not is_indexed.issuperset(_INDEXED):
            self._do(tidy, table)
        for column in _INDEXED:
            if column not in is_indexed and count:
                self._do(table.create_index, column, config=BTree())
        if count > EXACT_UP_TO and outside > _REBUILT_FROM * count:
            # IVF_PQ did not come to an end where IVF_RQ takes seconds: 79 bytes a vector of 512 numbers
            codes = IvfSq if self._schema.dim % _RQ_MULTIPLE else IvfRq
            self._do(table.create_index, base.VECTOR, config=codes(distance_type="dot"), replace=True)

    def _outside(self, table: Opened) -> int:
        name = next(index.name for index in self._do(table.list_indices) if base.VECTOR in index.columns)
        stats = self._do(table.index_stats, name)
        return 0 if stats is None else int(stats.num_unindexed_rows)

    def _writable(self) -> Opened:
        """Return the table, with all columns of the schema."""
        import pyarrow as pa

        wanted = self._schema.arrow()
        if self._table is None:
            create = self._engine._database.create_table  # noqa: SLF001 - of this module
            self._table = self._do(create, self._name, schema=wanted, exist_ok=True)
        missing = [field for field in wanted if field.name not in self._table.schema.names]
        if missing:
            self._do(self._table.add_columns, pa.schema(missing))
        return self._table

    def _do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return self._engine._do(work, *args, **kwargs)  # noqa: SLF001 - of this module


class LanceTable:
    """A version of a table, as it is when it is read. Safe to use from several threads."""

    efforts = _EFFORTS

    def __init__(self, engine: LanceEngine, table: Opened) -> None:
        """Read *table*, which is checked out."""
        self._engine = engine
        self._table = table

    @cached_property
    def tolerance(self) -> float:
        """How far a score of LanceDB may be from the cosine."""
        return _TOLERANCE["float16" if "half" in str(self._table.schema.field(base.VECTOR).type) else "float32"]

    def count(self, condition: str | None) -> int:
        """Return how many records meet *condition*."""
        return int(self._do(self._table.count_rows, condition))

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
        return self._do((query if limit is None else query.limit(limit)).to_arrow)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield *columns* of all records."""
        import pyarrow as pa

        batches = self._do(lambda: self._table.search().select(list(columns)).to_batches(_SCANNED))
        while (batch := self._do(lambda: next(batches, None))) is not None:
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
        return self._do(search.to_arrow)

    def size(self) -> int | None:
        """Return the bytes of the records and of their indexes."""
        indexes = sum(int(index.size_bytes or 0) for index in self._do(self._table.list_indices))
        stats = cast("dict[str, Any]", self._do(self._table.stats))
        return int(stats["total_bytes"]) + indexes

    def close(self) -> None:
        """Do nothing: a table holds no files open."""

    def _do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return self._engine._do(work, *args, **kwargs)  # noqa: SLF001 - of this module


def _with_columns(records: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return *records* with the columns of *schema*, null where they have none."""
    import pyarrow as pa

    arrays = [
        records.column(field.name) if field.name in records.column_names else pa.nulls(len(records), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)

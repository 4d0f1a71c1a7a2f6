"""The neighbors file: its columns, its formats (Parquet, CSV, JSON lines), and the difference between two of them.

Within a run, lists are tables with the columns of the file, ordered by item and rank. An item with an empty list has
one row, in which all but the item is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from vision_recs.batch.item_arrays import ItemArrays

if TYPE_CHECKING:
    import pyarrow as pa

    from vision_recs.batch.neighbors.candidates import CandidateLists

COLUMNS = ("item_id", "rank", "neighbor_id", "score")
"""The columns of a neighbors file; ranks count from 1."""

_DIGITS = 6
"""Decimals of a score in a text file, as `visrec similar` prints it."""

_DELTA_ITEMS = 4_096
"""Items in a table that `delta` yields."""

Row: TypeAlias = tuple[str, int | None, str | None, float | None]
"""Item, rank, neighbor and score; an item with an empty list has None for the rest."""

_NeighborList: TypeAlias = tuple[str, list[tuple[str, float]]]
"""An item and its neighbors, best first, with their scores."""


class Style(NamedTuple):
    """How lists are written: in the format of *suffix*, as one JSON value for each item where *nested*, else as rows.

    Nested lists may be empty. Among rows, an empty list is a row of nulls where *keep_empty*, else it is left out.
    """

    suffix: str
    nested: bool
    keep_empty: bool


class Written(NamedTuple):
    """How many items and rows a file holds."""

    items: int
    rows: int


def table_of(arrays: ItemArrays, lists: CandidateLists) -> pa.Table:
    """Return *lists* as a table."""
    import numpy as np
    import pyarrow as pa

    ids = pa.array(arrays.ids, pa.string())
    counts = lists.counts
    shown = np.maximum(counts, 1)
    begins = np.cumsum(shown) - shown
    is_there = np.ones(shown.sum(), dtype=np.bool_)
    is_there[begins[counts == 0]] = False
    ranks = np.arange(len(is_there)) - np.repeat(begins, shown) + 1
    neighbors = np.zeros(len(is_there), dtype=np.int64)
    neighbors[is_there] = arrays.item_of[lists.rows]
    scores = np.zeros(len(is_there), dtype=np.float32)
    scores[is_there] = lists.scores
    columns = {
        "item_id": ids.take(pa.array(np.repeat(lists.items, shown))),
        "rank": pa.array(ranks.astype(np.int32), mask=~is_there),
        "neighbor_id": ids.take(pa.array(neighbors, mask=~is_there)),
        "score": pa.array(scores, mask=~is_there),
    }
    return pa.table(columns)


def delta(before: Iterable[pa.Table], after: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the lists of *after* whose neighbors or scores differ from those of *before*.

    An item that is not in *after* gets an empty list, unless its list was empty before. Both have their items in the
    same order.
    """
    lists = _different(_neighbor_lists(before), _neighbor_lists(after))
    while some := list(islice(lists, _DELTA_ITEMS)):
        yield table_of_lists(some)


def table_of_lists(lists: Iterable[tuple[str, list[tuple[str, float]]]]) -> pa.Table:
    """Return *lists*, each an item and its neighbors with their scores, best first, as a table."""
    return _table_of_rows([row for item, neighbors in lists for row in _rows_of_list(item, neighbors)])


def write(path: Path, tables: Iterable[pa.Table], about: Mapping[str, Any], *, style: Style) -> Written:
    """Write *tables* to *path*; a Parquet file holds *about* in its metadata."""
    if style.nested:
        return _write_lines(path, _nested_lines(tables))
    kept = tables if style.keep_empty else (table.filter(table["neighbor_id"].is_valid()) for table in tables)
    if style.suffix == ".parquet":
        return _write_parquet(path, kept, about)
    return _write_csv(path, kept) if style.suffix == ".csv" else _write_lines(path, _row_lines(kept))


def _different(before: Iterator[_NeighborList], after: Iterator[_NeighborList]) -> Iterator[_NeighborList]:
    old, new = next(before, None), next(after, None)
    while old or new:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            if old[1]:
                yield old[0], []
            old = next(before, None)
        elif old is None or new[0] < old[0]:
            yield new
            new = next(after, None)
        else:
            if old != new:
                yield new
            old, new = next(before, None), next(after, None)


def _rows_of_list(item: str, neighbors: Sequence[tuple[str, float]]) -> Iterator[Row]:
    if not neighbors:
        yield item, None, None, None
    for rank, (neighbor, score) in enumerate(neighbors, 1):
        yield item, rank, neighbor, score


def _table_of_rows(rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows], schema=_schema())


def _neighbor_lists(tables: Iterable[pa.Table]) -> Iterator[_NeighborList]:
    for item, rows in groupby(_rows(tables), key=itemgetter(0)):
        yield item, [(neighbor, score) for _, _, neighbor, score in rows if neighbor is not None and score is not None]


def _rows(tables: Iterable[pa.Table]) -> Iterator[Row]:
    for table in tables:
        yield from zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)


def _write_parquet(path: Path, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> Written:
    import pyarrow.parquet as pq

    schema = _schema().with_metadata({"visrec": json.dumps(about)})
    counter = _Counter()
    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(counter.add(table).cast(_schema()).replace_schema_metadata(schema.metadata))
    return counter.written


def _write_csv(path: Path, tables: Iterable[pa.Table]) -> Written:
    import pyarrow as pa
    from pyarrow import compute, csv

    schema = pa.schema([field if field.name != "score" else pa.field("score", pa.float64()) for field in _schema()])
    counter = _Counter()
    with path.open("wb") as file:
        file.write(",".join(COLUMNS).encode() + b"\n")
        with csv.CSVWriter(file, schema, write_options=csv.WriteOptions(include_header=False)) as writer:
            for table in tables:
                scores = compute.round(counter.add(table)["score"].cast(pa.float64()), _DIGITS)
                writer.write_table(table.set_column(3, "score", scores).cast(schema))
    return counter.written


def _write_lines(path: Path, lines: Iterable[tuple[str, int, str]]) -> Written:
    """Write lines; each comes with its item and the number of rows that it stands for."""
    items = rows = 0
    last = None
    with path.open("w", encoding="utf-8") as file:
        for item, row_count, line in lines:
            file.write(line)
            items += item != last
            rows += row_count
            last = item
    return Written(items, rows)


def _row_lines(tables: Iterable[pa.Table]) -> Iterator[tuple[str, int, str]]:
    for item, rank, neighbor, score in _rows(tables):
        shown = "null" if score is None else f"{score:.{_DIGITS}f}"
        values = f'"item_id": {_json(item)}, "rank": {_json(rank)}, "neighbor_id": {_json(neighbor)}, "score": {shown}'
        yield item, 1, f"{{{values}}}\n"


def _nested_lines(tables: Iterable[pa.Table]) -> Iterator[tuple[str, int, str]]:
    for item, neighbors in _neighbor_lists(tables):
        shown = ", ".join(f"[{_json(neighbor)}, {score:.{_DIGITS}f}]" for neighbor, score in neighbors)
        yield item, len(neighbors), f'{{"item_id": {_json(item)}, "neighbors": [{shown}]}}\n'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(list(zip(COLUMNS, (pa.string(), pa.int32(), pa.string(), pa.float32()), strict=True)))


class _Counter:
    """Counts the items and rows of tables."""

    def __init__(self) -> None:
        self._items = self._rows = 0

    def add(self, table: pa.Table) -> pa.Table:
        """Return *table*, counted; no item is in two tables."""
        self._items += len(table["item_id"].unique())
        self._rows += len(table)
        return table

    @property
    def written(self) -> Written:
        """The counts so far."""
        return Written(self._items, self._rows)

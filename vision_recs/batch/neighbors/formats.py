"""Writing lists: as Parquet, CSV or JSON lines, a row a match, or as one JSON value an item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from vision_recs.batch.item_arrays import Inventory

if TYPE_CHECKING:
    import pyarrow as pa

    from vision_recs.batch.neighbors.candidates import Shortlists

_NAMES = ("item", "rank", "similar", "score")
_DIGITS = 6  # of a score in a text file, as `visrec similar` prints it


Row: TypeAlias = tuple[str, int | None, str | None, float | None]
"""Item, rank, similar item and score; an item without a list has None for the rest."""


class Style(NamedTuple):
    """How lists are written: in the format of *suffix*, as one JSON value *nested*, or a row a match.

    An item without a list is always there as a JSON value; as a row of nulls it is if *keep_empty*.
    """

    suffix: str
    nested: bool
    keep_empty: bool


class Written(NamedTuple):
    """How many items and rows a file holds."""

    items: int
    rows: int


def table_of(inventory: Inventory, lists: Shortlists) -> pa.Table:
    """Return *lists* with the columns item, rank, similar and score; an item without any has one row of nulls."""
    import numpy as np
    import pyarrow as pa

    ids = pa.array(inventory.ids, pa.string())
    counts = lists.counts
    shown = np.maximum(counts, 1)
    begins = np.cumsum(shown) - shown
    is_there = np.ones(shown.sum(), dtype=np.bool_)
    is_there[begins[counts == 0]] = False
    ranks = np.arange(len(is_there)) - np.repeat(begins, shown) + 1
    similar = np.zeros(len(is_there), dtype=np.int64)
    similar[is_there] = inventory.item_of[lists.rows]
    scores = np.zeros(len(is_there), dtype=np.float32)
    scores[is_there] = lists.scores
    columns = {
        "item": ids.take(pa.array(np.repeat(lists.items, shown))),
        "rank": pa.array(ranks.astype(np.int32), mask=~is_there),
        "similar": ids.take(pa.array(similar, mask=~is_there)),
        "score": pa.array(scores, mask=~is_there),
    }
    return pa.table(columns)


def table_of_rows(rows: Sequence[Row]) -> pa.Table:
    """Return *rows* as a table."""
    import pyarrow as pa

    return pa.Table.from_pylist([dict(zip(_NAMES, row, strict=True)) for row in rows], schema=_schema())


def lists_of(tables: Iterable[pa.Table]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield each item with its list: ids and scores, best first."""
    for item, rows in groupby(_rows(tables), key=itemgetter(0)):
        yield item, [(similar, score) for _, _, similar, score in rows if similar is not None and score is not None]


def write(path: Path, tables: Iterable[pa.Table], about: Mapping[str, Any], *, style: Style) -> Written:
    """Write *tables* to *path*, with *about* inside a Parquet file."""
    if style.nested:
        return _write_lines(path, _values(tables))
    kept = tables if style.keep_empty else (table.filter(table["similar"].is_valid()) for table in tables)
    if style.suffix == ".parquet":
        return _write_parquet(path, kept, about)
    return _write_csv(path, kept) if style.suffix == ".csv" else _write_lines(path, _objects(kept))


def _write_parquet(path: Path, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> Written:
    import pyarrow.parquet as pq

    schema = _schema().with_metadata({"visrec": json.dumps(about)})
    count = _Count()
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(count.of(table).cast(_schema()).replace_schema_metadata(schema.metadata))
    return count.written


def _write_csv(path: Path, tables: Iterable[pa.Table]) -> Written:
    import pyarrow as pa
    from pyarrow import compute, csv

    schema = pa.schema([field if field.name != "score" else pa.field("score", pa.float64()) for field in _schema()])
    count = _Count()
    with path.open("wb") as file:
        file.write(b"item,rank,similar,score\n")
        with csv.CSVWriter(file, schema, write_options=csv.WriteOptions(include_header=False)) as writer:
            for table in tables:
                scores = compute.round(count.of(table)["score"].cast(pa.float64()), _DIGITS)
                writer.write_table(table.set_column(3, "score", scores).cast(schema))
    return count.written


def _write_lines(path: Path, lines: Iterable[tuple[str, int, str]]) -> Written:
    """Write lines that come with the item that they are of and how many rows they stand for."""
    items = rows = 0
    last = None
    with path.open("w", encoding="utf-8") as file:
        for item, stands_for, line in lines:
            file.write(line)
            items += item != last
            rows += stands_for
            last = item
    return Written(items, rows)


def _objects(tables: Iterable[pa.Table]) -> Iterator[tuple[str, int, str]]:
    for item, rank, similar, score in _rows(tables):
        shown = "null" if score is None else f"{score:.{_DIGITS}f}"
        yield (
            item,
            1,
            f'{{"item": {_json(item)}, "rank": {_json(rank)}, "similar": {_json(similar)}, "score": {shown}}}\n',
        )


def _values(tables: Iterable[pa.Table]) -> Iterator[tuple[str, int, str]]:
    for item, found in lists_of(tables):
        shown = ", ".join(f"[{_json(similar)}, {score:.{_DIGITS}f}]" for similar, score in found)
        yield item, len(found), f'{{"item": {_json(item)}, "similar": [{shown}]}}\n'


def _rows(tables: Iterable[pa.Table]) -> Iterator[Row]:
    for table in tables:
        yield from zip(*(table[name].to_pylist() for name in _NAMES), strict=True)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("item", pa.string()), ("rank", pa.int32()), ("similar", pa.string()), ("score", pa.float32())])


class _Count:
    """Counts what passes through."""

    def __init__(self) -> None:
        self._items = self._rows = 0

    def of(self, table: pa.Table) -> pa.Table:
        """Return *table*, noticed; its items come one after another, and none again in another table."""
        self._items += len(table["item"].unique())
        self._rows += len(table)
        return table

    @property
    def written(self) -> Written:
        """What was noticed."""
        return Written(self._items, self._rows)

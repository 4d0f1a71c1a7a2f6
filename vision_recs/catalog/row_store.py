"""Rows of a table set aside, and read back item by item, in memory that hardly grows with the table."""

from __future__ import annotations

import marshal
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Attribute

_CACHE_KIB = 64 * 1024
_MOST_BYTES = 1 << 28  # of a part of the database; SQLite takes four times as much


class TableRow(NamedTuple):
    """One row of an item: its number in the table, its images, and its other cells in the order of the columns.

    *images* is None where it is no fault of the row that it has none: because that was told, or because the row only
    adds to others.
    """

    line: int
    images: list[str] | None
    cells: Sequence[Attribute]


class RowBatch(NamedTuple):
    """Some rows: their numbers, the ids of their items, their images as `TableRow` has them, and cells by column."""

    lines: Sequence[int]
    ids: Sequence[str]
    images: Sequence[list[str] | None]
    columns: Sequence[Sequence[Attribute]]

    def row(self, place: int) -> TableRow:
        """Return one of the rows."""
        return TableRow(self.lines[place], self.images[place], [cells[place] for cells in self.columns])

    def chosen(self, wanted: Sequence[bool]) -> RowBatch:
        """Return the rows that are *wanted*."""
        if all(wanted):
            return self
        lines, ids, images, *columns = (list(compress(of, wanted)) for of in (*self[:3], *self.columns))
        return RowBatch(lines, ids, images, columns)  # type: ignore[arg-type]


def _packed(values: Iterable[Any]) -> bytes:
    """Return *values* as bytes that this process, and no other one, reads again."""
    return marshal.dumps(tuple(values))


ItemRows: TypeAlias = tuple[str, list[TableRow]]
"""The id of an item, and its rows."""


class RowStore:
    """Rows set aside in a temporary SQLite database, which SQLite deletes when it is closed.

    The database grows in memory to 64 MiB, then on the disk, in the folder that SQLITE_TMPDIR or TMPDIR names; beside
    it, a row takes eight bytes: the hash of its id, which tells whether its item may have other rows. First `add` all
    rows, then `group` them, then read them. Raises sqlite3.Error where the disk is full.
    """

    def __init__(self) -> None:
        """Create the empty database."""
        # An iteration may begin in one thread and be finished, or be thrown away, in another.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE batches (number INTEGER PRIMARY KEY, content BLOB)")
        self._database.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, id TEXT, content BLOB)")
        self._database.execute("CREATE TABLE items (first INTEGER PRIMARY KEY, id TEXT, size INTEGER)")
        self._hashes = array("q")
        self._repeated: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, batch: RowBatch) -> None:
        """Append the rows of *batch*."""
        content = _packed(batch)
        if len(content) > _MOST_BYTES and len(batch.ids) > 1:
            half = len(batch.ids) // 2
            for part in (slice(half), slice(half, None)):
                columns = [cells[part] for cells in batch.columns]
                self.add(RowBatch(batch.lines[part], batch.ids[part], batch.images[part], columns))
            return
        self._database.execute("INSERT INTO batches (content) VALUES (?)", (content,))
        self._hashes.extend(map(hash, batch.ids))

    def group(self) -> None:
        """Find which rows belong to the same item; call it once, after the last `add`.

        Rows whose ids have a hash in common are copied one by one, and the database finds out what their items are.
        """
        ordered = np.sort(np.frombuffer(self._hashes, np.int64))
        self._repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(self._repeated):
            return
        for first, batch in self._batches():
            rows = (
                (first + place, batch.ids[place], _packed(batch.row(place))) for place in self._places(first, batch)
            )
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
        self._database.execute("CREATE INDEX rows_of_item ON rows (id)")
        self._database.execute("INSERT INTO items SELECT min(position), id, count(*) FROM rows GROUP BY id ORDER BY 1")

    def repeated(self) -> Iterator[ItemRows]:
        """Yield every item that has several rows, in the order of first appearance."""
        return (item for _, item in self._items(2))

    def batches(self) -> Iterator[tuple[RowBatch, dict[int, ItemRows | None]]]:
        """Yield all rows, and the items of those that may not be the only ones of their items, by their places.

        An item with several rows stands at the place of its first one, None at those of the others.
        """
        items = self._items(1)
        at, item = next(items, (-1, None))
        for first, batch in self._batches():
            found: dict[int, ItemRows | None] = {}
            for place in self._places(first, batch):
                found[place] = None
                if first + place == at:
                    found[place] = item
                    at, item = next(items, (-1, None))
            yield batch, found

    def close(self) -> None:
        """Delete the database."""
        self._database.close()

    def _batches(self) -> Iterator[tuple[int, RowBatch]]:
        """Yield all batches, each with the position of its first row in the table."""
        first = 0
        for (content,) in self._database.execute("SELECT content FROM batches ORDER BY number"):
            batch = RowBatch._make(marshal.loads(content))  # noqa: S302 - `add` of this process wrote it
            yield first, batch
            first += len(batch.ids)

    def _places(self, first: int, batch: RowBatch) -> list[int]:
        """Return the places of the rows in *batch* whose items may have other rows."""
        if not len(self._repeated):
            return []
        hashes = np.frombuffer(self._hashes, np.int64)[first : first + len(batch.ids)]
        found = np.minimum(np.searchsorted(self._repeated, hashes), len(self._repeated) - 1)
        places: list[int] = np.flatnonzero(self._repeated[found] == hashes).tolist()
        return places

    def _items(self, smallest: int) -> Iterator[tuple[int, ItemRows]]:
        """Yield the items of the rows that were copied, those with at least *smallest*, by their first positions."""
        # CROSS JOIN fixes the order of the loops, and with it that of the result: no sort is needed.
        ordered = self._database.execute(
            "SELECT items.first, items.id, rows.content FROM items CROSS JOIN rows ON rows.id = items.id "
            "WHERE items.size >= ? ORDER BY items.first, rows.position",
            (smallest,),
        )
        for (first, name), rows in groupby(ordered, key=itemgetter(0, 1)):
            contents = (marshal.loads(content) for _, _, content in rows)  # noqa: S302 - `group` wrote them
            yield first, (name, list(map(TableRow._make, contents)))

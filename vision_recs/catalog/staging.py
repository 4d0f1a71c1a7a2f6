"""Rows set aside on disk and taken back item by item."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from vision_recs.types import Attribute

_CACHE_KIB = 64 * 1024


class StagedRow(NamedTuple):
    """One row of an item: its number in the table, its images, and its other cells in the order of the columns."""

    line: int
    images: list[str]
    cells: list[Attribute]


class Staging:
    """A private, temporary SQLite database, deleted by SQLite itself as soon as it is closed.

    It grows in memory to 64 MiB and then on the disk, in the folder that SQLITE_TMPDIR or TMPDIR names. First `add`
    all rows, then `seal`, then read. Raises sqlite3.Error where the disk is full.
    """

    def __init__(self) -> None:
        """Create the empty database."""
        # An iteration may begin in one thread and be finished, or be thrown away, in another.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, id TEXT, content TEXT)")

    def add(self, rows: Iterable[tuple[str, StagedRow]]) -> None:
        """Set aside *rows*, each with the id of its item, behind those already there."""
        encode = json.JSONEncoder(separators=(",", ":")).encode
        contents = ((name, encode(row)) for name, row in rows)
        self._database.executemany("INSERT INTO rows (id, content) VALUES (?, ?)", contents)

    def seal(self) -> None:
        """Find which rows belong together; nothing is added afterwards."""
        self._database.execute("CREATE INDEX rows_of_item ON rows (id)")
        self._database.execute("CREATE TABLE items (first INTEGER PRIMARY KEY, id TEXT, size INTEGER)")
        self._database.execute("INSERT INTO items SELECT min(position), id, count(*) FROM rows GROUP BY id ORDER BY 1")

    def items(self, *, smallest: int = 1) -> Iterator[tuple[str, list[StagedRow]]]:
        """Yield every item of *smallest* rows or more with its rows, in the order of first appearance."""
        # CROSS JOIN fixes the order of the loops, and with it that of the result: no sort is needed.
        ordered = self._database.execute(
            "SELECT items.first, items.id, rows.content FROM items CROSS JOIN rows ON rows.id = items.id "
            "WHERE items.size >= ? ORDER BY items.first, rows.position",
            (smallest,),
        )
        decode = json.JSONDecoder().raw_decode
        for (_, name), rows in groupby(ordered, key=itemgetter(0, 1)):
            yield name, [StagedRow._make(decode(content)[0]) for _, _, content in rows]

    def close(self) -> None:
        """Delete the database."""
        self._database.close()

"""The rows of an item become the item; what differs between them belongs to its images, or is a contradiction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from vision_recs.catalog.cell_types import Converter
from vision_recs.errors import CatalogError
from vision_recs.types import Attribute, Item

_CACHE_KIB = 64 * 1024
_FEWEST_ITEMS = 2


class TableRow(NamedTuple):
    """One row of an item: its number in the table, its images, and its other cells in the order of the columns."""

    line: int
    images: list[str]
    cells: list[Attribute]


class RowStore:
    """Rows set aside and read back item by item, in a temporary SQLite database that SQLite deletes when it is closed.

    The database grows in memory to 64 MiB, then on the disk, in the folder that SQLITE_TMPDIR or TMPDIR names. First
    `add` all rows, then `group` them, then read `items`. Raises sqlite3.Error where the disk is full.
    """

    def __init__(self) -> None:
        """Create the empty database."""
        # An iteration may begin in one thread and be finished, or be thrown away, in another.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, id TEXT, content TEXT)")

    def add(self, rows: Iterable[tuple[str, TableRow]]) -> None:
        """Append *rows*, each with the id of its item."""
        encode = json.JSONEncoder(separators=(",", ":")).encode
        contents = ((name, encode(row)) for name, row in rows)
        self._database.executemany("INSERT INTO rows (id, content) VALUES (?, ?)", contents)

    def group(self) -> None:
        """Find which rows belong to the same item; call it once, after the last `add`."""
        self._database.execute("CREATE INDEX rows_of_item ON rows (id)")
        self._database.execute("CREATE TABLE items (first INTEGER PRIMARY KEY, id TEXT, size INTEGER)")
        self._database.execute("INSERT INTO items SELECT min(position), id, count(*) FROM rows GROUP BY id ORDER BY 1")

    def items(self, *, smallest: int = 1) -> Iterator[tuple[str, list[TableRow]]]:
        """Yield every item that has at least *smallest* rows, with its rows, in the order of first appearance."""
        # CROSS JOIN fixes the order of the loops, and with it that of the result: no sort is needed.
        ordered = self._database.execute(
            "SELECT items.first, items.id, rows.content FROM items CROSS JOIN rows ON rows.id = items.id "
            "WHERE items.size >= ? ORDER BY items.first, rows.position",
            (smallest,),
        )
        decode = json.JSONDecoder().raw_decode
        for (_, name), rows in groupby(ordered, key=itemgetter(0, 1)):
            yield name, [TableRow._make(decode(content)[0]) for _, _, content in rows]

    def close(self) -> None:
        """Delete the database."""
        self._database.close()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that was read to its end.

    *of_items* and *of_images* are the positions of the attributes of items and of images. *converters* has a function
    for each column that turns a cell into a value. *unit* is what the numbers of the rows count, "line" or "row".
    """

    path: str
    unit: str
    names: tuple[str, ...]
    of_items: tuple[int, ...]
    of_images: tuple[int, ...]
    converters: list[Converter]

    def cells(self, rows: Iterable[TableRow]) -> list[tuple[Attribute, ...]]:
        """Return the cells of *rows* column by column; a row that was read before all columns were known is padded."""
        width = len(self.names)
        padded = (
            row.cells if len(row.cells) == width else row.cells + [None] * (width - len(row.cells)) for row in rows
        )
        return list(zip(*padded, strict=True))


class _Disagreement(NamedTuple):
    """Two rows of one item, each with its number and its value."""

    item: str
    line: int
    value: Attribute
    earlier_line: int
    earlier_value: Attribute


def find_image_attributes(columns: Columns, repeated: Iterable[tuple[str, list[TableRow]]]) -> Columns:
    """Return *columns* after moving those that differ within most of the *repeated* items from items to images.

    Raises CatalogError for the first contradiction in the table: a column that differs within fewer items.
    """
    counts = dict.fromkeys(columns.of_items, 0)
    first: dict[int, _Disagreement] = {}
    items = 0
    for name, rows in repeated:
        items += 1
        for position, disagreement in _disagreements(name, rows, columns):
            counts[position] += 1
            if position not in first or disagreement.line < first[position].line:
                first[position] = disagreement
    found = {position for position, count in counts.items() if count >= _FEWEST_ITEMS and 2 * count > items}
    contradictory = first.keys() - found
    if contradictory:
        position = min(contradictory, key=lambda position: (first[position].line, position))
        raise _contradiction(columns, columns.names[position], first[position])
    return replace(
        columns,
        of_items=tuple(position for position in columns.of_items if position not in found),
        of_images=tuple(sorted({*columns.of_images, *found})),
    )


def _disagreements(name: str, rows: list[TableRow], columns: Columns) -> Iterator[tuple[int, _Disagreement]]:
    table = columns.cells(rows)
    for position in columns.of_items:
        cells = table[position]
        if len(set(cells)) == 1:
            continue
        known = [
            (value, row.line)
            for value, row in zip(map(columns.converters[position], cells), rows, strict=True)
            if value is not None
        ]
        other = next((pair for pair in known if pair[0] != known[0][0]), None)
        if other is not None:
            yield position, _Disagreement(name, other[1], other[0], known[0][1], known[0][0])


def _contradiction(columns: Columns, column: str, found: _Disagreement) -> CatalogError:
    return CatalogError(
        f"item {found.item!r} has {found.value!r} here and {found.earlier_value!r} in {columns.unit} "
        f"{found.earlier_line}; make them equal, or add --image-attribute {column} if the values belong to the images",
        path=columns.path,
        line=found.line,
        column=column,
    )


def item_of(name: str, rows: list[TableRow], columns: Columns) -> Item:
    """Return the item that *rows* describe; each attribute has its first value that is not None."""
    table = columns.cells(rows)
    attributes = {columns.names[i]: _first_value(columns.converters[i], table[i]) for i in columns.of_items}
    images: dict[str, dict[str, Attribute]] = {}
    for number, row in enumerate(rows):
        own = {columns.names[i]: columns.converters[i](table[i][number]) for i in columns.of_images}
        for image in row.images:
            images.setdefault(image, own)
    return Item(name, tuple(images), attributes, tuple(images.values()) if columns.of_images else ())


def _first_value(convert: Converter, cells: Iterable[Attribute]) -> Attribute:
    for cell in cells:
        value = convert(cell)
        if value is not None:
            return value
    return None

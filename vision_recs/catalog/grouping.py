"""The rows of an item become the item; what differs between them belongs to its images, or is a contradiction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from vision_recs.catalog.cell_types import IN_STOCK, Converter
from vision_recs.catalog.findings import Findings
from vision_recs.types import Attribute, Item

_CACHE_KIB = 64 * 1024
_FEWEST_ITEMS = 2


class TableRow(NamedTuple):
    """One row of an item: its number in the table, its images, and its other cells in the order of the columns.

    *images* is None where it is no fault of the row that it has none: because that was told, or because the row only
    adds to others.
    """

    line: int
    images: list[str] | None
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
    for each column that turns a cell into a value. *merges* has the columns in which rows may differ, and what becomes
    of their values: "min", "any" or "set". *derived* are attributes that no column has, each with a column and a
    function of its cells. *contradictory* are columns that differ within some items, which are told of item by item.
    """

    names: tuple[str, ...]
    of_items: tuple[int, ...]
    of_images: tuple[int, ...]
    converters: list[Converter]
    merges: Mapping[int, str]
    derived: Mapping[str, tuple[int, Converter]]
    contradictory: tuple[int, ...] = ()

    def cells(self, rows: Iterable[TableRow]) -> list[tuple[Attribute, ...]]:
        """Return the cells of *rows* column by column; a row that was read before all columns were known is padded."""
        width = len(self.names)
        padded = (
            row.cells if len(row.cells) == width else row.cells + [None] * (width - len(row.cells)) for row in rows
        )
        return list(zip(*padded, strict=True))


class _Disagreement(NamedTuple):
    """Two rows of one item, each with its number and its value."""

    line: int
    value: Attribute
    earlier_line: int
    earlier_value: Attribute


def find_image_attributes(columns: Columns, repeated: Iterable[tuple[str, list[TableRow]]]) -> Columns:
    """Return *columns* after moving those that differ within most of the *repeated* items from items to images.

    A column that differs within fewer items is contradictory.
    """
    counts = dict.fromkeys(columns.of_items, 0)
    items = 0
    for _, rows in repeated:
        items += 1
        for position, _ in _disagreements(rows, columns, columns.of_items):
            counts[position] += 1
    found = {position for position, count in counts.items() if count >= _FEWEST_ITEMS and 2 * count > items}
    return replace(
        columns,
        of_items=tuple(position for position in columns.of_items if position not in found),
        of_images=tuple(sorted({*columns.of_images, *found})),
        contradictory=tuple(position for position, count in counts.items() if count and position not in found),
    )


def _disagreements(
    rows: list[TableRow], columns: Columns, positions: Iterable[int]
) -> Iterator[tuple[int, _Disagreement]]:
    table = columns.cells(rows)
    for position in positions:
        cells = table[position]
        if position in columns.merges or len(set(cells)) == 1:
            continue
        known = [
            (value, row.line)
            for value, row in zip(map(columns.converters[position], cells), rows, strict=True)
            if value is not None
        ]
        other = next((pair for pair in known if pair[0] != known[0][0]), None)
        if other is not None:
            yield position, _Disagreement(other[1], other[0], known[0][1], known[0][0])


def item_of(name: str, rows: list[TableRow], columns: Columns, findings: Findings) -> Item | None:
    """Return the item that *rows* describe; each attribute has its first value that is not None.

    Returns None for an item without an image, which *findings* then have, as they have its contradictions.
    """
    images: dict[str, dict[str, Attribute]] = {}
    table = columns.cells(rows)
    for number, row in enumerate(rows):
        own = {columns.names[i]: columns.converters[i](table[i][number]) for i in columns.of_images}
        for image in row.images or ():
            images.setdefault(image, own)
    if not images:
        if all(row.images is not None for row in rows):
            findings.leave_out(
                "no-image", f"the item {name!r} names no image; give it one", place=rows[0].line, item=name
            )
        return None
    if columns.contradictory and len(rows) > 1:
        for position, found in _disagreements(rows, columns, columns.contradictory):
            _tell(name, columns.names[position], found, findings)
    attributes = {
        columns.names[i]: _value(table[i], columns.converters[i], columns.merges.get(i)) for i in columns.of_items
    }
    for derived, (position, convert) in columns.derived.items():
        attributes[derived] = _value(table[position], convert, "any" if derived == IN_STOCK else None)
    return Item(name, tuple(images), attributes, tuple(images.values()) if columns.of_images else ())


def _tell(item: str, column: str, found: _Disagreement, findings: Findings) -> None:
    findings.leave_out(
        "contradiction",
        f"item {item!r} has {found.value!r} here and {found.earlier_value!r} in {findings.unit} "
        f"{found.earlier_line}, which is used; make them equal",
        place=found.line,
        column=column,
        item=item,
    )


def _value(cells: Sequence[Attribute], convert: Converter, merge: str | None) -> Attribute:
    """Return the value of an item with *cells* in a column: the first one that is not None, or all of them merged."""
    if merge is None:
        for cell in cells:
            value = convert(cell)
            if value is not None:
                return value
        return None
    distinct = list(dict.fromkeys(value for value in map(convert, cells) if value is not None))
    if len(distinct) <= 1 or merge == "set":
        return distinct[0] if len(distinct) == 1 else json.dumps(distinct, ensure_ascii=False) if distinct else None
    numbers = [value for value in distinct if isinstance(value, int | float)]
    return (any(numbers) if merge == "any" else min(numbers)) if numbers else distinct[0]

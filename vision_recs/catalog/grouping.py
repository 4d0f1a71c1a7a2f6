"""The rows of an item become the item; what differs between them belongs to its images, or is a contradiction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple

from vision_recs.catalog.cell_types import IN_STOCK, Converter, converted
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.row_store import ItemRows, RowBatch, TableRow
from vision_recs.types import Attribute, Item

_FEWEST_ITEMS = 2


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
            row.cells if len(row.cells) == width else [*row.cells, *[None] * (width - len(row.cells))] for row in rows
        )
        return list(zip(*padded, strict=True))

    def attributes(self, batch: RowBatch) -> Iterator[tuple[dict[str, Attribute], dict[str, Attribute]]]:
        """Yield, for each row of *batch*, the attributes of its item, if it has no other row, and of its images."""
        yield from zip(
            _records(
                [self.names[i] for i in self.of_items] + list(self.derived),
                [self._values(batch, i, self.converters[i]) for i in self.of_items]
                + [self._values(batch, i, convert) for i, convert in self.derived.values()],
                len(batch.ids),
            ),
            _records(
                [self.names[i] for i in self.of_images],
                [self._values(batch, i, self.converters[i]) for i in self.of_images],
                len(batch.ids),
            )
            if self.of_images
            else repeat({}, len(batch.ids)),
            strict=True,
        )

    @staticmethod
    def _values(batch: RowBatch, position: int, convert: Converter) -> Sequence[Attribute]:
        """Return the values in a column; those of rows that were read before the column was known are None."""
        if position < len(batch.columns):
            return converted(convert, batch.columns[position])
        return [convert(None)] * len(batch.ids)


def _records(names: Sequence[str], columns: Sequence[Sequence[Attribute]], count: int) -> list[dict[str, Attribute]]:
    """Return *count* rows of *columns* by the *names* of these."""
    rows = zip(*columns, strict=True) if columns else [()] * count
    return [dict(zip(names, row, strict=True)) for row in rows]


class _Disagreement(NamedTuple):
    """Two rows of one item, each with its number and its value."""

    line: int
    value: Attribute
    earlier_line: int
    earlier_value: Attribute


def find_image_attributes(columns: Columns, repeated: Iterable[ItemRows]) -> Columns:
    """Return *columns* after moving those that differ within most of the *repeated* items from items to images.

    A column that differs within fewer items is contradictory.
    """
    counts = dict.fromkeys(columns.of_items, 0)
    items = 0
    for _, rows in repeated:
        own = [row for row in rows if row.line]  # without those that only add to them
        if len(own) <= 1:
            continue
        items += 1
        for position, _ in _disagreements(own, columns, columns.of_items):
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


def items_of(
    batch: RowBatch,
    repeated: Mapping[int, ItemRows | None],
    columns: Columns,
    findings: Findings,
    *,
    keeps_imageless: bool = False,
) -> Iterator[Item]:
    """Yield the items that begin in *batch*; *repeated* has those that may have several rows, by their places.

    An item without an image is yielded if *keeps_imageless*; else *findings* have the reason, as they have its
    contradictions.
    """
    none_is_alone = len(repeated) == len(batch.ids)
    values = columns.attributes(batch) if not none_is_alone else repeat(({}, {}), len(batch.ids))
    rows = zip(batch.ids, batch.images, values, strict=True)
    for place, (name, images, (attributes, of_image)) in enumerate(rows):
        item: Item | None = None
        if place in repeated:
            found = repeated[place]
            item = item_of(*found, columns, findings, keeps_imageless=keeps_imageless) if found else None
        elif not images:
            item = item_of(name, [batch.row(place)], columns, findings, keeps_imageless=keeps_imageless)
        else:
            distinct = tuple(images) if len(images) == 1 else tuple(dict.fromkeys(images))
            item = Item(name, distinct, attributes, (of_image,) * len(distinct) if columns.of_images else ())
        if item is not None:
            yield item


def item_of(
    name: str, rows: list[TableRow], columns: Columns, findings: Findings, *, keeps_imageless: bool = False
) -> Item | None:
    """Return the item that *rows* describe; each attribute has its first value that is not None.

    Returns None for an item without an image, unless *keeps_imageless*; *findings* then have it, as they have its
    contradictions.
    """
    images: dict[str, dict[str, Attribute]] = {}
    table = columns.cells(rows)
    for number, row in enumerate(rows):
        own = {columns.names[i]: columns.converters[i](table[i][number]) for i in columns.of_images}
        for image in row.images or ():
            images.setdefault(image, own)
    told = [row for row in rows if row.line]  # without those that only add to them
    is_imageless = not images and bool(told) and all(row.images is not None for row in told)
    if not images and not (is_imageless and keeps_imageless):
        if is_imageless:
            why = f"the item {name!r} names no image; give it one"
            findings.leave_out("no-image", why, place=told[0].line, item=name)
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

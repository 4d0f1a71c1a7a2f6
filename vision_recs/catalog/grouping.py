"""The rows of one item become the item; what differs between them is an image's, or a contradiction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from vision_recs.catalog.cell_types import Converter
from vision_recs.catalog.staging import StagedRow
from vision_recs.errors import CatalogError
from vision_recs.types import Attribute, Item

_FEWEST_ITEMS = 2


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that was read to its end.

    *of_items* and *of_images* are the positions of the attributes of either. *converters* turn a cell into a value,
    one for each column. *unit* is what the table's rows are numbered by, "line" or "row".
    """

    path: str
    unit: str
    names: tuple[str, ...]
    of_items: tuple[int, ...]
    of_images: tuple[int, ...]
    converters: list[Converter]

    def cells(self, rows: Iterable[StagedRow]) -> list[tuple[Attribute, ...]]:
        """Return the cells of *rows* column by column; a row read before its columns were known is filled up."""
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


def find_image_attributes(columns: Columns, repeated: Iterable[tuple[str, list[StagedRow]]]) -> Columns:
    """Return *columns* with those made the images' that differ inside most of the *repeated* items.

    Raises CatalogError for the first contradiction in the table: a column that differs inside fewer.
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


def _disagreements(name: str, rows: list[StagedRow], columns: Columns) -> Iterator[tuple[int, _Disagreement]]:
    table = columns.cells(rows)
    for position in columns.of_items:
        cells = table[position]
        if len(set(cells)) == 1:
            continue
        told = [
            (value, row.line)
            for value, row in zip(map(columns.converters[position], cells), rows, strict=True)
            if value is not None
        ]
        other = next((pair for pair in told if pair[0] != told[0][0]), None)
        if other is not None:
            yield position, _Disagreement(name, other[1], other[0], told[0][1], told[0][0])


def _contradiction(columns: Columns, column: str, found: _Disagreement) -> CatalogError:
    return CatalogError(
        f"item {found.item!r} has {found.value!r} here and {found.earlier_value!r} in {columns.unit} "
        f"{found.earlier_line}; make them equal, or add --image-attribute {column} if the values belong to the images",
        path=columns.path,
        line=found.line,
        column=column,
    )


def item_of(name: str, rows: list[StagedRow], columns: Columns) -> Item:
    """Return the item that *rows* describe; for each attribute the first value that is not None."""
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

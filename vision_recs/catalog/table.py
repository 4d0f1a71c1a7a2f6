"""A table as a catalog, whatever its format."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from vision_recs.catalog.cell_types import ColumnTypes, plain
from vision_recs.catalog.columns import CatalogOptions, KeyColumns, column_position
from vision_recs.catalog.grouping import Columns, RowStore, TableRow, find_image_attributes, item_of
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.catalog.readers import Rows, open_rows
from vision_recs.errors import CatalogError
from vision_recs.types import Attribute, Item

_BATCH = 2000


class TableCatalog:
    """The items of a table, in the order in which their ids first appear.

    Images are relative to the folder of the table. An item has several images by repeated rows, which need not be
    adjacent, by a list (in CSV as JSON), or separated by `|`; an image that is listed twice appears once. Every other
    column that has a name is an attribute.

    The rows of an item must agree on an attribute; an empty cell agrees with everything. A column belongs to the images
    instead if the options say so, or if it differs within more than half of the items that have several rows, and
    within at least two. The memory does not grow with the table: each iteration reads it into a temporary database.
    """

    def __init__(self, location: str, options: CatalogOptions) -> None:
        """Read the header of the table at *location*, an absolute path; raises CatalogError."""
        self.location = location
        self.root = str(Path(location).parent)
        self.image_attributes: tuple[str, ...] = options.image_attributes
        """The columns that belong to the images; those that no option names are known once an item was yielded."""
        self._options = options
        self.images = ImageFiles(self.root)
        rows = open_rows(self.location)
        keys = KeyColumns.choose(rows, options)
        if not rows.open_ended:
            self._named_image_attributes(rows, keys)

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError before the first one for whatever is wrong anywhere in the table."""
        try:
            with closing(RowStore()) as row_store:
                columns = self._read_into(row_store)
                columns = find_image_attributes(columns, row_store.items(smallest=2))
                self.image_attributes = tuple(columns.names[position] for position in columns.of_images)
                for name, rows in row_store.items():
                    yield item_of(name, rows, columns)
        except sqlite3.Error as error:
            raise CatalogError(
                f"the temporary copy of the table failed ({error}); let SQLITE_TMPDIR name a folder with room",
                path=self.location,
            ) from error

    def _read_into(self, row_store: RowStore) -> Columns:
        """Add the whole table to *row_store* and return what is then known of its columns."""
        rows = open_rows(self.location)
        keys = KeyColumns.choose(rows, self._options)
        types = ColumnTypes(len(rows.columns)) if rows.textual else None
        empty = True
        while batch := [_row(keys, line, cells, typed=types is None) for line, cells in islice(rows.cells, _BATCH)]:
            empty = False
            if types:
                types.observe(row.cells for _, row in batch)
            row_store.add(batch)
        if empty:
            raise CatalogError("the table has no rows below its header", path=self.location)
        row_store.group()
        of_images = self._named_image_attributes(rows, keys)
        unlike_items = {keys.id, keys.image, *of_images}
        return Columns(
            path=self.location,
            unit=rows.unit,
            names=tuple(rows.columns),
            of_items=tuple(i for i, name in enumerate(rows.columns) if name and i not in unlike_items),
            of_images=of_images,
            converters=types.converters() if types else [_unchanged] * len(rows.columns),
        )

    def _named_image_attributes(self, rows: Rows, keys: KeyColumns) -> tuple[int, ...]:
        positions = {column_position(rows, name, flag="--image-attribute") for name in self._options.image_attributes}
        for position in positions & {keys.id, keys.image}:
            raise CatalogError(
                "this column holds the ids or the images and cannot be an image's attribute; correct --image-attribute",
                path=self.location,
                column=rows.columns[position],
            )
        return tuple(sorted(positions))


def _row(keys: KeyColumns, line: int, cells: list[object], *, typed: bool) -> tuple[str, TableRow]:
    name, images = keys.identify(line, cells)
    cells[keys.id] = cells[keys.image] = None
    values: list[Attribute] = [plain(cell) for cell in cells] if typed else cells  # type: ignore[assignment]
    return name, TableRow(line, images, values)


def _unchanged(value: Attribute) -> Attribute:
    return value

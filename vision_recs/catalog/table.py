"""A table as a catalog, whatever its format."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from vision_recs.catalog.cell_types import ColumnTypes, plain
from vision_recs.catalog.columns import KeyColumns, column_position
from vision_recs.catalog.csv_rows import csv_rows
from vision_recs.catalog.files import ImageFiles
from vision_recs.catalog.grouping import Columns, find_image_attributes, item_of
from vision_recs.catalog.jsonl_rows import jsonl_rows
from vision_recs.catalog.options import CatalogOptions
from vision_recs.catalog.parquet_rows import parquet_rows
from vision_recs.catalog.rows import Rows
from vision_recs.catalog.staging import StagedRow, Staging
from vision_recs.errors import CatalogError
from vision_recs.types import Attribute, Item

_READERS: dict[str, Callable[[str], Rows]] = {
    ".csv": partial(csv_rows, delimiter=","),
    ".tsv": partial(csv_rows, delimiter="\t"),
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".parquet": parquet_rows,
}
EXTENSIONS = tuple(_READERS)
"""The kinds of tables."""

_BATCH = 2000


class TableCatalog:
    """The items of a table, in the order in which their ids first appear.

    Images are relative to the table's folder. Several of one item come as repeated rows, which need not be
    adjacent, as a list (in CSV as JSON), or separated by `|`; one listed twice appears once. Every other column with
    a name is an attribute.

    Rows of one item must agree on an attribute; an empty cell agrees with everything. A column belongs to the
    images instead when the options say so, or when it differs inside more than half of the ids that repeat, and
    inside two at least. Memory does not grow with the table: each iteration reads it into a temporary database.
    """

    def __init__(self, location: str, options: CatalogOptions) -> None:
        """Read the header of the table at *location*, an absolute path; raises CatalogError."""
        self.location = location
        self.root = str(Path(location).parent)
        self.image_attributes: tuple[str, ...] = options.image_attributes
        """The columns that belong to the images; those that were not named are known once an item was yielded."""
        self._options = options
        self._files = ImageFiles(self.root)
        rows = self._open()
        keys = KeyColumns.choose(rows, options)
        if not rows.open_ended:
            self._named_image_attributes(rows, keys)

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError before the first one for whatever is wrong anywhere in the table."""
        try:
            with closing(Staging()) as staging:
                columns = self._stage(staging)
                columns = find_image_attributes(columns, staging.items(smallest=2))
                self.image_attributes = tuple(columns.names[position] for position in columns.of_images)
                for name, rows in staging.items():
                    yield item_of(name, rows, columns)
        except sqlite3.Error as error:
            raise CatalogError(
                f"the temporary copy of the table failed ({error}); let SQLITE_TMPDIR name a folder with room",
                path=self.location,
            ) from error

    def read(self, reference: str) -> bytes:
        """Return the bytes of an image; raises ImageError: missing, unreadable or empty."""
        return self._files.read(reference)

    def signature(self, reference: str) -> str | None:
        """Return a token that changes when the file may have; see ImageFiles.signature."""
        return self._files.signature(reference)

    def _open(self) -> Rows:
        return open_rows(self.location)

    def _stage(self, staging: Staging) -> Columns:
        """Copy the whole table into *staging* and return what is then known of its columns."""
        rows = self._open()
        keys = KeyColumns.choose(rows, self._options)
        types = ColumnTypes(len(rows.columns)) if rows.textual else None
        empty = True
        while batch := [_staged(keys, line, cells, typed=types is None) for line, cells in islice(rows.cells, _BATCH)]:
            empty = False
            if types:
                types.observe(row.cells for _, row in batch)
            staging.add(batch)
        if empty:
            raise CatalogError("the table has no rows below its header", path=self.location)
        staging.seal()
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


def open_rows(location: str) -> Rows:
    """Open the table at *location*, whose extension is one of EXTENSIONS; raises CatalogError."""
    return _READERS[Path(location).suffix.lower()](location)


def _staged(keys: KeyColumns, line: int, cells: list[object], *, typed: bool) -> tuple[str, StagedRow]:
    name, images = keys.identify(line, cells)
    cells[keys.id] = cells[keys.image] = None
    values: list[Attribute] = [plain(cell) for cell in cells] if typed else cells  # type: ignore[assignment]
    return name, StagedRow(line, images, values)


def _unchanged(value: Attribute) -> Attribute:
    return value

"""A table as a catalog, whatever its format."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import cast

from vision_recs.catalog.cell_types import ColumnTypes
from vision_recs.catalog.columns import CatalogOptions, KeyColumns, column_position
from vision_recs.catalog.findings import Findings, LeaveOut, ignore
from vision_recs.catalog.grouping import Columns, find_image_attributes, items_of
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.catalog.observations import Observations, typed_converter
from vision_recs.catalog.places import Place, unreadable
from vision_recs.catalog.readers import Batch, Rows
from vision_recs.catalog.row_store import RowBatch, RowStore
from vision_recs.catalog.sources import open_source
from vision_recs.errors import CatalogError
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.object_store import ObjectError
from vision_recs.types import Attribute, Item


class TableCatalog:
    """The items of a table, in the order in which their ids first appear.

    Images are relative to the folder of the table. An item has several images by repeated rows, which need not be
    adjacent, by a list (in CSV as JSON), or separated by `|`; an image that is listed twice appears once. Every other
    column that has a name is an attribute.

    The rows of an item should agree on an attribute; an empty cell agrees with everything, and where they contradict
    each other the first value is used. A column belongs to the images instead if the options say so, or if it differs
    within more than half of the items that have several rows, and within at least two. A row without a usable id and
    an item without an image are left out. The memory hardly grows with the table, by eight bytes a row: each
    iteration reads it into a temporary database.
    """

    def __init__(self, place: Place, options: CatalogOptions, remote: RemoteImages) -> None:
        """Read the header of the table at *place*, an absolute path; raises CatalogError.

        *remote* reads the images that are at addresses.
        """
        self.location = str(place)
        self._place = place
        self.root = options.images or str(place if place.is_dir() else place.parent)
        self.image_attributes: tuple[str, ...] = options.image_attributes
        """The columns that belong to the images; those that no option names are known once an item was yielded."""
        self.contradictory_columns: tuple[str, ...] = ()
        """The columns in which rows of an item contradict each other; known once an item was yielded."""
        self.notes: tuple[str, ...] = ()
        """What there is to say of the table; known once an item was yielded."""
        self._options = options
        self._keeps_imageless = False
        self.images = ImageFiles(
            self.root, below=options.images_below, remote=remote, own_bucket=options.images_below is not None
        )
        rows = open_source(place, options, Findings(self.location, ignore))
        keys = KeyColumns.choose(rows, options)
        if not rows.open_ended:
            self._named_image_attributes(rows, keys)

    def keep_imageless(self) -> None:
        """Yield items without an image, too, from now on."""
        self._keeps_imageless = True

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError before the first one where the table cannot be read to its end."""
        return self.read_items(ignore)

    def read_items(self, leave_out: LeaveOut) -> Iterator[Item]:
        """Yield each item, and call *leave_out* for whatever is not in them; raises CatalogError as `__iter__`."""
        findings = Findings(self.location, leave_out)
        try:
            with closing(RowStore()) as row_store:
                columns = self._read_into(row_store, findings)
                columns = find_image_attributes(columns, row_store.repeated())
                self.image_attributes = tuple(columns.names[position] for position in columns.of_images)
                self.contradictory_columns = tuple(columns.names[position] for position in columns.contradictory)
                self.notes = tuple(findings.notes)
                for batch, repeated in row_store.batches():
                    yield from items_of(batch, repeated, columns, findings, keeps_imageless=self._keeps_imageless)
        except ObjectError as error:
            raise unreadable(error, self.location) from error
        except sqlite3.Error as error:
            raise CatalogError(
                f"the temporary copy of the table failed ({error}); let SQLITE_TMPDIR name a folder with room",
                path=self.location,
            ) from error

    def _read_into(self, row_store: RowStore, findings: Findings) -> Columns:
        """Add the whole table to *row_store* and return what is then known of its columns."""
        rows = open_source(self._place, self._options, findings)
        findings.unit = rows.unit
        keys = KeyColumns.choose(rows, self._options)
        types = ColumnTypes(rows.columns, decimal_comma=rows.decimal_comma) if rows.textual else None
        seen = Observations(rows.columns, typed=types is None)
        empty = True
        for batch in rows.batches:
            empty = empty and not batch.lines
            usable = _usable(keys, batch, findings, seen if types is None else None)
            if types:
                types.observe(usable.columns, usable.ids)
            seen.observe(usable.columns, usable.ids)
            row_store.add(usable)
        if empty:
            raise CatalogError("the table has no rows below its header", path=self.location)
        row_store.group()
        of_images = self._named_image_attributes(rows, keys)
        unlike_items = {keys.id, keys.image, *of_images}
        names = tuple(rows.columns)
        seen.tell(types.odd_cells if types else {}, types.are_text if types else (), findings)
        return Columns(
            names=names,
            of_items=tuple(
                i for i, name in enumerate(names) if name and i not in unlike_items and name not in rows.drops
            ),
            of_images=of_images,
            converters=types.converters() if types else list(map(typed_converter, names)),
            merges={i: rows.merges[name] for i, name in enumerate(names) if name in rows.merges},
            derived=seen.derived(),
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


def _usable(keys: KeyColumns, batch: Batch, findings: Findings, seen: Observations | None) -> RowBatch:
    """Return the rows of *batch* that have an id; *findings* say what is left out.

    *seen* is there for a typed table, whose cells become values.
    """
    names, images = keys.identify(batch, findings)
    if 0 in batch.lines:
        images = [of or None if not line else of for line, of in zip(batch.lines, images, strict=True)]
    blank = [None] * len(names)
    ids = [name or "" for name in names]
    columns = [
        blank
        if i in {keys.id, keys.image}
        else cast("Sequence[Attribute]", cells)
        if seen is None
        else seen.values(i, cells, ids)
        for i, cells in enumerate(batch.columns)
    ]
    return RowBatch(list(batch.lines), ids, images, columns).chosen([name is not None for name in names])

"""Rows of a CSV or TSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from vision_recs.catalog.rows import Rows, text_lines
from vision_recs.errors import CatalogError


def csv_rows(path: str, *, delimiter: str) -> Rows:
    """Return the rows below the header of a CSV file; a row is numbered by the line where it starts.

    Quotes as in RFC 4180. Lines without any value are passed over. A column without a name is kept under "".
    Raises CatalogError, here for the header and while iterating for the rest, where the file is not UTF-8, breaks
    the rules of quoting, has no header, names a column twice, or has a row with more or fewer cells than the header.
    """
    records = _records(path, delimiter)
    line, header = next(records, (0, []))
    if not header:
        raise CatalogError("the table is empty; it needs a header and rows", path=path)
    columns = [name.strip() for name in header]
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise CatalogError("the header names this column twice; rename one", path=path, line=line, column=twice)
    return Rows(path, columns, _body(path, columns, records), textual=True)


def _body(
    path: str, columns: list[str], records: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[object]]]:
    width = len(columns)
    for line, cells in records:
        if len(cells) != width:
            raise CatalogError(
                f"the row has {len(cells)} cells and the header {width}; quote cells that hold the separator",
                path=path,
                line=line,
            )
        yield line, list(cells)


def _records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text_lines(path), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells):
                yield line, cells
            line = reader.line_num + 1  # the reader counts the last line of a row, people look for the first
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]
        raise CatalogError(
            f"malformed: {reason}; quote cells that hold quotes, line ends or the separator", path=path, line=line
        ) from error

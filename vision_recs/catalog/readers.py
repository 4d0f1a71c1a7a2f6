"""The readers of tables: CSV, TSV, JSON Lines and Parquet become rows of cells, one after the other."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from vision_recs.errors import CatalogError, first_line, machine_remedy

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PARQUET_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Rows:
    """A table while it is read, which can be done once.

    *cells* yields, for each row, its number (from 1) and its cells in the order of *columns*. If *open_ended*, later
    rows may append to *columns*, so that earlier rows have fewer cells. If *textual*, every cell is text, and the types
    of the columns are not known yet. *unit* is what the numbers count: "line" or "row".
    """

    path: str
    columns: list[str]
    cells: Iterator[tuple[int, list[object]]]
    open_ended: bool = False
    textual: bool = False
    unit: str = "line"


def csv_rows(path: str, *, delimiter: str) -> Rows:
    """Return the rows below the header of a CSV file; a row is numbered by the line where it starts.

    Quotes are those of RFC 4180. Lines without a value are skipped. A column without a name is called "". Raises
    CatalogError where the file is not UTF-8, breaks the rules of quoting, has no header, names a column twice, or has a
    row with more or fewer cells than the header: for the header at once, for the rows while iterating.
    """
    records = _csv_records(path, delimiter)
    line, header = next(records, (0, []))
    if not header:
        raise CatalogError("the table is empty; it needs a header and rows", path=path)
    columns = [name.strip() for name in header]
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise CatalogError("the header names this column twice; rename one", path=path, line=line, column=twice)
    return Rows(path, columns, _csv_body(path, columns, records), textual=True)


def _csv_body(
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


def _csv_records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text_lines(path), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells):
                yield line, cells
            line = reader.line_num + 1  # the reader counts the last line of a row, a person looks for the first
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]
        raise CatalogError(
            f"malformed: {reason}; quote cells that hold quotes, line ends or the separator", path=path, line=line
        ) from error


def jsonl_rows(path: str) -> Rows:
    """Return the objects of a JSON Lines file as rows; a key that an object lacks is None.

    Columns are ordered as their keys first appear. Blank lines are skipped. Raises CatalogError where a line is not
    UTF-8, not JSON (NaN is not JSON) or not an object: for the first line at once, for the others while iterating.
    """
    objects = _jsonl_objects(path)
    first = next(objects, None)
    if first is None:
        raise CatalogError("the table is empty; it needs a JSON object a line", path=path)
    columns = list(first[1])
    return Rows(path, columns, _jsonl_body(columns, chain([first], objects)), open_ended=True)


def _jsonl_body(
    columns: list[str], objects: Iterator[tuple[int, dict[str, object]]]
) -> Iterator[tuple[int, list[object]]]:
    known = set(columns)
    for line, record in objects:
        if record.keys() - known:
            columns.extend(key for key in record if key not in known)
            known.update(record)
        yield line, [record.get(name) for name in columns]


def _jsonl_objects(path: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, text in enumerate(text_lines(path), 1):
        if text.isspace():
            continue
        try:
            record = _DECODER.decode(text)
            if "\\ud" in text.lower():
                json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no character
        except (ValueError, RecursionError) as error:
            if "int_max_str_digits" in str(error):
                raise CatalogError("a number has thousands of digits; put it in quotes", path=path, line=line) from None
            raise CatalogError(f"malformed JSON: {error}; write one object a line", path=path, line=line) from error
        if not isinstance(record, dict):
            raise CatalogError(
                f"a JSON {type(record).__name__} where an object belongs; write one object a line", path=path, line=line
            )
        yield line, record


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value, null is")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parquet_rows(path: str) -> Rows:
    """Return the rows of a Parquet file, read batch by batch and numbered from 1.

    Nanoseconds are cut to microseconds; times with a zone are converted to UTC. Raises CatalogError, at once or while
    iterating, where the file is not a Parquet file, is damaged or holds a time after the year 9999, and where two
    columns have the same name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable_parquet(path, error) from error
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise CatalogError("two columns have this name; rename one", path=path, column=twice)
    return Rows(path, columns, _parquet_body(path), unit="row")


def _parquet_body(path: str) -> Iterator[tuple[int, list[object]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for cells in zip(*map(_parquet_values, batch.columns), strict=True):
                    number += 1
                    yield number, list(cells)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise _unreadable_parquet(path, error) from error


def _parquet_values(column: Any) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
    import pyarrow as pa

    kind = column.type
    # Python's own times end at microseconds, and zones other than UTC need data that may not be installed.
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz="UTC" if kind.tz else None), safe=False)
    elif getattr(kind, "unit", None) == "ns":
        column = column.cast(pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us"), safe=False)
    values: list[object] = column.to_pylist()
    return values


def _unreadable_parquet(path: str, error: Exception) -> CatalogError:
    remedy = machine_remedy(error) or "write the table again"
    return CatalogError(f"cannot be read as Parquet ({first_line(error)}); {remedy}", path=path)


_READERS: dict[str, Callable[[str], Rows]] = {
    ".csv": partial(csv_rows, delimiter=","),
    ".tsv": partial(csv_rows, delimiter="\t"),
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".parquet": parquet_rows,
}
EXTENSIONS = tuple(_READERS)
"""The extensions of the tables that can be read."""


def open_rows(location: str) -> Rows:
    """Open the table at *location*, whose extension is one of EXTENSIONS; raises CatalogError."""
    return _READERS[Path(location).suffix.lower()](location)


def text_lines(path: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends, without a byte order mark.

    Raises CatalogError where the file cannot be read, is not UTF-8 or holds a NUL byte.
    """
    offset = 0
    try:
        with Path(path).open("rb") as file:
            for line, raw in enumerate(file, 1):
                yield _decoded(raw, offset, path=path, line=line)
                offset += len(raw)
    except OSError as error:
        remedy = machine_remedy(error) or "check the disk"
        raise CatalogError(f"the file cannot be read ({error.strerror}); {remedy}", path=path) from error


def _decoded(raw: bytes, offset: int, *, path: str, line: int) -> str:
    start = len(_BYTE_ORDER_MARK) if offset == 0 and raw.startswith(_BYTE_ORDER_MARK) else 0
    try:
        text = raw[start:].decode()
    except UnicodeDecodeError as error:
        place = start + error.start
        raise CatalogError(
            f"byte 0x{raw[place]:02x} at offset {offset + place} is not UTF-8; save the table as UTF-8",
            path=path,
            line=line,
        ) from error
    if "\0" in text:
        place = offset + raw.index(0)
        raise CatalogError(f"a NUL byte at offset {place}; a table is text, save it again", path=path, line=line)
    return text

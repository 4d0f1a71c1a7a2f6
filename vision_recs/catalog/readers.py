"""The readers of tables: CSV, TSV, JSON Lines and Parquet become batches of rows, column by column."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import Place, extension_of
from vision_recs.catalog.text_files import text_lines
from vision_recs.errors import CatalogError

_SEPARATOR = re.compile('"?sep=(.)"?', re.IGNORECASE)  # how Excel is told the separator
_DELIMITERS = (",", ";", "\t")
_LONGEST_FIELD = 1 << 26
_BATCH = 2000
MOST_COLUMNS = 10_000
"""Every row has a cell for each column, so a file of many columns takes the square of its size."""


class Batch(NamedTuple):
    """Some rows of a table: their numbers (from 1), and the cells of each column, in the order of `Rows.columns`."""

    lines: Sequence[int]
    columns: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table while it is read, which can be done once.

    *batches* yields its rows, some at a time. If *open_ended*, later batches may append to *columns*, so that earlier
    ones have fewer. If *textual*, every cell is text, and the types of the columns are not known yet; *decimal_comma*
    then says that 1,5 is a number. *unit* is what the numbers count: "line" or "row". The number 0 is that of a row
    that only adds to the others of its item. *merges* says, for a column in which the rows of an item may differ, what
    becomes of their values: "min", "any" or "set"; *drops* are columns that are no attributes.
    """

    path: str
    columns: list[str]
    batches: Iterator[Batch]
    open_ended: bool = False
    textual: bool = False
    unit: str = "line"
    decimal_comma: bool = False
    merges: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    drops: frozenset[str] = frozenset()

    def cells(self) -> Iterator[tuple[int, Sequence[object]]]:
        """Yield the number and the cells of each row."""
        for batch in self.batches:
            rows: Iterable[Sequence[object]] = zip(*batch.columns, strict=True) if batch.columns else repeat(())
            yield from zip(batch.lines, rows, strict=False)


def csv_rows(place: str | Place, findings: Findings, *, delimiter: str) -> Rows:
    """Return the rows below the header of a CSV file; a row is numbered by the line where it starts.

    Quotes are those of RFC 4180. The separator is the one that the header has most often, of comma, semicolon and tab,
    or the one that a line `sep=;` before the header names; *delimiter* wins a tie. Lines without a value are skipped. A
    column without a name is called "". Of two columns with one name, the first is taken, which is noted. A row with
    more or fewer cells than the header, or with stray quotes, is left out. Raises CatalogError where the file has no
    header, and where a quote is never closed.
    """
    path, lines = str(place), text_lines(place, findings)
    number, first = _first_line(lines)
    named = _SEPARATOR.fullmatch(first.strip())
    if named:
        delimiter = named[1]
        skipped, first = _first_line(lines)
        number += skipped
    else:
        delimiter = _delimiter(first, delimiter)
    records = _csv_records(path, chain([first], lines), delimiter, number, findings)
    _, header = next(records, (0, []))
    if not any(header):
        raise CatalogError("the table is empty; it needs a header and rows", path=path)
    columns = [name.strip() for name in header]
    require_few(columns, path)
    known: set[str] = set()
    for position, name in enumerate(columns):
        if name and name in known:
            findings.note(f"the header names the column {name!r} twice; the first one is used")
            columns[position] = ""
        known.add(name)
    batches = _csv_batches(len(columns), records, findings)
    return Rows(path, columns, batches, textual=True, decimal_comma=delimiter == ";")


def _first_line(lines: Iterator[str]) -> tuple[int, str]:
    """Return the number of the first line that is not blank, and that line; an empty one where there is none."""
    return next(((number, line) for number, line in enumerate(lines, 1) if line.strip()), (1, ""))


def _delimiter(header: str, default: str) -> str:
    unquoted = re.sub('"[^"]*"', "", header)
    return max((default, *_DELIMITERS), key=unquoted.count)


def _csv_batches(width: int, records: Iterator[tuple[int, list[str]]], findings: Findings) -> Iterator[Batch]:
    while some := list(islice(records, _BATCH)):
        whole = []
        for line, cells in some:
            if len(cells) == width:
                whole.append((line, cells))
            else:
                why = f"the row has {len(cells)} cells and the header {width}; quote cells that hold the separator"
                findings.leave_out("malformed", why, place=line)
        yield Batch([line for line, _ in whole], _turned([cells for _, cells in whole], width))


def _turned(rows: Sequence[Sequence[object]], width: int) -> list[Sequence[object]]:
    """Return the columns of *rows*."""
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _csv_records(
    path: str, lines: Iterable[str], delimiter: str, first: int, findings: Findings
) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_FIELD)  # for the process; there is no other way
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = first
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]
            why = f"malformed: {reason}; quote cells that hold quotes, line ends or the separator"
            if "end of data" in reason or "limit" in reason:  # everything below an open quote would be lost
                raise CatalogError(why, path=path, line=line) from error
            findings.leave_out("malformed", why, place=line)
        else:
            if any(cells):
                yield line, cells
        line = first + reader.line_num  # the reader counts the last line of a row, a person looks for the first


def jsonl_rows(place: str | Place, findings: Findings) -> Rows:
    """Return the objects of a JSON Lines file as rows; a key that an object lacks is None.

    Columns are ordered as their keys first appear. Blank lines are skipped; a line that is not JSON (NaN is not JSON)
    or not an object is left out. Raises CatalogError where no
    line is an object.
    """
    records = json_objects(place, findings)
    first = next(records, None)
    if first is None:
        raise CatalogError("no line of the table is a JSON object; write one object a line", path=str(place))
    return record_rows(str(place), chain([first], records), columns=list(first[1]))


def record_rows(
    path: str,
    records: Iterator[tuple[int, dict[str, object]]],
    *,
    columns: list[str],
    **how: Any,  # noqa: ANN401
) -> Rows:
    """Return numbered *records* as rows: their keys become columns, after the first *columns*, as they appear."""
    return Rows(path, columns, _record_batches(path, columns, records), open_ended=True, **how)


def require_few(columns: list[str], path: str, line: int | None = None) -> None:
    """Raise CatalogError where there are more *columns* than a table may have."""
    if len(columns) > MOST_COLUMNS:
        why = f"the table has {len(columns):,} columns, over the limit of {MOST_COLUMNS:,}; put less into it"
        raise CatalogError(why, path=path, line=line)


def _record_batches(path: str, columns: list[str], records: Iterator[tuple[int, dict[str, object]]]) -> Iterator[Batch]:
    known = set(columns)
    while some := list(islice(records, _BATCH)):
        rows = [record for _, record in some]
        new = set().union(*rows) - known
        if new:
            _append(path, columns, new, some)
            known |= new
        yield Batch([line for line, _ in some], [[record.get(name) for record in rows] for name in columns])


def _append(
    path: str, columns: list[str], new: AbstractSet[str], records: Iterable[tuple[int, dict[str, object]]]
) -> None:
    """Append the names *new* to *columns*, in the order in which *records* have them."""
    left = set(new)
    for line, record in records:
        if not left.isdisjoint(record):
            columns.extend(name for name in record if name in left)
            left.difference_update(record)
            require_few(columns, path, line)


def json_objects(place: str | Place, findings: Findings) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the number and the object of each line of a JSON Lines file; other lines are left out."""
    for line, text in enumerate(text_lines(place, findings), 1):
        if text.isspace():
            continue
        try:
            record = _DECODER.decode(text)
            if "\\ud" in text.lower():
                json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no character
        except (ValueError, RecursionError) as error:
            why = f"malformed JSON: {error}; write one object a line"
            if "int_max_str_digits" in str(error):
                why = "a number has thousands of digits; put it in quotes"
            findings.leave_out("malformed", why, place=line)
            continue
        if isinstance(record, dict):
            yield line, record
        else:
            why = f"a JSON {type(record).__name__} where an object belongs; write one object a line"
            findings.leave_out("malformed", why, place=line)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value, null is")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parquet_rows(place: str | Place, findings: Findings) -> Rows:
    """Return the rows of a Parquet file, read batch by batch and numbered from 1.

    Nanoseconds are cut to microseconds; times with a zone are converted to UTC. Of two columns with one name, the first
    is taken, and a column that cannot become values of Python is empty; both are noted. Columns of bytes that may be
    images are not read: a cell is then the name of a member, see `members`. Raises CatalogError, at once or while
    iterating, where the file is not a Parquet file or is damaged.
    """
    from vision_recs.catalog.parquet import parquet_rows as rows

    return rows(place, findings)


_READERS: dict[str, Callable[[str | Place, Findings], Rows]] = {
    ".csv": partial(csv_rows, delimiter=","),
    ".tsv": partial(csv_rows, delimiter="\t"),
    ".txt": partial(csv_rows, delimiter="\t"),
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".parquet": parquet_rows,
}
EXTENSIONS = tuple(_READERS)
"""The extensions of the tables that can be read; each may be followed by .gz."""


def open_rows(place: str | Place, findings: Findings) -> Rows:
    """Open the table at *place*, whose extension is one of EXTENSIONS; raises CatalogError."""
    return _READERS[extension_of(place if isinstance(place, str) else place.name)](place, findings)

"""A shop's own logs of what was shown and clicked become answers and events."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from vision_recs.errors import EventsError
from vision_recs.feedback.answers import foreign_answer, is_answer, pseudonym
from vision_recs.feedback.event_log import EventLog
from vision_recs.feedback.exploration import Slate
from vision_recs.feedback.records import Answer, Event, Record, event_of, under_pseudonym
from vision_recs.small_files import MOST_AT_ONCE

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("type", "item", "time", "answer", "shopper", "asked", "place", "quantity", "value", "id")
_NUMBERS = {"time", "quantity", "value", "place"}
_AT_ONCE = 10_000
_SHOWN_PROBLEMS = 20


@dataclass(slots=True)
class Imported:
    """What an import made of *rows* rows: *answers*, *events*, and rows that were *refused*.

    *problems* says of the first of these where they are and why. *ignored* are columns that mean nothing here.
    """

    rows: int = 0
    answers: int = 0
    events: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)


def import_events(root: str | Path, files: Iterable[str | Path], *, now: float | None = None) -> Imported:
    """Append the rows of *files* (.jsonl, .csv or .parquet) to the folder of events *root*, which is made if need be.

    A row has a `type` (see EVENT_TYPES), an `item`, a `time`, and an `answer` or a `shopper`. Rows of type "shown" with
    one `answer`, by whatever id the shop has for it, are the items of that answer, each at its `place`; `asked` is the
    item on whose page it was. Importing a file again changes nothing. Raises EventsError for a file that cannot be
    read, and StoreUnavailable.
    """
    paths = [Path(file) for file in files]
    for path in paths:  # a wrong name makes no folder
        _require_readable(path)
    report = Imported()
    with EventLog(root, worker="import") as log:
        rows = _Rows(log.secret, time.time() if now is None else now, report)
        batch: list[Record] = []
        for path in paths:
            for record in rows.read(path):
                batch.append(record)
                if len(batch) == _AT_ONCE:
                    log.append(batch)
                    batch = []
        log.append([*rows.answers(), *batch])
    return report


@dataclass(slots=True)
class _Shown:
    """An answer of the shop as its rows tell it."""

    asked: str
    shopper: str
    time: float
    items: dict[int, str] = field(default_factory=dict)


class _Rows:
    """Turns rows into events at once, and into answers at the end."""

    def __init__(self, secret: bytes, now: float, report: Imported) -> None:
        self._secret = secret
        self._now = now
        self._report = report
        self._answers: dict[str, _Shown] = {}

    def read(self, path: Path) -> Iterator[Event]:
        """Yield the events of the file *path*."""
        for number, row in _rows_of(path):
            self._report.rows += 1
            try:
                if row is None:
                    raise ValueError("the row is nested too deeply; an event is a flat object")  # noqa: TRY301
                self._report.ignored.update(str(name) for name in row if name not in _COLUMNS)
                event = self._event({name: row[name] for name in _COLUMNS if _is_given(row.get(name))})
            except ValueError as error:
                self._report.refused += 1
                if len(self._report.problems) < _SHOWN_PROBLEMS:
                    self._report.problems.append(f"{path}:{number}: {error}")
            else:
                self._report.events += 1
                yield event

    def answers(self) -> Iterator[Answer]:
        """Yield the answers that the rows of type "shown" make."""
        for answer, shown in self._answers.items():
            self._report.answers += 1
            ranked = tuple(shown.items.get(place, "") for place in range(1, max(shown.items) + 1))
            yield Answer(answer, shown.time, Slate(ranked), shown.shopper, asked=shown.asked)

    def _event(self, row: dict[str, Any]) -> Event:
        if "time" not in row:
            raise ValueError("the row has no time; write 2026-05-01T12:00:00Z, or seconds since 1970")
        asked = str(row.pop("asked", ""))
        event = event_of({name: _typed(name, value) for name, value in row.items()}, now=self._now)
        if event.answer and not is_answer(self._secret, event.answer):
            event = replace(event, answer=foreign_answer(self._secret, event.answer))
            if event.type == "shown":
                self._show(event, asked)
        return under_pseudonym(event, self._secret)

    def _show(self, event: Event, asked: str) -> None:
        """Note what *event* says of its answer; raises ValueError where another item has its place there."""
        shopper = pseudonym(self._secret, event.shopper) if event.shopper else ""
        shown = self._answers.setdefault(event.answer, _Shown(asked, shopper, event.time))
        place = event.place or next(at for at in range(1, len(shown.items) + 2) if at not in shown.items)
        if event.item not in shown.items.values() and shown.items.setdefault(place, event.item) != event.item:
            raise ValueError(f"the place {place} of the answer has the item {shown.items[place]!r} already")
        shown.time = min(shown.time, event.time)


def _typed(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return *value* with the type of the column *name*: in CSV everything is text, elsewhere ids may be numbers."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if name in _NUMBERS and isinstance(value, str | Decimal):
        try:
            value = float(value)
        except ValueError:
            return value
    if name == "place" and isinstance(value, float) and value.is_integer():
        return int(value)  # pandas makes floats of whole numbers where one is missing
    if name in {"item", "answer", "shopper", "id"} and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _is_given(value: object) -> bool:
    """Whether *value* is one: NaN is what pandas writes where there is none."""
    return value is not None and value != "" and value == value  # noqa: PLR0124 - but for NaN


_NumberedRows: TypeAlias = Iterator[tuple[int, Mapping[str, Any] | None]]


def _require_readable(path: Path) -> None:
    """Raise EventsError where *path* is not a table, or is missing."""
    if path.suffix.lower() not in _readers():
        raise EventsError("is not a .jsonl, .csv or .parquet file; write it as one of these", path=str(path))
    try:
        path.stat()
    except OSError as error:
        raise EventsError(f"cannot be read ({error.strerror})", path=str(path)) from None


def _readers() -> Mapping[str, Callable[[Path], _NumberedRows]]:
    return {".jsonl": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}


def _rows_of(path: Path) -> _NumberedRows:
    """Yield the rows of *path*, each with its line or number, None where it cannot be read; raises EventsError."""
    try:
        yield from _readers()[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EventsError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path=str(path)) from None


def _json_rows(path: Path) -> _NumberedRows:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(_lines(file, path), 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError:
                    value = None
                except RecursionError:
                    yield number, None
                    continue
                if not isinstance(value, dict):
                    raise EventsError("is not a JSON object; write one a line", path=str(path), line=number)
                yield number, value


def _csv_rows(path: Path) -> _NumberedRows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(_lines(file, path), restkey="", strict=True)
        for row in reader:
            if "" in row:
                raise EventsError("has more cells than the header; quote them", path=str(path), line=reader.line_num)
            yield reader.line_num, row


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of *file*; raises EventsError for one without an end, as a device has."""
    while line := file.readline(MOST_AT_ONCE + 1):
        if len(line) > MOST_AT_ONCE:
            raise EventsError(f"a line has more than {MOST_AT_ONCE:,} characters; break it up", path=str(path))
        yield line


def _parquet_rows(path: Path) -> _NumberedRows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise EventsError(f"is not Parquet ({error})", path=str(path)) from None
    with file:
        number = 0
        for batch in file.iter_batches(_AT_ONCE):
            for row in _in_microseconds(batch).to_pylist():
                number += 1
                yield number, row


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return *batch* with times that Python can tell: those of pandas have nanoseconds."""
    import pyarrow as pa

    for at, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type):
            cut = batch.column(at).cast(pa.timestamp("us", column.type.tz), safe=False)
            batch = batch.set_column(at, column.name, cut)
    return batch

"""A shop's own logs of what was shown and clicked become answers and events."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vision_recs.errors import EventsError
from vision_recs.feedback.answers import foreign_answer, is_answer, pseudonym
from vision_recs.feedback.event_log import EventLog
from vision_recs.feedback.exploration import Slate
from vision_recs.feedback.records import Answer, Event, Record, event_of, with_id

_COLUMNS = ("type", "item", "time", "answer", "shopper", "asked", "place", "quantity", "value", "id")
_NUMBERS = {"quantity": float, "value": float, "place": int}
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
    report = Imported()
    with EventLog(root, worker="import") as log:
        rows = _Rows(log.secret, time.time() if now is None else now, report)
        batch: list[Record] = []
        for path in map(Path, files):
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
            self._report.ignored.update(str(name) for name in row if name not in _COLUMNS)
            try:
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
        shopper = pseudonym(self._secret, event.shopper) if event.shopper else ""
        named = event.answer
        if named and not is_answer(self._secret, named):
            named = foreign_answer(self._secret, named)
            if event.type == "shown":
                self._show(named, event, asked, shopper)
        event = replace(event, answer=named, shopper=shopper)
        return event if "id" in row else with_id(event)

    def _show(self, answer: str, event: Event, asked: str, shopper: str) -> None:
        shown = self._answers.setdefault(answer, _Shown(asked, shopper, event.time))
        place = event.place or next(at for at in range(1, len(shown.items) + 2) if at not in shown.items)
        if event.item not in shown.items.values():
            shown.items.setdefault(place, event.item)
        shown.time = min(shown.time, event.time)


def _typed(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return *value* with the type of the column *name*: in CSV everything is text, elsewhere ids may be numbers."""
    if name == "time" and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    if name in _NUMBERS and isinstance(value, str):
        try:
            return _NUMBERS[name](value)
        except ValueError:
            return value
    if name in {"item", "answer", "shopper", "id"} and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _is_given(value: object) -> bool:
    return value is not None and value != ""


def _rows_of(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows of *path*, each with its line or number; raises EventsError."""
    reader = {".jsonl": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}.get(path.suffix.lower())
    if reader is None:
        raise EventsError("is not a .jsonl, .csv or .parquet file; write it as one of these", path=str(path))
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EventsError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path=str(path)) from None


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError:
                    value = None
                if not isinstance(value, dict):
                    raise EventsError("is not a JSON object; write one a line", path=str(path), line=number)
                yield number, value


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        for row in reader:
            if "" in row:
                raise EventsError("has more cells than the header; quote them", path=str(path), line=reader.line_num)
            yield reader.line_num, row


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise EventsError(f"is not Parquet ({error})", path=str(path)) from None
    with file:
        number = 0
        for batch in file.iter_batches(_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield number, row

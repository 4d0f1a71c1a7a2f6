"""What shoppers did lately, by pseudonym: from the days of a folder of events, and from the logs beyond them.

It is kept in memory, and goes nowhere else. What was forgotten is gone with the next `refresh`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_recs.feedback import day_files
from vision_recs.feedback.answers import ID_LENGTH, pseudonym
from vision_recs.feedback.current import ANSWERS, EVENTS, Current, FileEntry, again_if_compacted, read_current
from vision_recs.feedback.event_log import EventFolder
from vision_recs.feedback.records import AnsweredTo, Event, of_line_in_brief

DAYS = 90
"""For how many days it counts what a shopper looked at; what was bought counts as long as it is in the folder."""

_MOST_ANSWERS = 500_000  # of the logs, whose shoppers are known to events
_SEEN = "shown"
_COLUMNS = ["id", "type", "item", "answer", "shopper", "time"]


@dataclass(frozen=True)
class _Day:
    """The events of a day in the order of their shoppers (n,), and the answers of it by id."""

    shoppers: NDArray[np.bytes_]
    events: pa.Table
    answers: pa.Table

    def of(self, shopper: str) -> Iterator[Event]:
        name = shopper.encode()
        first, last = (int(np.searchsorted(self.shoppers, name, side=side)) for side in ("left", "right"))
        for row in self.events.slice(first, last - first).to_pylist() if last > first else ():
            yield Event(row["id"], row["type"], row["item"], row["time"], row["answer"], shopper)


@dataclass
class _Known:
    """What is known after the compaction *run*; *upto* says how far each log was read."""

    run: int = -1
    days: Mapping[tuple[FileEntry, ...], _Day] = field(default_factory=dict)
    upto: dict[str, int] = field(default_factory=dict)
    shopper_of: dict[str, str] = field(default_factory=dict)  # of the answers in the logs
    recent: dict[str, dict[str, Event]] = field(default_factory=dict)  # by shopper, then by id
    waiting: list[Event] = field(default_factory=list)  # whose answer another log may hold


class Histories:
    """The events of each shopper in a folder of events, as far as `refresh` has read them."""

    def __init__(self, root: str | Path) -> None:
        """Begin with nothing."""
        self._folder = EventFolder(Path(root))
        self._known = _Known()
        self._lock = Lock()

    @classmethod
    def read(cls, root: str | Path) -> Histories:
        """Return all that the folder *root* says; raises as `refresh` does."""
        found = cls(root)
        found.refresh()
        return found

    def of_name(self, name: str) -> list[Event]:
        """Return the events of the shopper whom the shop calls *name*; raises EventsError and StoreError."""
        return self.of(pseudonym(self._folder.read_secret(), name))

    def of(self, shopper: str) -> list[Event]:
        """Return the events of the pseudonym *shopper*, but for what was shown to them, the oldest first."""
        with self._lock:
            known = self._known
            found = dict(known.recent.get(shopper, {}))
        for day in known.days.values():
            found |= {event.id: event for event in day.of(shopper)}
        return sorted(found.values(), key=lambda event: (event.time, event.id)) if found else []

    def refresh(self) -> None:
        """Read what is new; raises EventsError, StoreDamaged and StoreUnavailable, and keeps what is known."""
        again_if_compacted(self._folder.root, self._refresh)

    def _refresh(self) -> None:
        current = read_current(self._folder)
        known = self._known if current.run == self._known.run else self._anew(current)
        for path in self._folder.logs():
            try:
                self._read(known, path)
            except FileNotFoundError:  # compaction was quicker: the days have it now
                continue
        with self._lock:
            self._known = known

    def _anew(self, current: Current) -> _Known:
        """Return what the days of *current* hold; those that did not change are not read again."""
        known = _Known(current.run, upto=dict(current.logs))
        days: dict[tuple[FileEntry, ...], _Day] = {}
        newest = max(current.days, default="")
        for date, parts in sorted(current.days.items()):
            before = current.days.get(_days_before(date, 1), {})
            key = tuple(files[part] for files in (parts, before) for part in (ANSWERS, EVENTS) if part in files)
            kept = self._known.days.get(key)
            days[key] = kept if kept is not None else self._day(parts, before, is_old=date < _days_before(newest, DAYS))
        return replace(known, days=days)

    def _day(self, parts: Mapping[str, FileEntry], before: Mapping[str, FileEntry], *, is_old: bool) -> _Day:
        events = self._table(parts, EVENTS, _COLUMNS)
        wanted = pc.equal(events["type"], "buy") if is_old else pc.not_equal(events["type"], _SEEN)
        events = events.filter(wanted)
        answers = pa.concat_tables([self._table(each, ANSWERS, ["id", "shopper"]) for each in (parts, before)])
        answers = answers.combine_chunks()
        shoppers = _shoppers(events, answers)
        events = events.set_column(events.schema.get_field_index("shopper"), "shopper", shoppers)
        events = events.filter(pc.not_equal(events["shopper"], "")).sort_by("shopper").combine_chunks()
        names = events["shopper"].to_numpy().astype(f"S{ID_LENGTH}")
        own = answers.slice(0, 0) if is_old else answers
        return _Day(names, events, own)

    def _table(self, parts: Mapping[str, FileEntry], part: str, columns: list[str]) -> pa.Table:
        entry = parts.get(part)
        if entry is None:
            schema = {ANSWERS: day_files.ANSWERS, EVENTS: day_files.EVENTS}[part]
            return pa.schema([schema.field(name) for name in columns]).empty_table()
        return day_files.read_table(self._folder.root / entry.path, columns)

    def _read(self, known: _Known, path: Path) -> None:
        events, upto = [], known.upto.get(path.name, 0)
        with path.open("rb") as file:
            file.seek(upto)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                upto += len(line)
                record = of_line_in_brief(line[:-1])
                if isinstance(record, AnsweredTo):
                    if record.shopper:
                        known.shopper_of[record.id] = record.shopper
                elif record is not None and record.type != _SEEN:
                    events.append(record)
        known.upto[path.name] = upto
        while len(known.shopper_of) > _MOST_ANSWERS:
            del known.shopper_of[next(iter(known.shopper_of))]
        events, known.waiting = [*known.waiting, *events], []
        unknown = {event.answer for event in events if not event.shopper and event.answer not in known.shopper_of}
        in_days = _known_shoppers(known.days.values(), unknown) if unknown else {}
        with self._lock:
            for event in events:
                shopper = event.shopper or known.shopper_of.get(event.answer) or in_days.get(event.answer)
                if shopper:
                    known.recent.setdefault(shopper, {})[event.id] = event
                elif shopper is None:
                    known.waiting.append(event)
        del known.waiting[:-1_000]


def _shoppers(events: pa.Table, answers: pa.Table) -> pa.ChunkedArray:
    """Return the shopper of each of *events*, by their own word, or by that of their answer; empty if unknown."""
    at = pc.index_in(events["answer"], value_set=answers["id"].combine_chunks())
    told = pc.fill_null(answers["shopper"].combine_chunks().take(at.combine_chunks()), "")
    return pa.chunked_array(
        [pc.if_else(pc.equal(events["shopper"].combine_chunks(), ""), told, events["shopper"].combine_chunks())]
    )


def _known_shoppers(days: Iterable[_Day], answers: set[str]) -> dict[str, str]:
    """Return the shoppers of those of *answers* that *days* hold; empty for an answer to nobody known."""
    wanted = pa.array(sorted(answers), pa.string())
    found: dict[str, str] = {}
    for day in days:
        rows = day.answers.filter(pc.is_in(day.answers["id"], value_set=wanted))
        found.update(zip(rows["id"].to_pylist(), rows["shopper"].to_pylist(), strict=True))
    return found


def _days_before(date: str, count: int) -> str:
    if not date:
        return ""
    return (datetime.fromisoformat(date).date() - timedelta(days=count)).isoformat()

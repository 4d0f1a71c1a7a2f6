"""Compaction: the lines of the logs become days and counts, each answer and each event once.

It may be killed at any moment, and run as often as one likes: what it has read is written down together with what it
made of that. Logs that are still written to are read up to their last whole line.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vision_recs.errors import read_error, write_error
from vision_recs.feedback import day_files
from vision_recs.feedback.answers import is_answer
from vision_recs.feedback.attribution import Attributed, Given, attribute, bots
from vision_recs.feedback.current import ANSWERS, COUNTS, EVENTS, Days, Draft, locked
from vision_recs.feedback.day_files import date_of, events_of
from vision_recs.feedback.event_log import EventFolder, abandoned, read_log
from vision_recs.feedback.merging import is_imported, merge_imported
from vision_recs.feedback.records import WAITING_DAYS, Answer, Event
from vision_recs.store.atomic_files import fsync_path

_BACK, _AHEAD = 3, 1
"""An event changes what counts for answers of so many days before its own, or after: see `attribution`."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction found: new *answers* and *events*, *duplicates* of known ones, and *damaged* lines.

    *foreign* counts the records whose answer was not made with the secret of the folder, *waiting* the events whose
    answer is not known yet, and *expired* the days that were removed. *grown* counts the known answers of a shop's log
    of which a later import tells more, and *left_out* the items of such answers whose place another item has. *dates*
    are the days that changed.
    """

    answers: int
    events: int
    duplicates: int
    damaged: int
    foreign: int
    waiting: int
    expired: int
    grown: int
    left_out: int
    dates: tuple[str, ...]


@dataclass(slots=True)
class _Read:
    """What the logs hold beyond what was read before."""

    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    events: list[Event] = field(default_factory=list)
    upto: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    finished: list[Path] = field(default_factory=list)


def compact(root: str | Path, *, now: float | None = None, retention_days: int | None = None) -> Compacted:
    """Turn what is new in the logs of the folder *root* into days and counts.

    With *retention_days*, older days are removed; else everything is kept. Raises EventsError, StoreLocked,
    StoreDamaged and StoreUnavailable; then nothing has changed.
    """
    folder = EventFolder(Path(root))
    with locked(folder):
        try:
            return _compact(folder, time.time() if now is None else now, retention_days)
        except OSError as error:
            raise write_error(folder.root, error) from error


def _compact(folder: EventFolder, now: float, retention_days: int | None) -> Compacted:
    draft = Draft(folder)
    oldest = "" if retention_days is None else date_of(max(0.0, now - retention_days * 86_400))
    found = _read_logs(folder, draft.before.logs)
    _gather_imported(draft, found)
    by_home, waiting = _homes(draft, found, now)
    _put_answers(draft, found)
    _put_events(draft, by_home, found.counts)
    changed = {*found.answers, *by_home}
    expired = [date for date in draft.days if date < oldest]
    for date in expired:
        del draft.days[date]
    recount(draft, changed)
    entry = draft.write("days/waiting", day_files.events_table(waiting)) if waiting else None
    draft.publish(entry, found.upto, damaged=draft.before.damaged + found.counts["damaged"])
    for path in found.finished:
        _remove(path, found.upto[path.name])
    fsync_path(folder.open)
    return Compacted(
        answers=found.counts["answers"],
        events=found.counts["events"],
        duplicates=found.counts["duplicates"],
        damaged=found.counts["damaged"],
        foreign=found.counts["foreign"],
        waiting=len(waiting),
        expired=len(expired),
        grown=found.counts["grown"],
        left_out=found.counts["left_out"],
        dates=tuple(sorted(changed - set(expired))),
    )


def _read_logs(folder: EventFolder, before: Mapping[str, int]) -> _Read:
    """Return what the logs hold beyond the bytes *before*; one after the other is open, since there may be many."""
    found, secret = _Read(), folder.read_secret()
    for path in folder.logs():
        try:
            with abandoned(path) as is_finished:
                _read_log(found, secret, path, before.get(path.name, 0), is_finished=is_finished)
        except OSError as error:
            raise read_error(path, error) from error
        if is_finished:
            found.finished.append(path)
    return found


def _read_log(found: _Read, secret: bytes, path: Path, start: int, *, is_finished: bool) -> None:
    found.upto[path.name] = start
    for line in read_log(path, start):
        if not line.is_whole and not is_finished:
            break
        found.upto[path.name] = line.end
        if line.record is None:
            found.counts["damaged"] += 1
        elif not _is_own(secret, line.record):
            found.counts["foreign"] += 1
        elif isinstance(line.record, Answer):
            found.answers[date_of(line.record.time)].append(line.record)
        else:
            found.events.append(line.record)


def _remove(path: Path, upto: int) -> None:
    """Remove the log *path*, of which all is known up to the byte *upto*, unless it is not finished any more.

    A writer that had made the file, but not locked it, may have begun to write to it since it was read.
    """
    with abandoned(path) as is_finished:
        if is_finished and path.stat().st_size <= upto:
            path.unlink()


def _is_own(secret: bytes, record: Answer | Event) -> bool:
    answer = record.id if isinstance(record, Answer) else record.answer
    return answer == "" or is_answer(secret, answer)


def _homes(draft: Draft, found: _Read, now: float) -> tuple[dict[str, list[Event]], list[Event]]:
    """Return the new events by the day to which they belong, and those that wait for their answer.

    That is the day of the answer; it is their own where they name none, where it was not found in time, and for carts
    and purchases, which may count for another answer.
    """
    events = list(found.events)
    if draft.before.waiting is not None:
        events += events_of(day_files.read_table(draft.folder.root / draft.before.waiting.path))
    day_of = {answer.id: date for date, answers in found.answers.items() for answer in answers}
    day_of |= _known_days(draft, events, day_of.keys())
    by_home: dict[str, list[Event]] = defaultdict(list)
    waiting: dict[str, Event] = {}
    for event in events:
        is_free = not event.answer or event.type in {"cart", "buy"}
        home = date_of(event.time) if is_free else day_of.get(event.answer)
        if home is None and event.time < now - WAITING_DAYS * 86_400:
            home = date_of(event.time)
        if home is not None:
            by_home[home].append(event)
        else:
            found.counts["duplicates"] += event.id in waiting
            waiting[event.id] = event
    return by_home, list(waiting.values())


def _known_days(draft: Draft, events: Iterable[Event], new: AbstractSet[str]) -> dict[str, str]:
    """Return the days of the answers that *events* name, as far as they are in a day already."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.answer and event.answer not in new:
            for date in nearby(date_of(event.time), -_BACK, _AHEAD):
                wanted[date].add(event.answer)
    found: dict[str, str] = {}
    for date, ids in wanted.items():
        if date in draft.days:
            known = day_files.read_table(draft.folder.root / draft.days[date][ANSWERS].path, ["id"])["id"]
            hits = known.filter(pc.is_in(known, value_set=pa.array(sorted(ids), pa.string())))
            found |= dict.fromkeys(hits.to_pylist(), date)
    return found


def _gather_imported(draft: Draft, found: _Read) -> None:
    """Put each imported answer to the day where a version of it is: rows of one may lie on both sides of midnight."""
    day_of: dict[str, str] = {}
    for date, answers in sorted(found.answers.items()):
        own = [answer.id for answer in answers if is_imported(answer)]
        for near in nearby(date, -1, 1) if own else ():
            if near != date and near in draft.days:
                known = day_files.read_table(draft.folder.root / draft.days[near][ANSWERS].path, ["id"])["id"]
                hits = known.filter(pc.is_in(known, value_set=pa.array(own, pa.string())))
                day_of |= dict.fromkeys(hits.to_pylist(), near)
        for name in own:
            day_of.setdefault(name, date)
    gathered: dict[str, list[Answer]] = defaultdict(list)
    for date, answers in sorted(found.answers.items()):
        for answer in answers:
            gathered[day_of.get(answer.id, date) if is_imported(answer) else date].append(answer)
    found.answers = gathered


def _put_answers(draft: Draft, found: _Read) -> None:
    for date, answers in found.answers.items():
        merged = merge_imported(draft.table(date, ANSWERS), answers)
        table, count = _joined(merged.known, day_files.answers_table(merged.answers))
        found.counts["answers"] += count - merged.grown
        found.counts["grown"] += merged.grown
        found.counts["left_out"] += merged.left_out
        found.counts["duplicates"] += len(answers) - count
        draft.put(date, ANSWERS, table)


def _put_events(draft: Draft, by_home: Mapping[str, list[Event]], counts: Counter[str]) -> None:
    for date, events in by_home.items():
        known = draft.table(date, EVENTS)
        table, count = _joined(known, day_files.events_table(events))
        counts["events"] += count
        counts["duplicates"] += len(events) - count
        draft.put(date, EVENTS, table)


def _joined(known: pa.Table, new: pa.Table) -> tuple[pa.Table, int]:
    """Return *known* with those rows of *new* whose ids it lacks, each once, and how many those are."""
    ids = new["id"].to_pylist()
    is_known = pc.is_in(new["id"], value_set=known["id"].combine_chunks()).to_pylist()
    rows = {id_: row for row, (id_, found) in reversed([*enumerate(zip(ids, is_known, strict=True))]) if not found}
    added = new.take(pa.array(sorted(rows.values()), pa.int64()))
    return day_files.sorted_by_time(pa.concat_tables([known, added]).combine_chunks()), len(added)


def recount(draft: Draft, changed: Iterable[str]) -> None:
    """Count the days *changed* and those near them anew, for whose answers their events may count."""
    affected = {near for date in changed for near in nearby(date, -_BACK, _AHEAD)}
    for date in sorted(affected & draft.days.keys()):
        answers = draft.table(date, ANSWERS)
        events = draft.table(date, EVENTS)
        attributed = list(attributed_on(draft, date, answers))
        shopper_of = dict(zip(answers["id"].to_pylist(), answers["shopper"].to_pylist(), strict=True))
        programs = bots(
            zip(answers["shopper"].to_pylist(), answers["time"].to_pylist(), strict=True),
            (shopper_of[each.answer] for each in attributed if each.event.type == "click"),
        )
        marked = pa.array(sorted(programs), pa.string())
        answers = day_files.with_bots(answers, pc.is_in(answers["shopper"], value_set=marked))
        own = pa.array([shopper_of.get(answer, "") for answer in events["answer"].to_pylist()], pa.string())
        events = day_files.with_bots(
            events, pc.or_(pc.is_in(events["shopper"], value_set=marked), pc.is_in(own, value_set=marked))
        )
        draft.put(date, ANSWERS, answers)
        draft.put(date, EVENTS, events)
        draft.put(date, COUNTS, day_files.count(answers, attributed))


def attributed_on(days: Draft | Days, date: str, answers: pa.Table) -> Iterator[Attributed]:
    """Yield the events that belong to *answers*, which are all of the day *date*."""
    near = nearby(date, -_BACK, _BACK)
    events = [each for day in near for each in events_of(days.table(day, EVENTS))]
    named = {event.answer for event in events}
    known: dict[str, Given] = {}
    for day in near:
        known |= day_files.given(answers if day == date else days.table(day, ANSWERS), named)
    own = {each for each in named if each in known and date_of(known[each].time) == date}
    yield from (each for each in attribute(known, events) if each.answer in own)


def nearby(date: str, first: int, last: int) -> list[str]:
    """Return the days from *first* to *last* days after *date*, which are below 0 for days before it."""
    day = datetime.fromisoformat(date).date()
    return [(day + timedelta(days=step)).isoformat() for step in range(first, last + 1)]

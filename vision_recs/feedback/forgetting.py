"""Forgetting a shopper: no byte of the pseudonym is left in any file, and the counts are as if nobody had been there.

In a log, the lines become spaces, also while a writer appends to it: a writer only ever adds to the end. Days are
written anew without the shopper.
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vision_recs.errors import write_error
from vision_recs.feedback import day_files
from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.compaction import recount
from vision_recs.feedback.current import ANSWERS, EVENTS, Draft, locked
from vision_recs.feedback.event_log import EventFolder, LogLine, read_log
from vision_recs.feedback.records import Answer


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many *answers* and *events* of a shopper were removed, from the logs and from the days."""

    answers: int
    events: int


def forget(root: str | Path, shopper: str) -> Forgotten:
    """Remove everything about *shopper*, by the name that the shop uses, from the folder of events *root*.

    An interrupted run leaves a part: run it again. Raises EventsError, StoreLocked, StoreDamaged and StoreUnavailable.
    """
    folder = EventFolder(Path(root))
    with locked(folder):
        name = pseudonym(folder.read_secret(), shopper)
        draft = Draft(folder)
        try:
            own = _answers_of(draft, name)
            in_logs = [_blank(path, name, own) for path in folder.logs()]
            in_days = _without(draft, name, own)
        except OSError as error:
            raise write_error(folder.root, error) from error
    return Forgotten(in_days[0] + sum(each[0] for each in in_logs), in_days[1] + sum(each[1] for each in in_logs))


def _answers_of(draft: Draft, name: str) -> set[str]:
    """Return the ids of the answers that the shopper *name* had: events name them without the shopper."""
    own: set[str] = set()
    for date in draft.days:
        table = draft.table(date, ANSWERS).select(["id", "shopper"])
        own.update(table.filter(pc.equal(table["shopper"], name))["id"].to_pylist())
    for path in draft.folder.logs():
        for line in read_log(path):
            if isinstance(line.record, Answer) and line.record.shopper == name:
                own.add(line.record.id)
    return own


def _blank(path: Path, name: str, own: AbstractSet[str]) -> tuple[int, int]:
    """Make spaces of the lines of the log *path* that hold *name* or an answer of *own*; return how many of each."""
    answers = events = 0
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for line in read_log(path):
            if name.encode() in line.data or _named(line) in own:
                os.pwrite(descriptor, b" " * len(line.data.rstrip(b"\n")), line.start)
                answers += isinstance(line.record, Answer)
                events += not isinstance(line.record, Answer)
        if answers or events:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    return answers, events


def _named(line: LogLine) -> str:
    if line.record is None:
        return ""
    return line.record.id if isinstance(line.record, Answer) else line.record.answer


def _without(draft: Draft, name: str, own: AbstractSet[str]) -> tuple[int, int]:
    """Publish the days without the shopper *name* and the answers *own*; return how many answers and events go."""
    answers = events = 0
    ids = pa.array(sorted(own), pa.string())
    changed = []
    for date in list(draft.days):
        before = draft.table(date, ANSWERS), draft.table(date, EVENTS)
        kept = (
            before[0].filter(pc.not_equal(before[0]["shopper"], name)),
            before[1].filter(_is_of_others(before[1], name, ids)),
        )
        if len(kept[0]) < len(before[0]) or len(kept[1]) < len(before[1]):
            answers += len(before[0]) - len(kept[0])
            events += len(before[1]) - len(kept[1])
            draft.put(date, ANSWERS, kept[0])
            draft.put(date, EVENTS, kept[1])
            changed.append(date)
    entry = draft.before.waiting
    if entry is not None:
        table = day_files.read_table(draft.folder.root / entry.path)
        left = table.filter(_is_of_others(table, name, ids))
        events += len(table) - len(left)
        entry = draft.write("days/waiting", left) if len(left) < len(table) else entry
    recount(draft, changed)
    for date in [date for date in changed if not draft.days[date][ANSWERS].rows + draft.days[date][EVENTS].rows]:
        del draft.days[date]  # as if there had been nobody
    draft.publish(entry, draft.before.logs, damaged=draft.before.damaged)  # servers that know the shopper read anew
    return answers, events


def _is_of_others(events: pa.Table, name: str, own: pa.Array) -> pa.ChunkedArray:
    return pc.invert(pc.or_(pc.equal(events["shopper"], name), pc.is_in(events["answer"], value_set=own)))

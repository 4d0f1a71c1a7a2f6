"""Checking every byte of a folder of events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vision_recs.errors import EventsError, StoreDamaged
from vision_recs.feedback.current import read_current
from vision_recs.feedback.event_log import EventFolder, abandoned, read_log
from vision_recs.store.atomic_files import digest_problem

_LOST = "what it held is lost, and `visrec events` goes on without it"


def verify(root: str | Path) -> Iterator[str]:
    """Yield a sentence for each file, or line of a log, in the folder of events *root* that was altered or cut off.

    Raises EventsError where it is not a folder of events.
    """
    folder = EventFolder(Path(root))
    folder.require()
    try:
        folder.read_secret()
    except (EventsError, StoreDamaged) as error:
        yield str(error)
    try:
        for entry in read_current(folder).files():
            problem = digest_problem(folder.root / entry.path, entry.digest)
            if problem is not None:
                yield f"{problem}; restore it from a backup"
    except (EventsError, StoreDamaged) as error:
        yield str(error)
    for path in folder.logs():
        with abandoned(path) as is_finished:
            for line in read_log(path):
                if line.record is None and (line.is_whole or is_finished):
                    yield f"{path}, line {line.number}: it was cut off or altered; {_LOST}"

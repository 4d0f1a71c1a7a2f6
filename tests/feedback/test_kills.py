"""A writer that is killed at any moment: every event that was acknowledged is there, once."""

import os
import random
import signal

import pyarrow.parquet as pq
import pytest
from event_writer import writing_forks

from vision_recs.feedback.compaction import compact
from vision_recs.feedback.current import read_current
from vision_recs.feedback.event_log import EventFolder, EventLog


def killed_writer(forks, folder, first, seconds):
    """Let a writer write for so many *seconds*, and return how far it was acknowledged."""
    said = folder.with_name("said")
    assert forks.run([str(folder), first, seconds, str(said)]).status == -signal.SIGALRM
    return int(said.read_text().splitlines()[-1])


def tear(folder):
    """Leave half a line at the end of the last log, as a power cut may."""
    path = max(EventFolder(folder).logs(), key=os.path.getmtime, default=None)
    if path is not None:
        path.write_bytes(path.read_bytes() + b'1234abcd {"type":"click","id":"half')


@pytest.mark.parametrize("kills", [pytest.param(3), pytest.param(1_000, marks=pytest.mark.nightly)])
def test_no_acknowledged_event_is_lost_or_counted_twice(tmp_path, kills):
    EventLog(folder := tmp_path / "events").close()
    chance, acknowledged = random.Random(kills), 0
    with writing_forks() as forks:
        for _ in range(kills):
            acknowledged = killed_writer(forks, folder, acknowledged, 0.001 + chance.random() * 0.1)
            if chance.random() < 0.3:
                tear(folder)
            if chance.random() < 0.2:
                compact(folder, now=1_780_000_000.0)
    compact(folder, now=1_780_000_000.0)
    ids = [
        each
        for parts in read_current(EventFolder(folder)).days.values()
        for each in pq.read_table(folder / parts["events"].path)["id"].to_pylist()
    ]
    assert len(ids) == len(set(ids))
    assert acknowledged > 0
    assert {f"e{number}" for number in range(acknowledged)} <= set(ids)

"""A writer that is killed at any moment: every event that was acknowledged is there, once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vision_recs.feedback.compaction import compact
from vision_recs.feedback.current import read_current
from vision_recs.feedback.event_log import EventFolder, EventLog

WRITER = Path(__file__).parents[1] / "support" / "event_writer.py"


def killed_writer(folder, first, wait_s):
    """Start a writer, kill it *wait_s* seconds after it began, and return how far it was acknowledged."""
    process = subprocess.Popen([sys.executable, WRITER, folder, str(first)], stdout=subprocess.PIPE)
    began = process.stdout.readline()
    time.sleep(wait_s)  # any moment is a good one
    process.send_signal(signal.SIGKILL)
    said = began + process.stdout.read()
    process.stdout.close()
    process.wait()
    return int(said.rsplit(b"\n", 2)[-2])  # what follows the last end of line is half a number


def tear(folder):
    """Leave half a line at the end of the last log, as a power cut may."""
    path = max(EventFolder(folder).logs(), key=os.path.getmtime, default=None)
    if path is not None:
        path.write_bytes(path.read_bytes() + b'1234abcd {"type":"click","id":"half')


@pytest.mark.parametrize("kills", [pytest.param(3), pytest.param(1_000, marks=pytest.mark.nightly)])
def test_no_acknowledged_event_is_lost_or_counted_twice(tmp_path, kills):
    EventLog(tmp_path).close()
    chance, acknowledged = random.Random(kills), 0
    for _ in range(kills):
        acknowledged = killed_writer(tmp_path, acknowledged, chance.random() * 0.1)
        if chance.random() < 0.3:
            tear(tmp_path)
        if chance.random() < 0.2:
            compact(tmp_path, now=1_780_000_000.0)
    compact(tmp_path, now=1_780_000_000.0)
    ids = [
        each
        for parts in read_current(EventFolder(tmp_path)).days.values()
        for each in pq.read_table(tmp_path / parts["events"].path)["id"].to_pylist()
    ]
    assert len(ids) == len(set(ids))
    assert acknowledged > 0
    assert {f"e{number}" for number in range(acknowledged)} <= set(ids)

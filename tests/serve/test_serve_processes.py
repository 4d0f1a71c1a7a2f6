"""Which log records about workers that stop are right, and what they say of one that ended."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from types import SimpleNamespace

import pytest

from vision_recs.serve.workers import is_right


@pytest.fixture(scope="module")
def workers():
    """One process that ended, and one that runs."""
    context = multiprocessing.get_context("spawn")
    ended, running = context.Process(target=int), context.Process(target=time.sleep, args=(600,))
    ended.start()
    running.start()
    ended.join()
    yield ended, running
    running.kill()
    running.join()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Killing worker-1 after it refused to gracefully stop", False),
        ("Killing worker-2 after it refused to gracefully stop", True),
        ("Worker crash loop detected, exiting", True),
    ],
)
def test_only_a_worker_that_runs_can_refuse_to_stop(workers, message, expected):
    record = logging.LogRecord("_granian", logging.WARNING, __file__, 1, message, (), None)
    assert is_right(record, workers) is expected


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            -signal.SIGBUS,
            " by SIGBUS (a file of the store was cut while it was read, or the disk fails; run `visrec verify`)",
        ),
        (-signal.SIGKILL, " by SIGKILL (by hand, or by the system for want of memory)"),
        (-signal.SIGSEGV, " by SIGSEGV"),
        (3, " with status 3"),
        (None, ""),
    ],
)
def test_the_log_says_how_a_worker_ended(status, words):
    record = logging.LogRecord("_granian", logging.ERROR, __file__, 1, "Unexpected exit from worker-2", (), None)
    assert is_right(record, [SimpleNamespace(exitcode=0), SimpleNamespace(exitcode=status)])
    assert record.getMessage() == f"worker-2 ended{words}; another one takes its place"

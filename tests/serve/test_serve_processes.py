"""Which log records about workers that stop are right."""

from __future__ import annotations

import logging
import multiprocessing
import time

import pytest

from vision_recs.serve.server import is_accurate


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
    assert is_accurate(record, workers) is expected

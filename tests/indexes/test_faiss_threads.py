"""The threads of FAISS sleep while they wait, and nobody else's do."""

import os
import subprocess
import sys
import threading

import faiss
import pytest

from vision_recs.indexes.rescoring import on_all_cores

ASK = """
import os
from vision_recs.indexes import flat
import faiss
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_somebody_decided_otherwise(given, policy):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    environment["OMP_DISPLAY_ENV"] = "TRUE"  # OpenMP prints what it goes by
    ran = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{policy}'" in ran.stderr
    assert ran.stdout.strip() == str(given)  # programs that this one starts see what was there before


@pytest.mark.parametrize(("starts", "own"), [([], 0), ([7], 1), ([7, 8, 9], 0)])
def test_a_search_is_done_by_the_thread_that_asks_and_several_by_others(monkeypatch, starts, own):
    monkeypatch.setattr("vision_recs.threads.available_threads", lambda: 2)
    asked, before = [], faiss.omp_get_max_threads()

    def search(start):
        asked.append((threading.get_ident(), faiss.omp_get_max_threads()))
        return [start, -start]

    assert on_all_cores(search, starts) == [each for start in starts for each in (start, -start)]
    assert [thread == threading.get_ident() for thread, _ in asked].count(True) == own
    assert {most for _, most in asked} <= {1}
    assert faiss.omp_get_max_threads() == before

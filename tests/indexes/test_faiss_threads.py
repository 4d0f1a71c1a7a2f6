"""A block of queries is searched by one thread, and several blocks by several."""

import threading

import faiss
import pytest

from vision_recs.indexes.rescoring import on_all_cores


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

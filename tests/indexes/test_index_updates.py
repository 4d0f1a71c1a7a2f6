"""Random additions, deletions, filters and merges, against comparing with every vector.

An index is updated at once, or lags behind for some generations and is updated then.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from vector_sources import Vectors

from vision_recs.indexes import ExactIndex, IndexConfig, build_or_update, hnsw, open_index
from vision_recs.store import IndexPending
from vision_recs.types import SearchRequest

DIM, MOST = 6, 400
EVERY = np.random.default_rng(0).standard_normal((MOST, DIM))


class ChangingIndex(RuleBasedStateMachine):
    """An index that follows a catalog from generation to generation; of so few vectors it finds all."""

    config = IndexConfig("flat")

    @initialize(count=st.integers(1, 60))
    def begin(self, count):
        self.root = Path(tempfile.mkdtemp())
        self.folder, self.number = None, 0
        self.alive, self.following = set(range(count)), count
        self.publish(lags=False)

    def publish(self, *, lags):
        self.source = Vectors(EVERY, self.alive)
        self.number += 1
        self.source.generation = self.number
        if not lags:
            target = self.root / str(self.number)
            target.mkdir()
            self.name, _ = build_or_update(self.config, self.source, target, previous=self.folder)
            self.folder, self.indexed, self.made_from = target, frozenset(self.alive), self.number
        changes = sorted(self.alive - self.indexed), sorted(self.indexed - self.alive)
        pending = IndexPending(*(tuple((place, place + 1) for place in each) for each in changes))
        self.index = open_index(self.name, self.source, self.folder, made_from=self.made_from, pending=pending)

    @rule(count=st.integers(1, 40), lags=st.booleans())
    def add(self, count, lags):
        self.alive |= set(range(self.following, min(self.following + count, MOST)))
        self.following = min(self.following + count, MOST)
        self.publish(lags=lags)

    @rule(data=st.data(), share=st.sampled_from([0.02, 0.3, 1.0]), lags=st.booleans())
    def delete(self, data, share, lags):
        count = round(share * len(self.alive))
        self.alive -= set(data.draw(st.permutations(sorted(self.alive)))[:count])
        self.publish(lags=lags)

    @rule(data=st.data(), lags=st.booleans())
    def bring_back(self, data, lags):
        gone = sorted(set(range(self.following)) - self.alive)
        self.alive |= set(data.draw(st.permutations(gone))[: data.draw(st.integers(0, 9))])
        self.publish(lags=lags)

    @rule(seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]), k=st.integers(1, 30))
    def search_with_a_filter(self, seed, share, k):
        random = np.random.default_rng(seed)
        chosen = [position for position in sorted(self.alive) if random.random() < share]
        request = SearchRequest(Vectors(random.standard_normal((3, DIM))).every, k, self.source.choose(chosen))
        assert self.index.search(request) == ExactIndex(self.source).search(request)

    @invariant()
    def answers_are_those_of_exact_search(self):
        for k in (1, 7):
            request = SearchRequest(Vectors(EVERY[:5] + 0.3).every, k)
            assert self.index.search(request) == ExactIndex(self.source).search(request)

    def teardown(self):
        shutil.rmtree(self.root)


@pytest.mark.parametrize("name", ["flat", "ivf-pq", "hnsw", "faiss:SQ8"])
def test_an_index_follows_its_catalog(name, monkeypatch):
    monkeypatch.setattr(hnsw, "_LARGEST_DELTA", 0.8)  # of so few vectors a tenth would be next to none
    machine = type("Machine", (ChangingIndex,), {"config": IndexConfig(name)})
    case = machine.TestCase
    case.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)
    case().runTest()


@pytest.mark.parametrize("name", ["flat", "auto"])
def test_a_flat_index_is_measured_when_it_is_built_and_not_with_each_update(name, tmp_path, monkeypatch):
    folders = [tmp_path / "before", tmp_path / "after"]
    for folder in folders:
        folder.mkdir()
    _, before = build_or_update(IndexConfig(name), Vectors(EVERY), folders[0])
    monkeypatch.setattr("vision_recs.indexes.autotune.measure", lambda *_: pytest.fail("it was measured again"))
    source = Vectors(EVERY, range(0, MOST, 2))
    made, after = build_or_update(IndexConfig(name), source, folders[1], previous=folders[0])
    assert (made, after.recall_at_10, after.target_recall_met) == ("flat", 1.0, True)
    assert after.queries_per_second == pytest.approx(2 * before.queries_per_second, rel=0.01)
    request = SearchRequest(Vectors(EVERY[:5] + 0.3).every, 7)
    assert open_index("flat", source, folders[1]).search(request) == ExactIndex(source).search(request)


def test_an_index_that_was_chosen_is_chosen_again_where_the_vectors_become_too_many(tmp_path, monkeypatch):
    folders = [tmp_path / "before", tmp_path / "after"]
    for folder in folders:
        folder.mkdir()
    build_or_update(IndexConfig(), Vectors(EVERY, range(MOST // 2)), folders[0])
    monkeypatch.setattr("vision_recs.indexes.autoselect._FLAT_NUMBERS", MOST * DIM - 1)
    made, _ = build_or_update(IndexConfig(), Vectors(EVERY), folders[1], previous=folders[0])
    assert made != "flat"

"""An index that lags behind: what it is given as its source, and searches that its contract does not ask for."""

import gc
import weakref

import numpy as np
import pytest
from vector_sources import Vectors, clustered

from vision_recs.indexes import ExactIndex, IndexConfig, build_or_update, lagging, open_index
from vision_recs.store import IndexPending
from vision_recs.types import SearchRequest

EVERY = Vectors(clustered(700, 24)).every
NEW = range(600, 700)


def opened(source, before, pending, folder, index_type="flat"):
    folder.mkdir()
    name, _ = build_or_update(IndexConfig(index_type), before, folder)
    return open_index(name, source, folder, made_from=before.generation, pending=pending)


@pytest.fixture
def now():
    source = Vectors(EVERY, [*range(10, 600), *NEW], is_normalized=True)
    source.generation = 5
    return source


@pytest.fixture
def before():
    return Vectors(EVERY, range(600), is_normalized=True)


PENDING = IndexPending(((600, 700),), ((0, 10),))


def test_more_queries_than_are_compared_at_once_are_answered_each(now, before, tmp_path, monkeypatch):
    monkeypatch.setattr(lagging, "_QUERIES_AT_ONCE", 3)
    request = SearchRequest(EVERY[580:620], 4)
    assert opened(now, before, PENDING, tmp_path / "flat").search(request) == ExactIndex(now).search(request)


class Even:
    """A filter that leaves every second position."""

    def positions(self):
        return np.arange(0, 700, 2)

    def count(self):
        return 350

    def mask(self):
        return np.arange(700) % 2 == 0


@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf-pq"])
@pytest.mark.parametrize("within", [None, Even()], ids=["all", "even"])
def test_the_nearest_positions_are_those_of_what_is_there_now(now, before, tmp_path, index_type, within):
    found = opened(now, before, PENDING, tmp_path / "index", index_type).nearest(EVERY[580:620], 6, within)
    alive = [place for place in [*range(10, 600), *NEW] if within is None or place % 2 == 0]
    for query, (positions, scores) in zip(EVERY[580:620], found, strict=True):
        best = sorted(((-score, place) for place, score in zip(alive, EVERY[alive] @ query, strict=True)))[:6]
        assert sorted(positions[np.argsort(-scores)][:6].tolist()) == sorted(place for _, place in best)


@pytest.mark.parametrize("index_type", ["hnsw", "ivf-pq"])
def test_what_is_near_is_of_what_is_there_now(now, before, tmp_path, index_type):
    index = opened(now, before, PENDING, tmp_path / "index", index_type)
    query = EVERY[4:5]  # which is gone itself
    order = np.argsort(-(EVERY[10:600] @ query[0])) + 10
    (found,) = index.near(query, 6)
    assert set(order[:6]) <= set(found.positions) <= set(range(10, 700))
    assert set(NEW) <= set(found.positions)
    assert found.lasts.tolist() == order[5:6].tolist()
    (every,) = index.near(query, 591)
    assert sorted(every.positions) == list(range(10, 700))
    assert not len(every.lasts)


@pytest.mark.parametrize("index_type", ["flat", "hnsw"])
def test_one_that_is_replaced_is_gone_without_the_garbage_collector(now, before, tmp_path, index_type):
    gc.disable()
    try:
        index = opened(now, before, PENDING, tmp_path / "index", index_type)
        index.nearest(EVERY[4:5], 6)
        gone = weakref.ref(index)
        del index
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf-pq"])
def test_where_the_whole_neighborhood_of_a_query_is_gone_others_are_found(tmp_path, index_type):
    before = Vectors(EVERY, range(600), is_normalized=True)
    query = EVERY[3:4]
    gone = np.sort(np.argsort(-(EVERY[:600] @ query[0]))[:150])
    now = Vectors(EVERY, np.setdiff1d(np.arange(600), gone), is_normalized=True)
    now.generation = 2
    pending = IndexPending((), tuple((place, place + 1) for place in gone.tolist()))
    request = SearchRequest(query, 5)
    assert opened(now, before, pending, tmp_path / "index", index_type).search(request) == ExactIndex(now).search(
        request
    )


@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf-pq", "faiss:Flat"])
@pytest.mark.parametrize("lagged", [False, True])
def test_an_index_of_another_generation_may_use_the_files_that_are_open(tmp_path, index_type, lagged):
    before = Vectors(EVERY, range(600), is_normalized=True)
    lagging = Vectors(EVERY, [*range(5, 600), *range(600, 650)], is_normalized=True)
    lagging.generation = 4
    name, _ = build_or_update(IndexConfig(index_type), before, tmp_path)
    made_from = before.generation
    pending = IndexPending(((600, 650),), ((0, 5),)) if lagged else IndexPending()
    old = open_index(name, lagging if lagged else before, tmp_path, made_from=made_from, pending=pending)
    request = SearchRequest(EVERY[580:620], 4)
    expected = old.search(request)
    now = Vectors(EVERY, [*range(10, 600), *NEW], is_normalized=True)
    now.generation = 5
    new = open_index(name, now, tmp_path, made_from=made_from, pending=PENDING, previous=old)
    assert new.source == (now.fingerprint, 5)
    assert new.search(request) == ExactIndex(now).search(request)
    assert old.search(request) == expected
    same = open_index(name, before, tmp_path, made_from=made_from, pending=IndexPending(), previous=new)
    assert same.search(request) == ExactIndex(before).search(request)
    if index_type != "flat":  # whose files are opened without being read
        assert new._index.approximate.candidates is same.approximate.candidates


def test_the_source_of_the_index_is_as_the_index_is(now, before):
    given = []

    class Index:
        def search(self, request):
            return [[] for _ in request.vectors]

    def open_it(source):
        given.append(source)
        return Index()

    index = lagging.lagging_index(open_it, now, PENDING, made_from=1)
    assert index.source == (now.fingerprint, 5)
    (source,) = given
    assert (source.fingerprint, source.generation, source.dim) == (now.fingerprint, 1, 24)
    assert source.positions().tolist() == before.positions().tolist()
    vectors = source.vectors(np.array([3, 12]))
    assert not vectors[0].any()  # it may be in no shard any more
    assert vectors[1].tolist() == EVERY[12].tolist()
    rows = source.rows([12, 3], limit=1)
    assert list(rows) == [12, 3]
    assert [row.id for row in rows[12]] == ["item000012"]
    assert [row.image for row in rows[3]] == [""]


def test_vectors_that_wait_are_read_once_and_only_when_a_query_comes(now, before, tmp_path):
    index = opened(now, before, PENDING, tmp_path / "flat")
    assert now.read == []
    for _ in range(3):
        index.search(SearchRequest(EVERY[:1], 4))
    assert now.read == [100]

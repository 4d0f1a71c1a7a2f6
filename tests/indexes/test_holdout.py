"""The queries that an index is measured with follow its catalog without reading it again; recall, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from vector_sources import Vectors, clustered

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.exact import recall_at
from vision_recs.indexes.holdout import HoldoutQueries, fresh_queries, sample_queries
from vision_recs.vectors import normalize_or_raise

DIM = 4


source_of = Vectors


@settings(max_examples=examples_of(40), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(120, 400), st.floats(0, 0.3), st.floats(0, 0.3))
def test_kept_answers_are_those_of_exact_search(seed, count, gone, come):
    random = np.random.default_rng(seed)
    vectors = normalize_or_raise(random.standard_normal((count, DIM)))
    is_fresh, is_dead = random.random(count) < come, random.random(count) < gone
    before = np.flatnonzero(~is_fresh)
    after = np.flatnonzero(~is_dead)
    kept = sample_queries(source_of(vectors, before), 8, seed=1)
    changed = kept.updated(source_of(vectors, after), np.setdiff1d(after, before), np.setdiff1d(before, after))
    for query, excluded, *known in zip(
        kept.vectors, kept.excluded, *((changed.scores, changed.positions) if changed else ()), strict=False
    ):
        exact = np.sort([vectors[one] @ query for one in after if one != excluded])[::-1]
        if known:
            scores = known[0][known[0] > -2]
            assert len(scores) >= min(100, len(exact))
            np.testing.assert_allclose(scores, exact[: len(scores)], atol=1e-6)
            np.testing.assert_allclose(vectors[known[1][: len(scores)]] @ query, scores, atol=1e-6)


def test_too_many_deletions_need_new_queries():
    vectors = normalize_or_raise(np.random.default_rng(0).standard_normal((400, DIM)))
    kept = sample_queries(source_of(vectors, range(400)), 4, seed=1)
    nearest = np.sort(kept.positions[0][:60])
    alive = np.setdiff1d(np.arange(400), nearest)
    assert kept.updated(source_of(vectors, alive), np.empty(0, np.int64), nearest) is None
    few = nearest[:3]
    assert kept.updated(source_of(vectors, np.setdiff1d(np.arange(400), few)), np.empty(0, np.int64), few) is not None


def test_queries_are_read_as_they_were_saved(tmp_path):
    vectors = normalize_or_raise(np.random.default_rng(0).standard_normal((50, DIM)))
    holdout = sample_queries(source_of(vectors, range(50)), 6, seed=3)
    holdout.save(tmp_path)
    again = HoldoutQueries.load(tmp_path)
    for name in ("vectors", "excluded", "scores", "positions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(holdout, name))


@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 but no archive"])
def test_queries_that_are_gone_or_damaged_are_said_to_be(tmp_path, data):
    if data is not None:
        (tmp_path / "holdout.npz").write_bytes(data)
    with pytest.raises(StoreDamaged, match=r"holdout\.npz cannot be read"):
        HoldoutQueries.load(tmp_path)


def test_recall_is_the_share_of_the_exact_answers_that_are_found():
    assert recall_at(3, [[0.9, 0.5, 0.4], [0.8, 0.7, 0.6]], [[0.9, 0.8, 0.7, 0.6], [0.8, 0.7, 0.6]]) == 4 / 6
    assert recall_at(1, [[0.9], [0.3]], [[0.9, 0.8], [0.8, 0.3]]) == 1 / 2


def test_whichever_of_two_equal_answers_is_found_it_counts():
    assert recall_at(2, [[0.9, 0.5 - 1e-7]], [[0.9, 0.5, 0.5]]) == 1.0
    assert recall_at(2, [[0.9, 0.5 - 1e-5]], [[0.9, 0.5, 0.5]]) == 1 / 2


def test_more_answers_than_there_are_exact_ones_count_once():
    assert recall_at(10, [[0.5, 0.5, 0.5], []], [[0.5, 0.5], []]) == 1.0
    assert recall_at(10, [], []) == 1.0


def test_the_vector_that_a_query_was_taken_from_does_not_count():
    holdout = HoldoutQueries(
        np.eye(2, dtype=np.float32), np.array([7, -1]), np.float32([[0.5, -2], [0.9, 0.8]]), np.array([[3, 0], [4, 5]])
    )
    answers = [(np.array([7, 3]), np.float32([1.0, 0.5])), (np.array([4, 9]), np.float32([0.9, 0.1]))]
    assert holdout.recall(answers, 2) == 2 / 3


def test_what_is_sure_lies_below_the_mean_as_far_as_few_queries_leave_open():
    found = np.float32([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8], [0.9, 0.1]])
    exact = np.float32([[0.9, 0.8]] * 4)
    nothing = np.full(4, -1)
    holdout = HoldoutQueries(np.eye(4, dtype=np.float32), nothing, exact, np.tile([1, 2], (4, 1)))
    answers = [(np.array([1, 2]), own) for own in found]
    assert holdout.recall(answers, 2) == 7 / 8
    assert holdout.sure_recall(answers, 2) == pytest.approx(7 / 8 - 1.645 * 0.25 / 2)
    assert holdout.sure_recall([(np.array([1, 2]), own) for own in exact], 2) == 1.0


def test_fresh_queries_lie_as_far_from_the_vectors_as_these_from_each_other():
    source = source_of(clustered(600, 24), range(600))
    every = source.vectors(source.positions())
    fresh = fresh_queries(source, 200, seed=1)
    np.testing.assert_allclose(np.linalg.norm(fresh, axis=1), 1, atol=1e-5)
    between = np.sort(every @ every.T, axis=1)[:, -2]  # the last one is the vector itself
    nearest = (fresh @ every.T).max(axis=1)
    assert nearest.max() < 1 - 1e-4
    assert abs(np.median(1 - nearest) / np.median(1 - between) - 1) < 0.5


def test_a_single_vector_is_its_own_query():
    np.testing.assert_allclose(fresh_queries(source_of(np.eye(1, 4, dtype=np.float32), [0]), 5, seed=0), np.eye(1, 4))

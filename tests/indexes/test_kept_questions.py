"""The questions that an index is measured with follow its catalog without reading it again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_sources import Vectors

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.holdout import Questions, draw
from vision_recs.vectors import normalize_or_raise

DIM = 4


source_of = Vectors


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(120, 400), st.floats(0, 0.3), st.floats(0, 0.3))
def test_kept_answers_are_those_of_asking_anew(seed, count, gone, come):
    random = np.random.default_rng(seed)
    vectors = normalize_or_raise(random.standard_normal((count, DIM)))
    is_fresh, is_dead = random.random(count) < come, random.random(count) < gone
    before = np.flatnonzero(~is_fresh)
    after = np.flatnonzero(~is_dead)
    kept = draw(source_of(vectors, before), 8, seed=1)
    changed = kept.after(source_of(vectors, after), np.setdiff1d(after, before), np.setdiff1d(before, after))
    for query, left_out, *known in zip(
        kept.vectors, kept.left_out, *((changed.scores, changed.positions) if changed else ()), strict=False
    ):
        exact = np.sort([vectors[one] @ query for one in after if one != left_out])[::-1]
        if known:
            scores = known[0][known[0] > -2]
            assert len(scores) >= min(100, len(exact))
            np.testing.assert_allclose(scores, exact[: len(scores)], atol=1e-6)
            np.testing.assert_allclose(vectors[known[1][: len(scores)]] @ query, scores, atol=1e-6)


def test_too_many_deletions_ask_for_new_questions():
    vectors = normalize_or_raise(np.random.default_rng(0).standard_normal((400, DIM)))
    kept = draw(source_of(vectors, range(400)), 4, seed=1)
    nearest = np.sort(kept.positions[0][:60])
    alive = np.setdiff1d(np.arange(400), nearest)
    assert kept.after(source_of(vectors, alive), np.empty(0, np.int64), nearest) is None
    few = nearest[:3]
    assert kept.after(source_of(vectors, np.setdiff1d(np.arange(400), few)), np.empty(0, np.int64), few) is not None


def test_questions_are_read_as_they_were_saved(tmp_path):
    vectors = normalize_or_raise(np.random.default_rng(0).standard_normal((50, DIM)))
    questions = draw(source_of(vectors, range(50)), 6, seed=3)
    questions.save(tmp_path)
    again = Questions.load(tmp_path)
    for name in ("vectors", "left_out", "scores", "positions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(questions, name))


@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 but no archive"])
def test_questions_that_are_gone_or_damaged_are_said_to_be(tmp_path, data):
    if data is not None:
        (tmp_path / "questions.npz").write_bytes(data)
    with pytest.raises(StoreDamaged, match=r"questions\.npz cannot be read"):
        Questions.load(tmp_path)

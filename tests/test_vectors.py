"""Scores in steps of 2^-24, and principal axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_recs.vectors import normalize_or_raise, principal_axes, quantize, score_of_steps, steps_below_one

STEPS = st.lists(st.integers(-(1 << 24), 1 << 24))


@given(STEPS)
def test_steps_below_1_sort_the_best_score_first_and_are_read_as_they_were(drawn):
    scores = (np.array(drawn, np.float64) / 2**24).astype(np.float32)
    steps = steps_below_one(scores)
    assert steps.tolist() == [(1 << 24) - step for step in drawn]
    assert score_of_steps(steps).tolist() == scores.tolist()


def test_scores_are_rounded_to_steps_and_clipped():
    step = 2.0**-24
    scores = np.array([1 + 1e-9, -1 - 1e-9, 0.5 + 0.4 * step, 0.5 + 0.6 * step, -1e-12])
    assert quantize(scores).tolist() == [1.0, -1.0, 0.5, 0.5 + step, 0.0]
    assert str(quantize(np.array([-1e-12]))[0]) == "0.0"


@pytest.mark.parametrize(("count", "dim"), [(200, 12), (7, 12), (2, 3)])
def test_principal_axes_are_those_of_a_singular_value_decomposition(count, dim):
    random = np.random.default_rng(0)
    vectors = normalize_or_raise(random.standard_normal((count, dim)) * np.linspace(3, 0.2, dim) + 1)
    mean, axes, variances = principal_axes(vectors)
    np.testing.assert_allclose(mean, vectors.mean(axis=0), atol=1e-6)
    _, spread, expected = np.linalg.svd(vectors.astype(np.float64) - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(variances, spread**2 / count, atol=1e-6)
    found = min(count - 1, dim)  # the last axis of few vectors has no variance, and any direction
    np.testing.assert_allclose(np.abs(np.sum(axes[:, :found].T * expected[:found], axis=1)), 1, atol=1e-3)

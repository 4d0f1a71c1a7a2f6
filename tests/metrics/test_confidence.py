"""How far means can be trusted."""

import numpy as np
import pytest

from vision_recs.metrics import bounds_of_share, compare, interval, intervals

RANDOM = np.random.default_rng(11)


def test_the_bounds_are_those_of_the_normal_distribution_where_it_applies():
    values = RANDOM.normal(5, 2, 400)
    found = interval(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_equal_values_have_no_spread():
    found = interval(np.full(7, 0.1))
    assert (found.low, found.value, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_queries_of_one_cluster_count_as_one_observation():
    values = RANDOM.normal(0, 1, 50)
    alone, repeated = interval(values), interval(np.repeat(values, 8), np.repeat(np.arange(50), 8))
    assert (repeated.value, repeated.low, repeated.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_columns_are_independent():
    values = RANDOM.random((30, 3))
    for found, column in zip(intervals(values), values.T, strict=True):
        alone = interval(column)
        assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_same_values_do_not_differ():
    values = RANDOM.random(40)
    found = compare(values, values)
    assert (found.value, found.low, found.high, found.p, found.is_significant) == (0, 0, 0, 1, False)


def test_a_small_difference_of_every_query_is_significant():
    values = RANDOM.random(40)
    found = compare(values, values + RANDOM.uniform(0.01, 0.03, 40))
    assert found.is_significant
    assert 0.01 < found.low < found.value < found.high < 0.03
    assert found.p < 0.001


def test_noise_is_not_significant():
    one = RANDOM.random(200)
    found = compare(one, one + RANDOM.normal(0, 0.3, 200))
    assert not found.is_significant
    assert found.p > 0.05


def test_p_is_the_share_of_signs_that_give_as_much():
    found = compare(np.zeros(5), np.array([1.0, 2, 3, 4, 5]))  # of 2^5 signs only two reach 15 or -15
    assert found.p == pytest.approx(2 / 32, abs=0.02)


def test_many_queries_are_drawn_in_portions(monkeypatch):
    values = RANDOM.random(100)
    whole = interval(values)
    monkeypatch.setattr("vision_recs.metrics.confidence._AT_ONCE", 1_000)
    parts = interval(values)
    assert (parts.value, parts.low, parts.high) == pytest.approx((whole.value, whole.low, whole.high))


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (1, 2, 0.0945, 0.9055), (50, 1000, 0.0381, 0.0653)]
)
def test_bounds_of_a_share_are_those_of_wilson(count, of, low, high):
    assert bounds_of_share(count, of) == pytest.approx((low, high), abs=1e-4)

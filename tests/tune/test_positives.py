"""Which items are similar, which partner is drawn, and the folds of the items."""

from collections import Counter

import numpy as np
import pytest

from vision_recs.tune.cross_fitting import assign_folds
from vision_recs.tune.positives import LabelPositives, PairPositives

ALL = np.ones(6, np.bool_)


def drawn(positives, item, among, times=600):
    random = np.random.default_rng(0)
    return Counter(positives.partners(np.full(times, item), among, random).tolist())


def test_partners_are_the_other_items_of_the_label_each_as_likely():
    positives = LabelPositives(["a", "b", "a", None, "a", "b"])
    assert set(drawn(positives, 0, ALL)) == {2, 4}
    assert drawn(positives, 2, ALL)[0] == pytest.approx(300, abs=60)
    assert drawn(positives, 3, ALL) == {3: 600}
    assert positives.has_partner(ALL).tolist() == [True, True, True, False, True, True]


def test_partners_are_drawn_only_among_the_training_items():
    positives = LabelPositives(["a", "b", "a", None, "a", "b"])
    some = np.array([True, True, False, True, True, False])
    assert drawn(positives, 0, some) == {4: 600}
    assert drawn(positives, 1, some) == {1: 600}
    assert drawn(positives, 2, some).keys() == {0, 4}
    assert (positives.has_partner(some) & some).tolist() == [True, False, False, False, True, False]


def test_items_of_a_label_are_similar_and_true_is_not_one():
    weights = LabelPositives([1, True, 1, None, None]).weights(np.arange(5), np.arange(5))
    assert weights.tolist() == [
        [1, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_pairs_are_similar_both_ways_by_weight():
    positives = PairPositives([(0, 1, 4), (1, 0, 2), (2, 0, 1), (3, 3, 9), (4, 5, 2)], 6)
    assert positives.weights(np.array([0, 3]), np.array([0, 1, 2, 3])).tolist() == [[1, 1, 0.25, 0], [0, 0, 0, 1]]
    found = drawn(positives, 0, ALL)
    assert found.keys() == {1, 2}
    assert found[1] == pytest.approx(480, abs=50)
    assert drawn(positives, 3, ALL) == {3: 600}
    assert drawn(positives, 0, np.array([True, False, True, True, True, True])) == {2: 600}
    assert positives.blocks().tolist() == [0, 0, 0, 3, 4, 4]
    assert positives.has_partner(ALL).tolist() == [True, True, True, False, True, True]


def test_a_pair_of_an_item_with_itself_is_none():
    positives = PairPositives.of_ids([("a", "a", 9.0), ("b", "c", 1.0)], ["a", "b", "c"])
    assert positives.has_partner(np.ones(3, np.bool_)).tolist() == [False, True, True]
    assert positives.weights(np.arange(3), np.arange(3)).tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]


def test_without_pairs_no_items_are_similar():
    positives = PairPositives([], 3)
    assert drawn(positives, 1, np.ones(3, np.bool_)) == {1: 600}
    assert positives.blocks().tolist() == [0, 1, 2]


def test_components_of_long_chains_are_one():
    assert set(PairPositives([(n, n + 1, 1) for n in range(99)], 100).blocks().tolist()) == {0}


def test_small_groups_stay_in_one_fold_and_large_ones_are_spread():
    labels = [f"small{number // 3}" for number in range(30)] + ["large"] * 50
    folds = assign_folds(LabelPositives(labels), 80)
    for start in range(0, 30, 3):
        assert len(set(folds[start : start + 3].tolist())) == 1
    assert np.bincount(folds[30:]).tolist() == [10] * 5
    assert np.bincount(folds).tolist() == pytest.approx([16] * 5, abs=2)


def test_a_group_of_20_stays_whole_and_one_of_21_is_spread():
    folds = assign_folds(LabelPositives(["a"] * 20 + ["b"] * 21), 41)
    assert len(set(folds[:20].tolist())) == 1
    assert len(set(folds[20:].tolist())) == 5

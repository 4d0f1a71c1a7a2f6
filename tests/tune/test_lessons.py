"""What belongs together, and who is drawn as a partner."""

from collections import Counter

import numpy as np
import pytest

from vision_recs.tune.positives import Groups, Links
from vision_recs.tune.trial import deal

ALL = np.ones(6, np.bool_)


def drawn(lesson, item, among, times=600):
    random = np.random.default_rng(0)
    return Counter(lesson.partners(np.full(times, item), among, random).tolist())


def test_partners_in_a_group_are_its_other_items_each_as_likely():
    lesson = Groups(["a", "b", "a", None, "a", "b"])
    assert set(drawn(lesson, 0, ALL)) == {2, 4}
    assert drawn(lesson, 2, ALL)[0] == pytest.approx(300, abs=60)
    assert drawn(lesson, 3, ALL) == {3: 600}
    assert lesson.has_partner(ALL).tolist() == [True, True, True, False, True, True]


def test_partners_are_drawn_only_among_those_that_may_be_learnt_from():
    lesson = Groups(["a", "b", "a", None, "a", "b"])
    some = np.array([True, True, False, True, True, False])
    assert drawn(lesson, 0, some) == {4: 600}
    assert drawn(lesson, 1, some) == {1: 600}
    assert drawn(lesson, 2, some).keys() == {0, 4}
    assert (lesson.has_partner(some) & some).tolist() == [True, False, False, False, True, False]


def test_items_of_a_label_belong_together_and_true_is_not_one():
    weights = Groups([1, True, 1, None, None]).weights(np.arange(5), np.arange(5))
    assert weights.tolist() == [
        [1, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_pairs_join_both_ways_by_weight():
    lesson = Links([(0, 1, 4), (1, 0, 2), (2, 0, 1), (3, 3, 9), (4, 5, 2)], 6)
    assert lesson.weights(np.array([0, 3]), np.array([0, 1, 2, 3])).tolist() == [[1, 1, 0.25, 0], [0, 0, 0, 1]]
    found = drawn(lesson, 0, ALL)
    assert found.keys() == {1, 2}
    assert found[1] == pytest.approx(480, abs=50)
    assert drawn(lesson, 3, ALL) == {3: 600}
    assert drawn(lesson, 0, np.array([True, False, True, True, True, True])) == {2: 600}
    assert lesson.blocks().tolist() == [0, 0, 0, 3, 4, 4]
    assert lesson.has_partner(ALL).tolist() == [True, True, True, False, True, True]


def test_no_pairs_join_nobody():
    lesson = Links([], 3)
    assert drawn(lesson, 1, np.ones(3, np.bool_)) == {1: 600}
    assert lesson.blocks().tolist() == [0, 1, 2]


def test_components_of_long_chains_are_one():
    assert set(Links([(n, n + 1, 1) for n in range(99)], 100).blocks().tolist()) == {0}


def test_small_groups_are_dealt_whole_and_large_ones_evenly():
    labels = [f"small{number // 3}" for number in range(30)] + ["large"] * 50
    folds = deal(Groups(labels), 80)
    for start in range(0, 30, 3):
        assert len(set(folds[start : start + 3].tolist())) == 1
    assert np.bincount(folds[30:]).tolist() == [10] * 5
    assert np.bincount(folds).tolist() == pytest.approx([16] * 5, abs=2)

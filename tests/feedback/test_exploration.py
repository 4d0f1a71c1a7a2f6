"""Exploring: one open place shows one other item, never a pinned place, and as likely as the formula says."""

import numpy as np
import pytest
from slates import Option, slate_of

from vision_recs.errors import PolicyError
from vision_recs.feedback.answers import AnswerKey, draw
from vision_recs.feedback.exploration import Exploration, Explored, Slate, with_pins

DRAWS = 300_000


def slate_with(k, pool, *, pins=None, explore=(0.3, None), uneven=False):
    pins = pins or {}
    count = max(0, min(k - len(pins), pool))
    options = [Option(f"i{row}", 1 - row / 100, 1.0 / (1 + row % 7) if uneven else 1.0) for row in range(pool)]
    return slate_of(options, count, Exploration(*explore), pins)


def pins(*places):
    return {place: f"pin{place}" for place in places}


POLICIES = [  # of k items out of a pool: with and without pins, places, uneven chances
    slate_with(10, 40),
    slate_with(1, 2),
    slate_with(1, 100, uneven=True),
    slate_with(2, 3, explore=(0.1, None)),
    slate_with(5, 6, pins=pins(1)),
    slate_with(5, 20, pins=pins(2, 3), uneven=True),
    slate_with(10, 11, explore=(0.2, None)),
    slate_with(10, 40, explore=(0.3, (2, 10))),
    slate_with(10, 40, explore=(0.3, (4, 4)), uneven=True),
    slate_with(10, 40, pins=pins(1, 5, 10), explore=(0.3, (2, 10))),
    slate_with(10, 40, pins=pins(30)),
    slate_with(10, 10),
    slate_with(10, 5),
    slate_with(1, 1),
    slate_with(20, 100, uneven=True),
    slate_with(50, 100),
    slate_with(50, 100, pins=pins(1, 2, 3, 49), explore=(0.1, (10, 40))),
    slate_with(3, 100, pins=pins(1, 2), uneven=True),
    slate_with(3, 40, pins=pins(1, 2, 3)),
    slate_with(12, 40, explore=(0.0, None)),
]


def test_a_tried_item_moves_what_is_below_down():
    slate = Slate(("a", "b", "c"), ("x", "y"), open=(0, 1, 2), share=0.3)
    assert slate.shown() == ["a", "b", "c"]
    assert slate.shown(Explored(0, 1)) == ["y", "a", "b"]
    assert slate.shown(Explored(2, 0)) == ["a", "b", "x"]


def test_what_is_tried_follows_from_three_numbers():
    slate = Slate(("a", "b"), ("x", "y", "z"), (1.0, 2.0, 1.0), open=(0, 1), share=0.4)
    assert slate.explored((0.4, 0.0, 0.0)) is None
    assert slate.explored((0.39, 0.49, 0.24)) == Explored(0, 0)
    assert slate.explored((0.0, 0.5, 0.25)) == Explored(1, 1)
    assert slate.explored((0.0, 0.99, 0.75)) == Explored(1, 2)


def test_the_formula_by_hand():
    """Two open places of three, a pin at the second place: 0.4 of the answers try one of two items."""
    slate = Slate(("a", "b"), ("x", "y"), (3.0, 1.0), {2: "p"}, (0, 1), 0.4)
    assert slate.propensities() == pytest.approx(
        np.array([[0.8, 0, 0.2], [0, 0, 0.6], [0.15, 0, 0.15], [0.05, 0, 0.05]])
    )


@pytest.mark.parametrize("slate", POLICIES)
def test_propensities_are_consistent(slate):
    """Every free place shows one item, and no item is shown twice."""
    found = slate.propensities()
    assert found[:, slate.free_places()].sum(axis=0) == pytest.approx(np.ones(len(slate.ranked)))
    assert found.sum() == pytest.approx(len(slate.ranked))
    assert found.sum(axis=1).max(initial=0) <= 1 + 1e-12


def simulated(slate, secret):
    """Return how often each item is at each place in DRAWS answers."""
    row = {item: number for number, item in enumerate((*slate.ranked, *slate.outside))}
    tried = {}
    for hour in range(DRAWS):
        explored = slate.explored(draw(secret, AnswerKey("q", "", "", 1, hour)).numbers)
        tried[explored] = tried.get(explored, 0) + 1
    found = np.zeros(slate.propensities().shape)
    for explored, times in tried.items():
        for place, item in enumerate(slate.shown(explored)):
            if item in row:
                found[row[item], place] += times
    return found / DRAWS


@pytest.mark.parametrize(
    "slate", [pytest.param(each, marks=() if n == 9 else pytest.mark.nightly) for n, each in enumerate(POLICIES)]
)
def test_propensities_agree_with_simulated_answers(slate, secret):
    assert np.abs(simulated(slate, secret) - slate.propensities()).max() < 0.002


def test_ten_thousand_random_slates_keep_pins_and_rules():
    """No pinned place explores, an answer differs in one item at most, and no item is tried that may not be."""
    random = np.random.default_rng(3)
    tried = 0
    for _ in range(10_000):
        k, pool = int(random.integers(1, 13)), int(random.integers(0, 30))
        pinned = {
            int(place): f"pin{place}" for place in random.permutation(15)[: random.integers(0, min(4, k + 1))] + 1
        }
        first = int(random.integers(1, 14))
        places = (first, first + int(random.integers(0, 5))) if random.random() < 0.5 else None
        scores = -np.sort(-random.random(pool))
        limit = 0.5 if random.random() < 0.5 else None
        weights = (random.random(pool) + 0.01) if random.random() < 0.5 else np.ones(pool)
        options = [Option(f"i{row}", scores[row], weights[row]) for row in range(pool)]
        slate = slate_of(options, k - len(pinned), Exploration(0.5, places, limit), pinned)
        plain = slate.shown()
        explored = slate.explored(random.random(3))
        shown = slate.shown(explored)
        assert len(shown) == len(plain) == len(set(shown))
        assert [place for place, item in enumerate(shown) if item.startswith("pin")] == [
            place for place, item in enumerate(plain) if item.startswith("pin")
        ]
        assert set(shown) <= {*(option.id for option in options), *pinned.values()}
        new = set(shown) - set(plain)
        assert len(new) == (explored is not None)
        for item in new:
            tried += 1
            place = shown.index(item) + 1
            assert places is None or places[0] <= place <= places[1]
            assert limit is None or scores[int(item[1:])] >= limit
    assert tried > 2_000


def test_pins_beyond_the_end_are_at_the_end():
    assert with_pins(["a", "b"], {1: "p", 9: "q"}) == ["p", "a", "b", "q"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.6,), "a share of 0.6 of answers that explore is not from 0 to 0.5"),
        ((0.3, (3, 2)), r"the places \[3, 2\] are not the first and the last one"),
        ((0.3, (0, 2)), "are not the first"),
        ((0.3, None, 2.0), "a minimum score of 2.0 is not from -1 to 1"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(PolicyError, match=message):
        Exploration(*values)

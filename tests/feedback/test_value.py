"""The value of another policy: unbiased, with bounds that hold, and refused where the log says too little."""

import re

import numpy as np
import pytest
from simulated_shop import K, SimulatedShop, answers_of, random_goods, serve
from slates import Option, slate_of

from vision_recs.feedback.exploration import Exploration
from vision_recs.feedback.logged import LoggedAnswers, Shape
from vision_recs.feedback.value import difference_over_shoppers, estimate, mean_over_shoppers, refusal, two_sided


@pytest.fixture(scope="module")
def shop():
    return SimulatedShop(random_goods(60, seed=2), seed=2)


def judged(shop, order, log, *, wrong=1.0):
    """Return the estimate for the order (items, width) of *shop*, with the true model times *wrong*."""
    answers = answers_of(shop, log)
    rank = np.argsort(log.order, axis=1)  # the position of each column of the pool in the log
    in_log = np.take_along_axis(rank, order[log.asked], axis=1)
    clicks = wrong * shop.mean[log.asked[:, None], log.order]
    target = answers.showing(in_log, shop.examination)
    return estimate(answers, target, clicks, shop.examination)


def test_an_estimate_by_hand():
    """One answer of two items, of three; the third was tried at the second place by half of the answers."""
    answers = LoggedAnswers(
        items=("a", "b", "c"),
        shapes=(Shape(2, (), (1,), 0.5),),
        shopper=np.array([0]),
        half=np.array([0], np.int8),
        arm=np.array(["plain"]),
        asked=np.array([-1]),
        shape=np.array([0]),
        pool=np.array([[0, 1, 2]]),
        scores=np.array([[0.9, 0.8, 0.7]]),
        base=np.array([[0.9, 0.8, 0.7]]),
        chances=np.array([[0, 0, 1.0]]),
        at=np.array([[0, -1, 1]]),
        clicked=np.array([[0, 0, 1.0]]),
    )
    examination = np.array([1.0, 0.5])
    assert answers.logged(examination) == pytest.approx(np.array([[1.0, 0.25, 0.25]]))
    target = answers.showing(np.array([[2, 0, 1]]), examination)
    assert target == pytest.approx(np.array([[0.5, 0.0, 1.0]]))
    found = estimate(answers, target, np.array([[0.2, 0.1, 0.3]]), examination)
    # c first, then a: 0.3 + 0.5 * 0.2; a: 0.5 / 1 * (0 - 0.2), c: 1 / 0.25 * (1 - 0.5 * 0.3)
    assert found.value.value == pytest.approx(0.4 - 0.1 + 3.4)
    # looked at: a by 1 with the weight 0.5, c by 0.5 with the weight 4
    assert found.effective == pytest.approx((0.5 + 2) ** 2 / (0.25 + 8) / 1.5)
    assert found.support == 1.0


def test_bounds_hold_and_there_is_no_bias():
    """With a model that is a fifth too high, the truth is in 95 % of the bounds, as it should be."""
    shop = SimulatedShop(random_goods(60, seed=2), seed=2, pool=15)
    targets = {"plain": shop.plain_order(), "best": shop.best_order(), "reversed": shop.plain_order()[:, ::-1]}
    truth = {name: shop.value(order) for name, order in targets.items()}
    covered, values = dict.fromkeys(targets, 0), {name: [] for name in targets}
    for _ in range(16):
        log = serve(shop, shop.plain_order(), 8_000, share=0.5)
        for name, order in targets.items():
            found = judged(shop, order, log, wrong=1.2)
            assert refusal(found.effective, found.support) == ""
            covered[name] += found.value.low <= truth[name] <= found.value.high
            values[name].append(found.value.value)
    for name in targets:
        assert covered[name] >= 13, (name, covered)
        error = np.std(values[name]) / np.sqrt(len(values[name]))
        assert abs(np.mean(values[name]) - truth[name]) < 3 * error, name


def test_what_was_never_shown_has_no_support(shop):
    log = serve(shop, shop.plain_order(), 3_000, share=0.0)
    same = judged(shop, shop.plain_order(), log)
    assert same.support == 1.0
    assert same.effective == pytest.approx(3_000)
    assert refusal(same.effective, same.support) == ""
    other = judged(shop, shop.plain_order()[:, ::-1], log)
    assert other.support == 0.0
    why = refusal(other.effective, other.support)
    assert "could have shown only 0% of what the policy shows, and 95% are needed" in why


def test_too_few_effective_answers_are_refused(shop):
    found = judged(shop, shop.plain_order()[:, ::-1], serve(shop, shop.plain_order(), 2_000, share=0.1))
    assert found.effective < 500
    why = refusal(found.effective, found.support)
    assert re.search(r"says as much as \d+ answers of the policy, and 500 are needed", why)


def test_answers_of_one_shopper_are_one_observation():
    values = np.array([1.0, 0.0, 1.0, 0.0])
    alone = mean_over_shoppers(values, np.arange(4))
    twice = mean_over_shoppers(np.repeat(values, 100), np.repeat(np.arange(4), 100))
    assert (twice.value, twice.low, twice.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert alone.high - alone.value == pytest.approx(1.959964 * 0.25)


def test_a_difference_is_paired():
    one, other = np.array([0.0, 5.0, 9.0]), np.array([1.0, 6.0, 10.0])
    found = difference_over_shoppers(one, other, np.arange(3))
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert two_sided(1.959964) == pytest.approx(0.05, abs=1e-6)


def test_the_answers_of_the_simulation_are_those_of_the_formula(shop):
    """The simulation, which these tests stand on, shows items as often as the formula says."""
    log = serve(shop, shop.plain_order(), 40_000)
    shown = np.stack([(log.at == place).mean(axis=0) for place in range(K)], axis=1)
    slate = slate_of([Option(str(number)) for number in range(shop.width)], K, Exploration(0.3))
    assert np.abs(shown - slate.propensities()).max() < 0.006

"""Outcomes: sums by arm are those of a plain count, and bounds hold whenever one looks."""

import math

import numpy as np
import pytest
from plain_events import NOW, START, answer_of, click_on, scenario
from simulated_shop import SimulatedShop, answers_of, counts_of, random_goods, serve

from vision_recs.errors import EventsError
from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.anytime import difference_at_any_time
from vision_recs.feedback.arms import calibration, clicks_by_place, outcomes
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.event_log import EventLog
from vision_recs.feedback.learning import Catalog, cross_fitted
from vision_recs.feedback.records import Event, with_id


@pytest.mark.parametrize("seed", range(2))
def test_sums_by_arm_are_those_of_a_plain_count(tmp_path, seed):
    plain = scenario(tmp_path, seed)
    compact(tmp_path, now=NOW)
    found = outcomes(tmp_path)
    done = {(answer, place, event.type) for event, answer, place in plain.attributed()}
    for arm in found.arms:
        own = {answer.id: answer for answer in plain.answers.values() if answer.arm == arm.name}
        assert arm.answers == len(own)
        assert arm.shoppers == len({answer.shopper or answer.id for answer in own.values()})
        for kind, measure in (("click", "clicks"), ("cart", "carts"), ("buy", "buys")):
            total = sum(answer in own and type_ == kind for answer, _, type_ in done)
            assert arm.means[measure] == pytest.approx(total / len(own))
    shown = [item for answer in plain.answers.values() for item in answer.shown]
    assert (found.exposed.impressions, found.exposed.items) == (len(shown), len(set(shown)))
    tried = [answer for answer in plain.answers.values() if answer.explored is not None]
    assert found.explored_share == pytest.approx(len(tried) / len(plain.answers))


def test_by_hand(tmp_path):
    """Two shoppers see learned answers, one a plain one; a program is counted, and left out."""
    with EventLog(tmp_path) as log:
        ann, ben, eve, robot = (pseudonym(log.secret, name) for name in ("ann", "ben", "eve", "robot"))
        learned = [
            answer_of(log.secret, number, shopper=who, arm="learned") for number, who in enumerate((ann, ann, ben))
        ]
        other = answer_of(log.secret, 9, shopper=eve, arm="plain")
        robots = [answer_of(log.secret, 100 + number, shopper=robot, time=START + number) for number in range(201)]
        clicks = [click_on(learned[0]), click_on(learned[0], after=70.0), click_on(learned[1]), click_on(robots[0])]
        bought = with_id(Event("", "buy", "a", START + 90.0, learned[0].id, value=30.0))
        log.append([*learned, other, *robots, *clicks, bought])
    compact(tmp_path, now=NOW)
    found = outcomes(tmp_path)
    assert [(arm.name, arm.answers, arm.shoppers) for arm in found.arms] == [("plain", 1, 1), ("learned", 3, 2)]
    arm = found.arms[1]
    assert arm.means == pytest.approx({"clicks": 2 / 3, "carts": 0.0, "buys": 1 / 3, "value": 10.0})
    # ann has 2 clicks for 2 answers, ben none for one: (2 - 4/3)^2 + (0 - 2/3)^2, over 3^2
    assert arm.variances["clicks"] == pytest.approx(8 / 81)
    assert found.programs == pytest.approx(201 / 205)
    assert found.differences["learned"]["clicks"].value == pytest.approx(2 / 3)
    assert found.exposed.items == 3
    assert found.exposed.gini == pytest.approx(0.0)


def test_without_people_there_are_no_outcomes(tmp_path):
    EventLog(tmp_path).close()
    with pytest.raises(EventsError, match="has no answers of people yet"):
        outcomes(tmp_path)


def test_bounds_at_any_time_by_hand():
    """A variance of 1e-6 and an expected effect of 0.005: the formula of the normal mixture."""
    found = difference_at_any_time((0.1, 4e-7), (0.104, 6e-7))
    variance, spread = 1e-6, 2.5e-5
    width = math.sqrt(2 * variance * (variance + spread) / spread * (math.log(20) + math.log(26) / 2))
    assert (found.value, found.low, found.high) == pytest.approx((0.004, 0.004 - width, 0.004 + width))
    at_bound = difference_at_any_time((0.1, 4e-7), (0.1 + width, 6e-7))
    assert at_bound.p == pytest.approx(0.05)
    assert not difference_at_any_time((0.0, 0.0), (0.1, 0.1)).is_significant


def test_looking_every_day_finds_no_difference_of_equal_arms():
    random = np.random.default_rng(7)
    once = always = 0
    for _ in range(300):
        one, other = (random.poisson(500.0, 28).cumsum() for _ in range(2))
        answers = np.arange(1, 29) * 5_000.0
        always += any(
            difference_at_any_time((a / n, a / n**2), (b / n, b / n**2)).is_significant
            for a, b, n in zip(one.tolist(), other.tolist(), answers.tolist(), strict=True)
        )
        once += bool((np.abs(other - one) > 1.96 * np.sqrt(one + other)).any())
    assert always <= 15  # 5 %
    assert once > 45  # as ordinary bounds find


def test_a_real_difference_is_found():
    found = difference_at_any_time((0.1, 0.1 / 50_000), (0.11, 0.11 / 50_000))
    assert found.is_significant
    assert found.p < 0.05


def test_models_are_calibrated_on_shoppers_who_taught_them_nothing():
    shop = SimulatedShop(random_goods(60, seed=5), seed=5, pool=15)
    log = serve(shop, shop.plain_order(), 20_000, share=0.5)
    counts, answers = counts_of(shop, log), answers_of(shop, log)
    found = calibration(cross_fitted(counts, answers, Catalog.of(counts, answers, shop.goods)))
    assert len(found) == 10
    assert sum(each.impressions for each in found) == int((log.at >= 0).sum())
    for each in found:
        assert each.had == pytest.approx(each.expected, rel=0.35, abs=0.002)
        assert each.low < each.had < each.high
    assert sum(each.holds for each in found) >= 7
    assert found[-1].had > 5 * found[0].had
    assert clicks_by_place(counts)[0] > 2 * clicks_by_place(counts)[5]

"""`learn`: what helps is found to help, by shoppers who taught nothing; where nothing can be learned, it says so."""

import numpy as np
import pytest
from simulated_shop import SimulatedShop, answers_of, counts_of, random_goods, serve

from vision_recs.errors import EvaluationError
from vision_recs.feedback.learning import Catalog, judge, learn
from vision_recs.feedback.model import MOST_MOVED


@pytest.fixture(scope="module")
def goods():
    return random_goods(80, seed=4)


def test_what_helps_is_better_and_the_bounds_hold_the_truth(goods):
    shop = SimulatedShop(goods, seed=4)
    log = serve(shop, shop.plain_order(), 30_000)
    report = learn(counts_of(shop, log), answers_of(shop, log), goods, learned_from="a simulation")
    assert report.is_better
    assert report.clicks == int(log.clicked.sum())
    assert report.judged.plain.low < shop.value(shop.plain_order()) < report.judged.plain.high
    assert 0.2 < report.judged.difference.value / report.judged.plain.value < 1.0
    assert report.model.provenance["learned_from"] == "a simulation"


def test_where_nothing_can_be_learned_nothing_is_better(goods):
    """Of six shops in which all items are liked alike, at most one seems better."""
    found = []
    for seed in range(6):
        shop = SimulatedShop(goods, seed=seed, pool=15, nothing_to_learn=True)
        log = serve(shop, shop.plain_order(), 10_000, share=0.5)
        report = learn(counts_of(shop, log), answers_of(shop, log), goods)
        found.append(report.is_better)
        if not report.is_better:
            assert "not significantly better" in report.why
    assert sum(found) <= 1


def test_no_shopper_judges_what_they_taught(goods):
    """Clicks of one half, turned to noise, change only what the other half judges."""
    shop = SimulatedShop(goods, seed=4)
    log = serve(shop, shop.plain_order(), 6_000)
    counts, answers = counts_of(shop, log), answers_of(shop, log)
    catalog = Catalog.of(counts, answers, goods)
    before = judge(counts, answers, catalog, most=MOST_MOVED)
    noise = np.where(counts.half == 0, counts.clicks[::-1], counts.clicks)
    noisy = type(counts)(**{**vars(counts), "clicks": noise})
    after = judge(noisy, answers, catalog, most=MOST_MOVED)
    assert after != before
    only = answers.take(answers.half == 0)
    assert judge(counts, only, catalog, most=MOST_MOVED) is None  # nobody is left to judge the other half


def test_without_exploring_the_log_cannot_tell(goods):
    shop = SimulatedShop(goods, seed=4)
    log = serve(shop, shop.plain_order(), 8_000, share=0.0)
    report = learn(counts_of(shop, log), answers_of(shop, log), goods)
    assert not report.is_better
    assert "could have shown only" in report.why


def test_too_few_clicks_are_refused(goods):
    shop = SimulatedShop(goods, seed=4)
    log = serve(shop, shop.plain_order(), 200)
    with pytest.raises(EvaluationError, match="clicks are too few to learn from; wait for 100"):
        learn(counts_of(shop, log), answers_of(shop, log), goods)

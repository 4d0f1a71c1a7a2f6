"""Replay: what another policy would have brought agrees with the truth of a simulation; else it is refused."""

import numpy as np
import pytest
from simulated_shop import Log, SimulatedShop, answers_of, counts_of, random_goods, serve

from vision_recs.errors import EvaluationError
from vision_recs.feedback.learning import Catalog
from vision_recs.feedback.replaying import learned, listed, plain, replay


@pytest.fixture(scope="module")
def shop():
    return SimulatedShop(random_goods(60, seed=5), seed=5, pool=15)


@pytest.fixture(scope="module")
def before(shop):
    """A log of the plain order, from which a model was learned."""
    return serve(shop, shop.plain_order(), 20_000, share=0.5)


@pytest.fixture(scope="module")
def order(shop, before):
    """The order of that model, by the columns of the pools."""
    counts, answers = counts_of(shop, before), answers_of(shop, before)
    catalog = Catalog.of(counts, answers, shop.goods)
    model = catalog.model(counts)
    _, rows = np.unique(answers.asked, return_index=True)
    clicks = catalog.expected(model, answers.take(rows))
    found = shop.plain_order()
    found[answers.asked[rows]] = np.argsort(-clicks, axis=1, kind="stable")
    return found


@pytest.fixture(scope="module")
def log(shop, order):
    """A log of that order, which explores."""
    return serve(shop, order, 30_000, share=0.5)


@pytest.fixture(scope="module")
def counts(shop, before, log):
    """The counts of all days: an order that knows much cannot be told from places by its own log alone."""
    return counts_of(shop, Log.joined([before, log]))


@pytest.fixture(scope="module")
def replayed(shop, counts, log):
    return lambda target: replay(counts, answers_of(shop, log), shop.goods, target)


def test_the_plain_order_would_have_brought_less(shop, log, replayed):
    found = replayed(plain)
    assert found.had.value == pytest.approx(log.clicked.sum() / len(log.asked))
    assert found.would.low < shop.value(shop.plain_order()) < found.would.high
    assert found.difference.high < 0


def test_lists_are_what_they_would_have_been(shop, order, replayed):
    ids = shop.goods.ids
    reverse = {ids[asked]: [ids[code] for code in shop.pool[asked][::-1]] for asked in range(shop.count)}
    found = replayed(listed(reverse))
    assert found.would.low < shop.value(shop.plain_order()[:, ::-1]) < found.would.high
    same = replayed(listed({}))
    assert same.would.low < shop.value(order) < same.would.high


def test_another_model_is_judged_by_shoppers_of_another_day(shop, before, replayed):
    counts = counts_of(shop, before)
    catalog = Catalog.of(counts, answers_of(shop, before), shop.goods)
    model = catalog.model(counts)
    found = replayed(learned(model, catalog))
    assert found.would.value > replayed(plain).would.value


def test_what_no_pool_holds_cannot_be_told(shop, replayed):
    ids = shop.goods.ids
    others = {item: [f"elsewhere {place}" for place in range(2)] + [ids[shop.pool[n][0]]] for n, item in enumerate(ids)}
    with pytest.raises(EvaluationError, match="could have shown only"):
        replayed(listed(others))


def test_a_log_without_clicks_cannot_be_replayed(shop, log):
    answers = answers_of(shop, log).take(np.arange(1))
    with pytest.raises(EvaluationError, match="too few answers with clicks to replay"):
        replay(counts_of(shop, log), answers, shop.goods, plain)

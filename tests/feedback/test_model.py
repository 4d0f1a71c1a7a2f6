"""The model: what is put into a simulated shop is found again, the file is the model, and nothing moves too far."""

import hashlib
from types import MappingProxyType

import numpy as np
import pytest
from simulated_shop import SimulatedShop, answers_of, counts_of, random_goods, serve

from vision_recs import _native
from vision_recs.errors import StoreDamaged
from vision_recs.feedback.counts import Counts
from vision_recs.feedback.features import Columns, Features, Rows
from vision_recs.feedback.fitting import Fitted, fit, shrunk
from vision_recs.feedback.learning import Catalog
from vision_recs.feedback.model import UNKNOWN, Learned, read_model


@pytest.fixture(scope="module")
def shop():
    return SimulatedShop(random_goods(120), seed=1)


@pytest.fixture(scope="module")
def log(shop):
    return serve(shop, shop.plain_order(), 30_000)


@pytest.fixture(scope="module")
def catalog(shop, log):
    return Catalog.of(counts_of(shop, log), answers_of(shop, log), shop.goods)


@pytest.fixture(scope="module")
def model(shop, log, catalog):
    return catalog.model(counts_of(shop, log), {"learned_from": "a test"})


def known_counts(*, places=3, pairs=40, impressions=200_000.0):
    """Return counts without noise: 0.1 clicks at the first place for an average item, 0.5 and 0.25 of it below."""
    random = np.random.default_rng(0)
    score = random.random(pairs)
    rate = 0.1 * np.exp(1.5 * (score - score.mean()))
    examination = 0.5 ** np.arange(places)
    shown, place = (each.ravel() for each in np.meshgrid(np.arange(pairs), np.arange(places), indexing="ij"))
    zeros = np.zeros(len(shown), np.int64)
    clicks = np.round(impressions * rate[shown] * examination[place])
    seen = np.full(len(shown), impressions)
    ids = tuple(f"i{number:02}" for number in range(pairs))
    return Counts(
        ids, zeros.astype(np.int8), zeros, shown, place, seen, clicks, score[shown], np.ones(len(shown))
    ), rate


def test_examination_weights_and_rates_are_found():
    counts, rate = known_counts()
    fitted = fit(counts, Features(), Columns({}, {}))
    assert fitted.examination == pytest.approx([1.0, 0.5, 0.25], rel=0.01)
    model = Learned(Features(), fitted, counts.items)
    score = counts.score[:: len(fitted.examination)]
    found = model.clicks(np.zeros(len(rate), np.int64), np.arange(len(rate)), np.stack([score, 1 - score], axis=1))
    assert found == pytest.approx(rate, rel=0.02)
    assert fitted.slope == pytest.approx(1.5, rel=0.05)


def test_little_is_shrunk_and_much_is_not():
    random = np.random.default_rng(1)
    factors = random.gamma(4.0, 1 / 4.0, 2_000)
    expected = np.repeat([0.01, 1.0, 1_000.0, 5.0], 500)
    found = shrunk(random.poisson(factors * expected).astype(float), expected)
    assert np.abs(found[:500] - 1).max() < 0.5
    assert np.abs(found[1_000:1_500] / factors[1_000:1_500] - 1).mean() < 0.05
    nothing = shrunk(random.poisson(expected).astype(float), expected)
    assert np.abs(nothing - 1).mean() < 0.05


def deltas_of_pool(model, ids, scores, goods=MappingProxyType({}), *, most=10.0):
    rows = Rows(model.features).of(ids, lambda items: [goods.get(item, {}) for item in items])
    return model.deltas_of_pool(ids[0], model.codes(ids[1:]), rows, scores, most=most)


def test_one_pool_is_moved_as_all_pools_together_are(shop, log, catalog, model):
    answers = answers_of(shop, log).take(np.arange(5))
    together = model.deltas(catalog.expected(model, answers), answers.scores, most=10.0)
    bounded = model.deltas(catalog.expected(model, answers), answers.scores, most=0.1)
    goods = shop.goods.attributes_of(shop.goods.ids)
    for row in range(5):
        asked = shop.goods.ids[answers.asked[row]]
        pool = [shop.goods.ids[code] for code in answers.pool[row]]
        assert deltas_of_pool(model, [asked, *pool], answers.scores[row], goods) == pytest.approx(together[row])
        alone = deltas_of_pool(model, [asked, *pool], answers.scores[row], goods, most=0.1)
        assert alone == pytest.approx(bounded[row])
        assert np.abs(alone).max() == 0.1


def random_model(random, *, equal, ratio, pairs):
    """Return a model of some items whose numbers are random, and the attributes of more items than it knows."""
    features = Features(tuple(f"e{n}" for n in range(equal)), tuple(f"r{n}" for n in range(ratio)))
    columns, items = len(features.names), tuple(f"i{n:02}" for n in range(30))
    asked, shown = np.divmod(np.sort(random.choice(31 * 30, pairs, replace=False)), 30)
    fitted = Fitted(
        random.normal(size=columns),
        np.exp(random.normal(size=columns)),
        random.normal(size=columns),
        random.normal(-2, 3),
        np.ones(1),
        random.uniform(1, 20),
        np.exp(random.normal(size=30)),
        np.ones(30),
        asked - 1,
        shown,
        np.exp(random.normal(0, 3, pairs)),
    )
    known = [*({f"e{n}": value for n in range(equal)} for value in ("a", "b", None)), {}]
    goods = {
        item: {**known[random.integers(4)], **{f"r{n}": random.choice([0.0, 2.5, 3e6]) for n in range(ratio)}}
        for item in (*items, "new0", "new1")
    }
    return Learned(features, fitted, items), goods


@pytest.mark.skipif(_native.kernels is None, reason="no compiler was there when visrec was installed")
@pytest.mark.parametrize("seed", range(40))
def test_the_function_in_c_moves_a_pool_as_numpy_does(seed, monkeypatch):
    random = np.random.default_rng(seed)
    model, goods = random_model(random, equal=seed % 4, ratio=seed // 4 % 3, pairs=[0, 1, 400][seed % 3])
    ids = [*random.choice(list(goods), 1 + int(random.integers(1, 30)), replace=False).tolist()]
    ids[0] = random.choice([ids[0], ""])
    scores = random.uniform(-1, 1, len(ids) - 1)
    for most in (0.05, 100.0):
        found = deltas_of_pool(model, ids, scores, goods, most=most)
        with monkeypatch.context() as patch:
            patch.setattr(_native, "kernels", None)
            assert found == pytest.approx(deltas_of_pool(model, ids, scores, goods, most=most), rel=1e-12, abs=1e-12)
        assert len(np.unique(found)) > 1 or len(found) == 1


def test_new_items_and_other_queries_have_a_value(model):
    scores = np.array([0.9, 0.8])
    goods = {"new": {"type": "type1", "price": 3.0}}
    assert np.isfinite(deltas_of_pool(model, ["", "new", "item00003"], scores, goods)).all()
    assert deltas_of_pool(model, ["", "new"], scores[:1], goods) == [0.0]
    assert model.codes(["new", "item00003"]).tolist() == [UNKNOWN, 3]
    assert model.trying_weights(["new", "item00003"])[0] == 1.0
    assert model.trying_weights(["item00003"])[0] < 1.0


def test_nothing_moves_further_than_it_may(shop, log, catalog, model):
    answers = answers_of(shop, log).take(np.arange(200))
    clicks = catalog.expected(model, answers)
    deltas = model.deltas(clicks, answers.scores, most=0.07)
    assert np.abs(deltas).max() == pytest.approx(0.07)
    far = model.deltas(clicks, answers.scores, most=2.0)
    by_clicks = answers.ranked(clicks)
    assert (answers.ranked(answers.scores + far) == by_clicks).all()  # without a bound, the order is that of the clicks


def test_pools_of_different_sizes_do_not_change_each_other(model):
    clicks = np.array([[0.2, 0.1, 0.05], [0.2, 0.1, np.nan]])
    scores = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, np.nan]])
    both = model.deltas(clicks, scores)
    assert both[1, :2] == pytest.approx(model.deltas(clicks[1, :2], scores[1, :2]))
    assert both[0] == pytest.approx(model.deltas(clicks[0], scores[0]))


def test_the_file_is_the_model(model, tmp_path):
    data = model.to_bytes()
    (tmp_path / "m").write_bytes(data)
    read = read_model(tmp_path / "m", digest=hashlib.sha256(data).hexdigest())
    assert model.digest == hashlib.sha256(data).hexdigest()
    assert (read.items, read.features, read.provenance) == (model.items, model.features, model.provenance)
    scores = np.linspace(0.9, 0.5, 20)
    for asked in (model.items[0], "", "new"):
        pool = model.items[:20]
        own, others = (deltas_of_pool(each, [asked, *pool], scores) for each in (model, read))
        assert others == pytest.approx(own, abs=0.011 / model.fitted.slope)
    assert read.to_bytes() == data


def test_equal_counts_give_equal_bytes(shop, log, catalog, model):
    again = catalog.model(counts_of(shop, log), {"learned_from": "a test"})
    assert again.to_bytes() == model.to_bytes()


@pytest.mark.parametrize("at", [3, 100, -5])
def test_an_altered_file_is_refused(model, tmp_path, at):
    data = bytearray(model.to_bytes())
    data[at] ^= 1
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(StoreDamaged, match="was altered; run `visrec learn --undo`"):
        read_model(tmp_path / "m", digest=model.digest)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"no model")
    with pytest.raises(StoreDamaged, match="m cannot be read"):
        read_model(tmp_path / "m", digest=hashlib.sha256(b"no model").hexdigest())


def test_learning_brings_clicks(shop, log, catalog, model):
    """The order of the model is worth clearly more than the plain one, by the truth of the simulation."""
    answers = answers_of(shop, log)
    order = shop.plain_order()
    _, rows = np.unique(answers.asked, return_index=True)
    some = answers.take(rows)
    pool = shop.pool[some.asked]
    values = catalog.expected(model, some)
    for row, asked in enumerate(some.asked):
        value_of = dict(zip(some.pool[row].tolist(), values[row].tolist(), strict=True))
        order[asked] = np.argsort([-value_of[code] for code in pool[row].tolist()], kind="stable")
    assert shop.value(order) > 1.2 * shop.value(shop.plain_order())

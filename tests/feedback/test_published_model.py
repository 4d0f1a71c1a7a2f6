"""A published model orders answers, under pins, exclusions and groups; one call undoes it, and damage is named."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, index

from vision_recs.engines import open_engine, publish
from vision_recs.errors import PolicyError, SpaceMismatch, StoreDamaged, StoreError
from vision_recs.feedback.exploration import Exploration
from vision_recs.feedback.features import Columns, Features
from vision_recs.feedback.fitting import Fitted
from vision_recs.feedback.model import Learned
from vision_recs.filters import Filter
from vision_recs.indexes.base import open_published
from vision_recs.jobs import publish_model, retune, verify
from vision_recs.recommend import Learn, Policy, Query, Recommender, Rules, Shopping, read_policy
from vision_recs.recommend.rules import Boost, Exclude, Pin
from vision_recs.serve.cached_items import CachedItems
from vision_recs.store import Projection, Store, garbage_collect

ITEMS = [f"item{number:03}" for number in range(60)]


@pytest.fixture
def shop():
    shop = Shop()
    for number, item in enumerate(ITEMS):
        shop.put(item, number, price=float(number + 1), variant_group=f"group{number // 2}")
    return shop


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


def model_that_likes(*liked, slope=10.0):
    """Return a model in which *liked* get ten times as many clicks as any other item; nothing else counts."""
    features = Features()
    fitted = Fitted(
        np.zeros(2),
        np.ones(2),
        np.zeros(2),
        -3.0,
        np.array([1.0, 0.5]),
        slope,
        np.array([10.0 if item in liked else 1.0 for item in ITEMS]),
        np.ones(len(ITEMS)),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(0),
    )
    return Learned(features, fitted, tuple(ITEMS), {"days": "none"})


def answer(store, policy, **more):
    with Recommender.open(store) as recommender:
        return recommender.query(Query(items=(ITEMS[0],), **more), policy)


def ids(matches):
    return [match.id for match in matches]


LEARN = Policy(one_per=None, learn=Learn(most=2.0))


def test_the_answer_follows_the_model(store):
    plain = answer(store, Policy(one_per=None))
    assert answer(store, LEARN) == plain  # nothing is published yet
    pool = ids(answer(store, Policy(one_per=None), k=40))
    liked = pool[30]
    publish_model(store, model_that_likes(liked).to_bytes())
    learned = answer(store, LEARN, k=12)
    assert ids(learned)[0] == liked
    assert ids(answer(store, Policy(one_per=None))) == ids(plain)  # who does not ask for it gets plain answers
    assert set(ids(learned)) <= set(pool)


def test_no_item_moves_further_than_it_may_and_the_effect_says_by_how_much(store):
    pool = answer(store, Policy(one_per=None), k=40)
    publish_model(store, model_that_likes(pool[30].id).to_bytes())
    learned = answer(store, Policy(one_per=None, learn=Learn(most=0.01)), k=20)
    scores = {match.id: match.score for match in pool}
    ranks = []
    for match in learned:
        (effect,) = match.explanation.effects
        assert effect.rule == "learned"
        assert abs(effect.score_delta) <= 0.01
        assert match.score == scores[match.id]
        ranks.append(match.score + effect.score_delta)
    assert all(one > other - 3e-6 for one, other in itertools.pairwise(ranks))


def test_the_order_is_the_one_of_the_formula(store):
    """The whole pool, computed anew from scores and expected clicks."""
    pool = answer(store, Policy(one_per=None), k=40)
    model = model_that_likes(*(match.id for match in pool[5:9]), slope=30.0)
    publish_model(store, model.to_bytes())
    scores = np.array([match.score for match in pool], np.float64)
    logs = np.log([0.0498 * (10 if 5 <= place < 9 else 1) for place in range(40)]) / 30.0
    ranks = scores + np.clip(logs - logs.mean() - (scores - scores.mean()), -0.2, 0.2)
    expected = [pool[row].id for row in np.argsort(-np.round(ranks, 6), kind="stable")]
    assert ids(answer(store, Policy(one_per=None, learn=Learn())))[:4] == expected[:4]


def test_pins_exclusions_and_groups_hold(store):
    pool = ids(answer(store, Policy(one_per=None), k=40))
    excluded, pinned = pool[20], pool[35]
    publish_model(store, model_that_likes(excluded, *pool[21:30]).to_bytes())
    rules = Rules(exclude=(Exclude(Filter.parse(f'id == "{excluded}"')),), pins=(Pin(pinned, 2, "pin"),))
    found = answer(store, Policy(rules=rules, learn=Learn(most=2.0)))
    assert ids(found)[1] == pinned
    assert excluded not in ids(found)
    groups = [match.attributes["variant_group"] for match in found]
    assert len(set(groups)) == len(groups) == 10
    assert "group0" not in groups  # that of the query item


def test_more_places_do_not_change_the_first_ones(store):
    pool = ids(answer(store, Policy(one_per=None), k=40))
    publish_model(store, model_that_likes(*pool[10:20:3]).to_bytes())
    ten = ids(answer(store, LEARN, k=10))
    assert ids(answer(store, LEARN, k=20))[:10] == ten
    assert ids(answer(store, LEARN, k=1)) == ten[:1]


def test_a_batch_gives_what_one_query_gives(store):
    publish_model(store, model_that_likes(*ITEMS[10:20]).to_bytes())
    queries = [(Query(items=(item,)), LEARN) for item in ITEMS[:5]]
    with Recommender.open(store) as recommender:
        assert recommender.query_batch(queries) == [recommender.query(*pair) for pair in queries]


def test_what_the_server_caches_answers_alike(store):
    publish_model(store, model_that_likes(*ITEMS[10:20]).to_bytes())
    with Store.open(store) as opened:
        cached = CachedItems(opened)
        found = Recommender(cached, open_published(opened, cached)).query(Query(items=(ITEMS[0],)), LEARN)
    assert ids(found) == ids(answer(store, LEARN))
    assert all(match.explanation.effects[0].rule == "learned" for match in found)


def test_publishing_keeps_vectors_items_and_index_and_undoing_brings_plain_answers_back(store):
    before = Store.open(store).manifest
    published = publish_model(store, model_that_likes(ITEMS[5]).to_bytes(), space=before.space)
    assert (published.generation, published.model) == (2, model_that_likes(ITEMS[5]).digest)
    assert (published.shards, published.items_files, published.index_generation) == (
        before.shards,
        before.items_files,
        before.index_generation,
    )
    plain = ids(answer(store, Policy(one_per=None)))
    undone = publish_model(store, None)
    assert (undone.generation, undone.model) == (3, None)
    assert ids(answer(store, LEARN)) == plain
    with pytest.raises(StoreError, match="has no learned model; there is nothing to undo"):
        publish_model(store, None)


def test_a_model_for_other_vectors_is_refused(store):
    with pytest.raises(SpaceMismatch, match=r"was learned from scores of vectors of \[0123\]"):
        publish_model(store, model_that_likes(ITEMS[5]).to_bytes(), space="0123")


def test_the_model_stays_when_the_catalog_changes_and_goes_with_the_vectors(shop, store):
    digest = publish_model(store, model_that_likes(ITEMS[5]).to_bytes()).model
    shop.put("new", 99, price=5.0)
    index(shop, store)
    with Store.open(store) as opened:
        assert opened.manifest.model == digest
        assert "new" in opened.ids()
        dim = opened.dim
    assert "new" in ids(answer(store, LEARN, k=70))
    retune(store, Projection(np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32)))
    with Store.open(store) as opened:
        assert opened.manifest.model is None
    publish_model(store, model_that_likes(ITEMS[5]).to_bytes())
    index(shop, store, FakeEncoder("other", turn=1))
    with Store.open(store) as opened:
        assert opened.manifest.model is None


def test_old_models_are_removed_and_damage_is_named(store):
    publish_model(store, model_that_likes(ITEMS[5]).to_bytes())
    digest = publish_model(store, model_that_likes(ITEMS[6]).to_bytes()).model
    assert len(list((store / "models").iterdir())) == 2
    garbage_collect(store)
    (path,) = (store / "models").iterdir()
    assert path.stem == digest
    assert list(verify(store)) == []
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    (problem,) = verify(store)
    assert str(path) in problem
    assert "visrec learn --undo" in problem
    with pytest.raises(StoreDamaged, match="was altered; run `visrec learn --undo`"):
        answer(store, LEARN)
    assert answer(store, Policy())  # plain answers do not need it


def test_rules_files_ask_for_learned_answers(tmp_path):
    (tmp_path / "rules.toml").write_text("[learn]\nmost = 0.1\n")
    assert read_policy(tmp_path / "rules.toml").learn == Learn(0.1)
    (tmp_path / "rules.toml").write_text("[learn]\n")
    assert read_policy(tmp_path / "rules.toml").learn == Learn(0.2)
    (tmp_path / "rules.toml").write_text("same = []\n")
    assert read_policy(tmp_path / "rules.toml").learn is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learn = true", r"\[learn\]: is not a table"),
        ("[learn]\nmost = 3", r"\[learn\], key 'most': is 3, not a number from 0 to 2"),
        ("[learn]\nmots = 0.1", r"\[learn\], key 'mots': means nothing here; did you mean most"),
    ],
)
def test_mistakes_in_the_table_are_named(tmp_path, text, message):
    (tmp_path / "rules.toml").write_text(text + "\n")
    with pytest.raises(PolicyError, match=message):
        read_policy(tmp_path / "rules.toml")
    with pytest.raises(PolicyError, match=r"moving an item by up to 3\.0 is not from 0 to 2"):
        Learn(3.0)


def test_answers_of_an_engine_follow_the_model_of_a_store_that_is_at_hand(store, shop, tmp_path):
    pytest.importorskip("lancedb")
    liked = ids(answer(store, Policy(one_per=None), k=40))[30]
    publish_model(store, model_that_likes(liked).to_bytes())
    publish(f"lance:{tmp_path / 'engine'}", store)
    index(shop, tmp_path / "other", FakeEncoder("other", turn=3))
    publish_model(tmp_path / "other", model_that_likes(liked).to_bytes())
    with open_engine(f"lance:{tmp_path / 'engine'}") as engine:

        def answered():
            return Recommender(engine.items, engine.index).query(Query(items=(ITEMS[0],), k=12), LEARN)

        plain = ids(answered())
        for place in (tmp_path / "nothing", tmp_path / "other"):  # of another space
            engine.items.learn_from(place)
            assert ids(answered()) == plain
        engine.items.learn_from(store)
        assert ids(answered()) == ids(answer(store, LEARN, k=12)) != plain


def test_a_recommender_that_is_open_keeps_its_model_from_the_garbage_collector(store):
    liked = ids(answer(store, Policy(one_per=None), k=40))[30]
    publish_model(store, model_that_likes(liked).to_bytes())
    expected = ids(answer(store, LEARN, k=12))
    with Recommender.open(store) as recommender:
        publish_model(store, None)
        garbage_collect(store)
        assert ids(recommender.query(Query(items=(ITEMS[0],), k=12), LEARN)) == expected
        assert expected[0] == liked


def random_model(seed):
    """Return a model with features, factors of some items and some pairs, and exposure that differs."""
    random = np.random.default_rng(seed)
    features = Features(("variant_group", "tier"), ("price",))
    count = 2 + 2 + 2
    known = ITEMS[: random.integers(20, 60)]
    pairs = sorted({tuple(pair) for pair in random.integers(0, len(known), (80, 2)).tolist()})
    asked, shown = np.array(pairs).T
    fitted = Fitted(
        random.normal(0, 0.3, count),
        random.uniform(0.5, 2.0, count),
        random.normal(0, 0.4, count),
        -3.0,
        np.ones(10),
        float(random.uniform(3, 12)),
        np.exp(random.normal(0, 0.5, len(known))),
        random.exponential(5.0, len(known)),
        asked,
        shown,
        np.exp(random.normal(0, 0.5, len(asked))),
    )
    return Learned(features, fitted, tuple(known))


def plainly_learned(pool, effects, model, attributes, policy):
    """Return what the log has to hold of a *pool* of matches, the best first, as sentences say it: a slow one."""
    scores = np.array([match.score for match in pool])
    columns = Columns.of(model.features, [attributes[item] for item in (ITEMS[0], *(match.id for match in pool))])
    rows = np.arange(1, len(pool) + 1)
    best = np.full(len(pool), scores.max())
    inputs = model.features.matrix(columns.take(np.zeros(len(pool), np.int64)), columns.take(rows), scores, best)
    code = int(model.codes([ITEMS[0]])[0])
    clicks = model.clicks(np.full(len(pool), code), model.codes([match.id for match in pool]), inputs)
    moved = model.deltas(clicks, scores, most=policy.learn.most)
    by_rules = [sum(effects.get(match.id, ())) for match in pool]
    ranks = [round(match.score + own + delta, 6) for match, own, delta in zip(pool, by_rules, moved, strict=True)]
    order = sorted(range(len(pool)), key=lambda row: (-ranks[row], -pool[row].score, pool[row].id))
    return [(pool[row].id, pool[row].score, by_rules[row], round(float(moved[row]), 6)) for row in order]


def test_offers_are_those_of_the_slow_formula(tmp_path):
    shop = Shop()
    for number, item in enumerate(ITEMS):
        more = {} if number % 5 == 0 else {"tier": number % 3 if number % 2 else bool(number % 3)}
        shop.put(item, number, price=float(number + 1), variant_group=f"group{number // 2}", **more)
    index(shop, tmp_path / "store")
    boosts = (Boost(Filter.parse("price > 30"), 0.15, "dear"), Boost(Filter.parse("tier == 1"), -0.1, "first"))
    tried = 0
    for seed in range(12):
        model = random_model(seed)
        publish_model(tmp_path / "store", model.to_bytes())
        model = Learned.from_bytes(model.to_bytes())
        exploration = Exploration(0.5, None, 0.9 if seed % 3 == 0 else None)
        rules = Rules(boosts=boosts) if seed % 2 else None
        learn = Learn(most=(0.05, 0.2, 2.0)[seed % 3], exploration=exploration)
        policy = Policy(one_per=None, rules=rules, learn=learn)
        with Recommender.open(tmp_path / "store") as recommender:
            attributes = recommender.items.attributes_of(ITEMS)
            pool = recommender.query(Query(items=(ITEMS[0],), k=40), replace(policy, learn=None))
            effects = {match.id: [each.score_delta for each in match.explanation.effects] for match in pool if rules}
            expected = plainly_learned(pool, effects, model, attributes, policy)
            outside = [each for each in expected[10:] if each[1] >= (exploration.min_score or -1)]
            weights = model.trying_weights([each[0] for each in expected[10:]])[: len(expected)]
            weights = [w for w, each in zip(weights.tolist(), expected[10:], strict=True) if each in outside]
            for numbers in itertools.product((0.1, 0.9), (0.0, 0.55, 0.99), (0.0, 0.4, 0.99)):
                ((slate, found),) = offered(recommender, policy, numbers)
                assert slate.ranked == tuple(each[0] for each in expected[:10])
                assert slate.outside == tuple(each[0] for each in outside)
                assert slate.weights == pytest.approx(weights)
                logged = [*expected[:10], *outside]
                assert found.scores == tuple(each[1] for each in logged)
                assert found.deltas == (pytest.approx([each[2] for each in logged]) if rules else ())
                assert [match.id for match in found.matches] == slate.shown(slate.explored(numbers))
                tried += found.explored is not None
                moved = {each[0]: each[3] for each in expected}
                for match in found.matches:
                    (learned,) = [each for each in match.explanation.effects if each.rule == "learned"]
                    assert learned.score_delta == pytest.approx(moved[match.id], abs=1.1e-6)
                    assert match.attributes == attributes[match.id]
                    assert match.image == f"{ITEMS.index(match.id)}.png"
    assert tried == 12 * 9


@pytest.mark.parametrize("diversity", [0.0, 0.3])
def test_what_the_model_moves_is_in_no_delta(store, diversity):
    publish_model(store, model_that_likes(ITEMS[10], ITEMS[40]).to_bytes())
    boost = Boost(Filter.parse("price > 30"), 0.15, "dear")
    for rules in (None, Rules(boosts=(boost,))):
        policy = replace(LEARN, diversity=diversity, rules=rules)
        with Recommender.open(store) as recommender:
            ((slate, found),) = offered(recommender, policy, None)
        pool = (*slate.ranked, *slate.outside)
        assert {ITEMS[10], ITEMS[40]} <= set(pool)
        assert found.deltas == (() if rules is None else tuple(0.15 * (ITEMS.index(item) >= 30) for item in pool))


def offered(recommender, policy, numbers):
    found = recommender.offer_batch([(Query(items=(ITEMS[0],), k=10), policy, Shopping(numbers))])
    return [(each.slate, each) for each in found]

"""Every promise of the policy, on random shops, against a loop over all images and all rules."""

import tempfile
from contextlib import contextmanager
from itertools import product

import pytest
from fake_shop import FakeEncoder, Shop, index
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_shops import cells
from slow_policy import SlowShop

import vision_recs
from vision_recs.errors import VisionRecsError
from vision_recs.filters import Filter
from vision_recs.recommend import Event, History, Policy, Query, Rules, Weighted
from vision_recs.recommend.rules import ALWAYS, Boost, Bounds, Condition, Differ, Exclude, Pin, Same

EXPRESSIONS = [
    "in_stock",
    "not in_stock",
    'category == "mug"',
    'brand != "own"',
    "price >= 20",
    "price is not null",
    'category == "lamp" or price < 40',
]
filters = st.sampled_from(EXPRESSIONS).map(Filter.parse)
seldom_filters = st.sampled_from([*[None] * 5, *map(Filter.parse, EXPRESSIONS)])
ids = st.integers(0, 17).map(lambda number: f"item{number:02}")
conditions = st.one_of(
    st.just(ALWAYS),
    st.builds(Condition, st.frozensets(ids, min_size=1, max_size=3)),
    st.builds(Condition, when=filters),
)
attribute_rules = st.lists(
    st.sampled_from([Same("category"), Differ("brand"), Bounds("price", 0.5, 2.0), Same("in_stock")]), unique=True
)
# Four cells of a few grey levels: few directions, so that many images tie, some of other bytes.
levels = st.sampled_from([level for level in product([0, 100, 200], repeat=4) if any(level)])
attributes = st.fixed_dictionaries(
    {
        "variant_group": st.sampled_from(["a", "b", 1, True, None, None]),
        "category": st.sampled_from(["mug", "lamp", None]),
        "brand": st.sampled_from(["own", "other", None]),
        "price": st.sampled_from([10, 15, 20, 40, 80, None]),
        "in_stock": st.booleans(),
    }
)


@st.composite
def shops(draw):
    """A shop of 6 to 18 items; images may be shared, be copies of one another, or lie in one direction."""
    shop = Shop()
    kinds = draw(st.lists(levels, min_size=3, max_size=12))
    shop.files = {f"{number}.png": cells(kind) for number, kind in enumerate(kinds)}
    images = st.lists(st.sampled_from(sorted(shop.files)), min_size=1, max_size=3, unique=True)
    for number in range(draw(st.integers(6, 18))):
        shop.put(f"item{number:02}", *draw(images), **draw(attributes))
    return shop


@st.composite
def rules(draw):
    wanted = tuple(draw(attribute_rules))
    chain = draw(st.permutations([*(rule.name for rule in wanted), "one_per", "min_score"]))
    boosts = st.builds(
        Boost, filters, st.sampled_from([-0.3, -0.05, 0.05, 0.1, 0.3]), st.sampled_from(["up", "down"]), conditions
    )
    return Rules(
        exclude=tuple(draw(st.lists(st.builds(Exclude, filters, conditions), max_size=1))),
        boosts=tuple(draw(st.lists(boosts, max_size=3))),
        pins=tuple(draw(st.lists(st.builds(Pin, ids, st.integers(1, 6), st.just("pin"), conditions), max_size=3))),
        attribute_rules=wanted,
        fallbacks=tuple(chain[: draw(st.integers(0, len(chain)))]),
    )


policies = st.builds(
    Policy,
    one_per=st.sampled_from(["variant_group", None, "category"]),
    where=seldom_filters,
    exclude=st.frozensets(ids, max_size=2),
    min_score=st.sampled_from([None, None, 0.5, 0.9]),
    diversity=st.sampled_from([0.0, 0.2, 0.6]),
    rules=rules(),
)


@st.composite
def queries(draw, shop):
    known = st.sampled_from(sorted(shop.items))
    weights = st.sampled_from([0.5, 1.0, 3.0])
    terms = draw(st.lists(known, max_size=2, unique=True))
    negatives = draw(st.lists(known.filter(lambda item: item not in terms), max_size=1, unique=True))
    history = None
    if not terms or draw(st.integers(0, 3)) == 0:
        times = st.integers(0, 9).map(lambda day: 86_400.0 * day)
        history = History(
            tuple(draw(st.lists(st.builds(Event, known, times), min_size=1, max_size=4))), half_life_days=2
        )
    return Query(
        items=tuple(Weighted(item, draw(weights)) for item in terms),
        negatives=tuple(Weighted(item, draw(weights)) for item in negatives),
        history=history,
        k=draw(st.integers(1, 8)),
        where=draw(seldom_filters),
    )


@pytest.fixture(autouse=True, params=[(1, 1, (2, 1)), (3, 4_096, (100, 5))], scope="module")
def _limits(request):
    """Small limits, so that the search has to go on, narrows to what matches, and leaves some out of the pool."""
    slack, narrow, (pool, for_each) = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.recommend.retrieve._SLACK", slack)
        patch.setattr("vision_recs.recommend.retrieve._NARROW", narrow)
        patch.setattr("vision_recs.recommend.query._POOL", pool)
        patch.setattr("vision_recs.recommend.query._POOL_FOR_EACH", for_each)
        patch.setattr("vision_recs.recommend.interests._ALIKE", 0.1)  # so that a history holds several interests
        yield


@settings(deadline=None, max_examples=examples_of(25))
@given(shop=shops(), data=st.data())
def test_an_answer_is_that_of_a_loop_over_all_images_and_rules(shop, data):
    with opened(shop) as recommender:
        for _ in range(4):
            policy, query = data.draw(policies), data.draw(queries(shop))
            found = recommender.query(query, policy)
            expected = SlowShop(recommender.items, query, policy).answer()
            assert [(match.id, match.image) for match in found] == [(place.item, place.image) for place in expected]
            assert [match.score for match in found] == [place.score for place in expected]
            effects = [
                tuple((effect.rule, effect.score_delta, effect.position) for effect in match.explanation.effects)
                for match in found
            ]
            assert effects == [place.effects for place in expected]
            assert [match.explanation.relaxed for match in found] == [place.relaxed for place in expected]


@settings(deadline=None, max_examples=examples_of(30))
@given(shop=shops(), data=st.data())
def test_what_comes_far_down_the_index_is_found(shop, data):
    with opened(shop) as recommender:
        for _ in range(8):
            boost = st.builds(Boost, filters, st.sampled_from([-0.1, 0.05, 0.3]), st.just("boost"))
            boosts = tuple(data.draw(st.lists(boost, max_size=2)))
            policy = Policy(min_score=data.draw(st.sampled_from([None, 0.4, 0.8])), rules=Rules(boosts=boosts))
            query_items = data.draw(st.lists(st.sampled_from(sorted(shop.items)), min_size=1, max_size=2, unique=True))
            items = tuple(Weighted(item, data.draw(st.sampled_from([0.2, 1.0, 5.0]))) for item in query_items)
            query = Query(items=items, k=data.draw(st.integers(1, 3)))
            expected = SlowShop(recommender.items, query, policy).answer()
            assert [match.id for match in recommender.query(query, policy)] == [place.item for place in expected]


@settings(deadline=None, max_examples=examples_of(30))
@given(shop=shops(), data=st.data())
def test_an_answer_keeps_what_is_never_given_up(shop, data):
    with opened(shop) as recommender:
        for _ in range(4):
            policy, query = data.draw(policies), data.draw(queries(shop))
            keeps_its_promises(recommender.query(query, policy), query, policy)


@settings(deadline=None, max_examples=examples_of(30))
@given(shop=shops(), data=st.data())
def test_a_batch_of_queries_gets_what_each_would_get_alone(shop, data):
    plain = st.builds(Policy, diversity=st.sampled_from([0.0, 0.6]), min_score=st.sampled_from([None, 0.9]))
    unknown = st.just(Query(items=("nobody",)))
    one = st.builds(Query, items=st.tuples(st.sampled_from(sorted(shop.items))), k=st.integers(1, 4))
    pairs = data.draw(st.lists(st.tuples(one | queries(shop) | unknown, plain | policies), max_size=8))
    with opened(shop) as recommender:
        assert list(map(str, recommender.query_batch(pairs))) == [str(alone(recommender, *pair)) for pair in pairs]


def alone(recommender, query, policy):
    try:
        return recommender.query(query, policy)
    except VisionRecsError as error:
        return error


@pytest.mark.parametrize(("cold", "way"), [(1_000, "search"), (0, "nearest")])
def test_plain_queries_are_searched_for_together(monkeypatch, cold, way):
    monkeypatch.setattr("vision_recs.recommend.recommender._COLD", cold)
    shop = Shop()
    for number in range(8):
        shop.files[f"{number}.png"] = cells((100 + number, 1, 2, 3))
        shop.put(f"item{number:02}", f"{number}.png", in_stock=True)  # so that none has to give way to another
    with opened(shop) as recommender:
        searches = []
        search = getattr(recommender.index, way)

        def counted(asked, *more):
            searches.append(len(asked.vectors if way == "search" else asked))
            return search(asked, *more)

        monkeypatch.setattr(recommender.index, way, counted)
        recommender.query_batch([(Query(items=(item,), k=3), Policy()) for item in shop.items])
        assert searches == [8]


def keeps_its_promises(found, query, policy):
    assert len(found) <= query.k
    assert len({match.id for match in found}) == len(found)
    if policy.one_per is not None and query.where is None and policy.where is None:
        assert len({match.digest for match in found}) == len(found)
    assert not {match.id for match in found} & (query.query_items | policy.exclude)
    for match in found:
        assert query.where is None or query.where.matches(match.attributes)
        assert policy.where is None or policy.where.matches(match.attributes)
        for rule in policy.rules.exclude:
            assert rule.condition != ALWAYS or not rule.where.matches(match.attributes)
    groups = [
        (type(match.attributes[policy.one_per]) is bool, match.attributes[policy.one_per])
        for match in found
        if policy.one_per
        and match.attributes[policy.one_per] is not None
        and "one_per" not in match.explanation.relaxed
    ]
    assert len(set(groups)) == len(groups)


@contextmanager
def opened(shop):
    with tempfile.TemporaryDirectory() as folder:
        index(shop, folder, FakeEncoder())
        yield vision_recs.open(folder)

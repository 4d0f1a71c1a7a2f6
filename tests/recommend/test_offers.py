"""Offers: what an answer shows is drawn from its slate, one place an answer, never against the rules."""

from types import SimpleNamespace

import numpy as np
import pytest
from fake_shop import Shop, index

from vision_recs.feedback.exploration import Exploration
from vision_recs.filters import Filter
from vision_recs.recommend import Event, History, Learn, Policy, Query, Recommender, Rules, Shopping
from vision_recs.recommend.eligibility import AttributesOf
from vision_recs.recommend.rules import Boost, Exclude, Pin, Same

ITEMS = [f"item{number:02}" for number in range(60)]
BEST = Shopping()


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    shop = Shop()
    for number, item in enumerate(ITEMS):
        shop.put(item, number, price=float(number), kind=f"kind{number % 5}", variant_group=f"group{number // 3}")
    store = tmp_path_factory.mktemp("offers") / "store"
    index(shop, store)
    with Recommender.open(store) as recommender:
        yield recommender


def offer(recommender, query, policy, shopping=BEST):
    (found,) = recommender.offer_batch([(query, policy, shopping)])
    if isinstance(found, Exception):
        raise found
    return found


def ids(matches):
    return [match.id for match in matches]


def policies():
    """Policies of every kind, with some numbers of places."""
    cheap, odd = Filter.parse("price < 30"), Filter.parse('kind in ["kind1", "kind3"]')
    pins = (Pin("item50", 2, "one"), Pin("item51", 9, "other"))
    for k in (1, 3, 10, 40):
        for exploration in (Exploration(0.5), Exploration(0.3, (2, 5)), Exploration(0.5, (1, 1), 0.99)):
            learn = Learn(exploration=exploration)
            yield k, Policy(one_per=None, learn=learn)
            yield k, Policy(one_per="kind", learn=learn)
            yield (
                k,
                Policy(rules=Rules(exclude=(Exclude(cheap),), pins=pins), exclude=frozenset(ITEMS[40:45]), learn=learn),
            )
            yield k, Policy(rules=Rules(boosts=(Boost(odd, 0.1, "odd"),), pins=pins), diversity=0.3, learn=learn)
            yield k, Policy(where=cheap, min_score=0.97, learn=learn)


def test_without_numbers_an_offer_is_the_answer(recommender):
    for k, policy in policies():
        query = Query(items=("item07",), k=k)
        found = offer(recommender, query, policy)
        assert found.matches == recommender.query(query, policy)
        assert found.slate.shown() == ids(found.matches)
        assert found.explored is None
        assert found.asked == "item07"


def test_offers_explore_one_place_and_never_what_a_rule_forbids(recommender):
    random = np.random.default_rng(5)
    tried = 0
    for k, policy in policies():
        query = Query(items=("item07",), k=k)
        best = offer(recommender, query, policy)
        allowed = {*ids(recommender.query(Query(items=("item07",), k=60), Policy(one_per=None, where=policy.where)))}
        first, last = policy.learn.exploration.places or (1, k)
        for _ in range(15):
            found = offer(recommender, query, policy, Shopping((*random.random(3).tolist(),)))
            shown = ids(found.matches)
            assert found.slate == best.slate
            assert shown == found.slate.shown(found.explored)
            assert len(set(shown)) == len(shown) == len(best.matches)
            for place, item in best.slate.pins.items():
                assert shown[min(place, len(shown)) - 1] == item
            new = set(shown) - set(ids(best.matches))
            assert len(new) == (found.explored is not None)
            tried += len(new)
            for item in new:
                assert item in allowed - policy.exclude - {"item07"}
                assert first <= shown.index(item) + 1 <= last
                number = int(item[4:])
                if policy.rules is not None and policy.rules.exclude:
                    assert number >= 30
                match = found.matches[shown.index(item)]
                assert policy.min_score is None or match.score >= policy.min_score
                assert policy.learn.exploration.min_score is None or match.score >= policy.learn.exploration.min_score
            if policy.one_per == "kind":
                assert len({int(item[4:]) % 5 for item in shown}) == len(shown)
            if policy.one_per == "variant_group":
                assert len({int(item[4:]) // 3 for item in shown}) == len(shown)
    assert tried > 100


def test_scores_and_deltas_say_how_the_slate_was_ranked(recommender):
    odd = Filter.parse('kind == "kind1"')
    policy = Policy(one_per=None, rules=Rules(boosts=(Boost(odd, 0.25, "odd"),)), learn=Learn())
    found = offer(recommender, Query(items=("item07",), k=5), policy)
    pool = (*found.slate.ranked, *found.slate.outside)
    assert len(pool) == len(found.scores) == len(found.deltas) == 40
    ranks = np.array(found.scores) + np.array(found.deltas)
    assert (np.diff(ranks) <= 1e-9).all()
    assert {item: delta for item, delta in zip(pool, found.deltas, strict=True) if delta} == {
        item: 0.25 for item in pool if int(item[4:]) % 5 == 1
    }


def test_items_that_a_fallback_adds_have_their_deltas_too(recommender):
    odd = Filter.parse('kind == "kind1"')
    rules = Rules(boosts=(Boost(odd, 0.25, "odd"),), attribute_rules=(Same("kind"),), fallbacks=("same.kind",))
    found = offer(recommender, Query(items=("item07",), k=20), Policy(one_per=None, rules=rules, learn=Learn()))
    assert {int(item[4:]) % 5 for item in found.slate.ranked[:11]} == {2}
    moved = [0.25 if int(item[4:]) % 5 == 1 else 0.0 for item in found.slate.ranked]
    assert any(moved)
    assert (list(found.deltas), found.slate.outside) == (moved, ())


def test_an_answer_to_several_interests_keeps_only_what_it_shows(recommender):
    history = History((Event("item00"), Event("item20"), Event("item41")))
    policy = Policy(one_per=None, learn=Learn(exploration=Exploration(0.5)))
    found = offer(recommender, Query(history=history, k=6), policy, Shopping((0.0, 0.5, 0.5)))
    if len(recommender.interests(history)) > 1:
        assert (found.slate.outside, found.scores, found.explored, found.asked) == ((), (), None, "")
    assert found.slate.shown() == ids(found.matches) == ids(recommender.query(Query(history=history, k=6), policy))


def test_interests_of_a_shopper_move_candidates_within_the_bound_of_the_rules(recommender):
    interests = tuple(recommender.interests(History((Event("item30"),))))
    query = Query(items=("item07",), k=20)
    plain = offer(recommender, query, Policy(one_per=None, learn=Learn()))
    moved = offer(recommender, query, Policy(one_per=None, learn=Learn(interests=0.01)), Shopping(None, interests))
    assert max(map(abs, moved.deltas)) == pytest.approx(0.01)
    pool = (*moved.slate.ranked, *moved.slate.outside)
    assert set(pool) == {*plain.slate.ranked, *plain.slate.outside}
    assert ids(moved.matches) != ids(plain.matches)
    likeness = {match.id: match.score for match in recommender.similar("item30", k=59, policy=Policy(one_per=None))}
    order = sorted(set(pool) - {"item30"}, key=lambda item: likeness[item])
    delta = dict(zip(pool, moved.deltas, strict=True))
    assert [delta[item] for item in order] == sorted(delta[item] for item in order)
    off = offer(recommender, query, Policy(one_per=None, learn=Learn(interests=0.0)), Shopping(None, interests))
    assert off.matches == plain.matches


def test_a_batch_is_answered_as_each_alone(recommender):
    policy = Policy(one_per=None)
    asked = [(Query(items=(item,), k=4), policy, BEST) for item in ITEMS[:5]]
    asked.append((Query(items=("nothing",)), policy, BEST))
    found = recommender.offer_batch(asked)
    assert [each.matches for each in found[:-1]] == [recommender.query(query, policy) for query, _, _ in asked[:-1]]
    assert isinstance(found[-1], Exception)
    assert {len(each.scores) for each in found[:-1]} == {40}


class TwoDoors:
    """Items that are read by id, and by row where rows are given; what was read through each door is kept."""

    def __init__(self):
        self.by_id, self.by_row = [], []

    def attributes_of(self, items):
        self.by_id += items
        return {item: {"name": item} for item in items if item != "gone"}

    def known(self, items, rows):
        self.by_row += zip(items, rows, strict=True)
        return {item: SimpleNamespace(attributes={"name": item}) for item in items}


def test_attributes_are_read_by_row_where_rows_are_known_and_each_item_once():
    items = TwoDoors()
    attributes_of = AttributesOf(items)
    attributes_of.load(["a", "b", "c", "gone"], {"a": 7, "c": 9, "other": 1})
    attributes_of.load(["a", "c", "d"], {"a": 7, "d": 2})
    assert (items.by_row, items.by_id) == ([("a", 7), ("c", 9), ("d", 2)], ["b", "gone"])
    assert [attributes_of.get(item) for item in "abcd"] == [{"name": item} for item in "abcd"]
    assert attributes_of.get("gone") is None

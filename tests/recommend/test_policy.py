"""Each part of a policy on a shop of flat colors, between which cosines are known by heart."""

import numpy as np
import pytest
from fake_shop import Shop, index, png

import vision_recs
from vision_recs.errors import FilterError, PolicyError
from vision_recs.filters import Filter
from vision_recs.recommend import Event, History, Policy, Query, Rules, Weighted
from vision_recs.recommend.rules import Boost, Bounds, Condition, Differ, Exclude, Pin, Same
from vision_recs.types import Explanation, RuleEffect, TermScore

# The less blue, the nearer to red; "far" is a right angle away.
SHADES = {"red": 0, "near": 40, "next": 80, "third": 120, "fourth": 160}
ATTRIBUTES = {
    "red": {"category": "mug", "brand": "own", "price": 20, "in_stock": True, "variant_group": "x"},
    "near": {"category": "mug", "brand": "own", "price": 30, "in_stock": False, "variant_group": "x"},
    "next": {"category": "lamp", "brand": "other", "price": 50, "in_stock": True, "variant_group": "x"},
    "third": {"category": "mug", "brand": "other", "price": 10, "in_stock": True, "variant_group": "y"},
    "fourth": {"category": "mug", "brand": None, "price": None, "in_stock": True, "variant_group": None},
    "far": {"category": "lamp", "brand": "own", "price": 19, "in_stock": True, "variant_group": "y"},
}


@pytest.fixture
def colors(tmp_path):
    shop = Shop()
    shop.files = {f"{name}.png": png(np.full((8, 8, 3), (255, 0, blue))) for name, blue in SHADES.items()}
    shop.files["far.png"] = png(np.full((8, 8, 3), (0, 255, 0)))
    for name, attributes in ATTRIBUTES.items():
        shop.put(name, f"{name}.png", **attributes)
    index(shop, tmp_path)
    return vision_recs.open(tmp_path)


def query(colors, policy, *items, k=10, **more):
    return colors.query(Query(items=items or ("red",), k=k, **more), policy)


def ids(matches):
    return [match.id for match in matches]


def rules(**values):
    return Policy(one_per=None, rules=Rules(**values))


def excluded(where, **condition):
    return Exclude(Filter.parse(where), Condition(**condition))


def test_without_a_policy_each_variant_group_appears_once(colors):
    assert ids(colors.similar("fourth")) == ["third", "next"]
    assert ids(query(colors, Policy(one_per=None), "fourth")) == ["third", "next", "near", "red", "far"]
    assert ids(query(colors, Policy(one_per="category"), "fourth")) == ["next"]


def test_a_variant_of_a_query_item_is_not_in_the_answer(colors):
    assert ids(colors.similar("red")) == ["third", "fourth"]
    assert ids(colors.similar("red", "third")) == ["fourth"]
    assert ids(query(colors, Policy(one_per=None))) == ["near", "next", "third", "fourth", "far"]
    seen = History((Event("red"), Event("gone")))
    assert ids(colors.query(Query(history=seen))) == ["third", "fourth"]
    assert ids(colors.query(Query(items=("fourth",), history=seen))) == ["third"]


def test_a_variant_of_an_item_to_move_away_from_may_be_in_the_answer(colors):
    assert "next" in ids(query(colors, Policy(), "fourth", negatives=("red",)))


def test_a_variant_of_a_query_item_is_not_pinned(colors):
    assert ids(query(colors, Policy(rules=Rules(pins=(Pin("next", 1, "pin"),))))) == ["third", "fourth"]


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(one_per=None, diversity=0.5), Policy(where=Filter.parse("price > 0"))]
)
def test_k_may_be_larger_than_any_number_of_bits(colors, policy):
    assert ids(query(colors, policy, k=10**40)) == ids(query(colors, policy, k=6))
    assert (
        list(map(ids, colors.query_batch([(Query(items=("red",), k=10**40), policy)] * 2)))
        == [ids(query(colors, policy, k=6))] * 2
    )


def test_items_without_a_group_are_all_shown(colors):
    assert ids(query(colors, Policy(one_per="brand"), "third")) == ["fourth", "near"]


def test_an_attribute_that_no_item_has_is_named(colors):
    with pytest.raises(PolicyError, match=r"^one_per: no item has the attribute 'color'; items have ") as caught:
        query(colors, Policy(one_per="color"))
    assert (caught.value.path, caught.value.key) == (None, "one_per")


def test_what_is_excluded_or_does_not_match_is_not_in_the_answer(colors):
    assert ids(query(colors, Policy(exclude=frozenset({"third", "nowhere"})))) == ["fourth", "far"]
    assert ids(query(colors, Policy(where=Filter.parse("brand == 'own'")))) == ["far"]
    both = query(colors, Policy(where=Filter.parse("in_stock")), where=Filter.parse("price < 20"))
    assert ids(both) == ["third"]
    with pytest.raises(FilterError, match="no item has the attribute 'stock'"):
        query(colors, Policy(where=Filter.parse("stock")))


def test_below_the_minimum_score_there_is_no_answer(colors):
    scores = {match.id: match.score for match in query(colors, Policy(one_per=None))}
    kept = query(colors, Policy(one_per=None, min_score=scores["third"]))
    assert ids(kept) == ["near", "next", "third"]
    assert ids(query(colors, Policy(one_per=None, min_score=1.0))) == []


def test_rules_exclude_always_or_on_a_condition(colors):
    assert ids(query(colors, rules(exclude=(excluded("not in_stock"),)))) == ["next", "third", "fourth", "far"]
    only_for_lamps = rules(exclude=(excluded("in_stock", when=Filter.parse('category == "lamp"')),))
    assert ids(query(colors, only_for_lamps)) == ["near", "next", "third", "fourth", "far"]
    assert ids(query(colors, only_for_lamps, "far")) == ["near"]
    only_for_red = rules(exclude=(excluded("in_stock", items=frozenset({"red", "gone"})),))
    assert ids(query(colors, only_for_red)) == ["near"]
    assert len(query(colors, only_for_red, "far")) == 5


def test_rules_raise_and_lower_and_the_score_stays_what_it_is(colors):
    plain = {match.id: match.score for match in query(colors, Policy(one_per=None))}
    up = Boost(Filter.parse('category == "lamp"'), 2.0, "lamps")
    down = Boost(Filter.parse("not in_stock"), -1.0, "sold out")
    found = query(colors, rules(boosts=(up, down)))
    assert ids(found) == ["next", "far", "third", "fourth", "near"]
    assert {match.id: match.score for match in found} == plain
    assert [match.explanation.effects for match in found] == [
        (RuleEffect("lamps", score_delta=2.0),),
        (RuleEffect("lamps", score_delta=2.0),),
        (),
        (),
        (RuleEffect("sold out", score_delta=-1.0),),
    ]


def test_what_is_pinned_takes_its_place_and_the_rest_moves_on(colors):
    found = query(colors, rules(pins=(Pin("far", 2, "campaign"),)))
    assert ids(found) == ["near", "far", "next", "third", "fourth"]
    assert [match.explanation.effects for match in found] == [(), (RuleEffect("campaign", position=2),), (), (), ()]
    assert found[1].score == pytest.approx(0)


def test_a_pin_whose_place_is_taken_moves_to_the_next(colors):
    pins = (Pin("far", 1, "one"), Pin("fourth", 1, "two"), Pin("third", 2, "three"))
    assert ids(query(colors, rules(pins=pins))) == ["far", "fourth", "third", "near", "next"]
    assert ids(query(colors, rules(pins=pins), k=2)) == ["far", "fourth"]


def test_pins_are_placed_by_position_and_those_of_one_position_in_the_order_of_the_file(colors):
    pins = (Pin("third", 2, "two"), Pin("fourth", 1, "one"), Pin("far", 1, "one more"))
    found = query(colors, rules(pins=pins))
    assert ids(found) == ["fourth", "far", "third", "near", "next"]
    assert [match.explanation.effects for match in found[:3]] == [
        (RuleEffect("one", position=1),),
        (RuleEffect("one more", position=2),),
        (RuleEffect("two", position=3),),
    ]
    assert ids(query(colors, rules(pins=(Pin("far", 1, "one"), Pin("far", 2, "two"))), k=2)) == ["far", "near"]


def test_a_pin_shows_no_image_that_another_pin_shows_and_a_second_image_where_there_is_one(tmp_path):
    shop = Shop()
    shop.files = {f"{name}.png": png(np.full((8, 8, 3), (255, 0, blue))) for name, blue in SHADES.items()}
    shop.put("query", "red.png")
    shop.put("first", "near.png")
    shop.put("same", "near.png")
    shop.put("two", "near.png", "fourth.png")
    index(shop, tmp_path)
    pins = tuple(Pin(item, place, item) for place, item in enumerate(("first", "same", "two"), 1))
    shop = vision_recs.open(tmp_path)
    shown = [(match.id, match.image) for match in query(shop, Policy(rules=Rules(pins=pins)), "query")]
    assert shown == [("first", "near.png"), ("two", "fourth.png")]
    every_item = query(shop, Policy(one_per=None, rules=Rules(pins=pins)), "query")
    assert [(match.id, match.image) for match in every_item] == [(pin.item, "near.png") for pin in pins]


def test_a_pin_shows_the_image_that_is_nearest_to_any_interest(tmp_path):
    shop = Shop()
    for name, color in {"red": (255, 0, 0), "rose": (255, 0, 160), "green": (0, 255, 0), "lime": (9, 255, 0)}.items():
        shop.files[f"{name}.png"] = png(np.full((8, 8, 3), color))
    shop.put("red", "red.png")
    shop.put("green", "green.png")
    shop.put("both", "rose.png", "lime.png")
    index(shop, tmp_path)
    history = History((Event("red", weight=3), Event("green")))
    pinned = Policy(rules=Rules(pins=(Pin("both", 1, "pin"),)))
    (match,) = vision_recs.open(tmp_path).query(Query(history=history, k=1), pinned)
    assert (match.image, match.score) == ("lime.png", pytest.approx(255 / np.hypot(9, 255), abs=1e-3))


def test_a_pin_beyond_the_answer_comes_last_or_not_at_all(colors):
    assert ids(query(colors, rules(pins=(Pin("next", 9, "late"),)))) == ["near", "third", "fourth", "far", "next"]
    assert ids(query(colors, rules(pins=(Pin("far", 3, "late"),)), k=2)) == ["near", "next"]
    far_beyond = rules(pins=(Pin("fourth", 10**30, "last"), Pin("next", 10**20, "late")))
    assert ids(query(colors, far_beyond, k=10**40)) == ["near", "third", "far", "next", "fourth"]


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),), exclude=(excluded("price == 10"),))), {}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),)), exclude=frozenset({"third"})), {}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),)), where=Filter.parse("price != 10")), {}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),))), {"where": Filter.parse("price != 10")}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),))), {"negatives": ("third",)}),
        (
            Policy(rules=Rules(pins=(Pin("red", 1, "pin"), Pin("gone", 1, "pin")))),
            {"where": Filter.parse("price != 10")},
        ),
        (Policy(rules=Rules(pins=(Pin("far", 1, "a"), Pin("third", 2, "pin")))), {}),
    ],
)
def test_a_pin_never_shows_what_must_not_be_shown(colors, policy, more):
    answer = query(colors, policy, **more)
    assert "third" not in ids(answer)
    assert "red" not in ids(answer)
    assert len(answer) >= 2


def test_a_sold_out_item_is_not_pinned_and_stays_where_it_belongs(colors):
    found = query(colors, rules(pins=(Pin("near", 3, "campaign"),)))
    assert ids(found) == ["near", "next", "third", "fourth", "far"]
    assert found[0].explanation.effects == ()


def test_a_pin_has_its_condition(colors):
    for_lamps = rules(pins=(Pin("far", 1, "pin", Condition(when=Filter.parse('category == "lamp"'))),))
    assert ids(query(colors, for_lamps))[0] == "near"
    assert ids(query(colors, for_lamps, "next"))[0] == "far"
    for_third = rules(pins=(Pin("far", 1, "pin", Condition(frozenset({"third"}))),))
    assert ids(query(colors, for_third))[0] == "near"
    assert ids(query(colors, for_third, "third"))[0] == "far"


def test_answers_have_what_a_query_item_has(colors):
    assert ids(query(colors, rules(attribute_rules=(Same("category"),)))) == ["near", "third", "fourth"]
    assert ids(query(colors, rules(attribute_rules=(Same("category"),)), "red", "near")) == ["third", "fourth"]
    assert len(query(colors, rules(attribute_rules=(Same("category"),)), "red", "next")) == 4
    assert len(query(colors, rules(attribute_rules=(Same("brand"),)), "fourth")) == 5  # which has none


@pytest.mark.parametrize("held", ['[["a"], "b"]', '[{"a": 1}, "b"]', r'["\ud800", "b", null]'])
def test_of_a_set_only_what_can_be_named_is_compared(tmp_path, held):
    shop = Shop()
    for number, tags in enumerate([held, '["b"]', '["a"]', r'[["a"], "\ud800", null]']):
        shop.put(f"item{number}", number, tags=tags)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    assert ids(query(opened, rules(attribute_rules=(Same("tags"),)), "item0")) == ["item1"]
    assert set(ids(query(opened, rules(attribute_rules=(Differ("tags"),)), "item0"))) == {"item2", "item3"}


def test_answers_do_not_have_what_a_query_item_has(colors):
    assert ids(query(colors, rules(attribute_rules=(Differ("brand"),)))) == ["next", "third", "fourth"]
    assert ids(query(colors, rules(attribute_rules=(Differ("variant_group"),)))) == ["third", "fourth", "far"]


def test_answers_are_within_bounds_of_a_query_item(colors):
    assert ids(query(colors, rules(attribute_rules=(Bounds("price", 0.5, 1.5),)))) == ["near", "third", "far"]
    assert ids(query(colors, rules(attribute_rules=(Bounds("price", 0.9, 1.0),)), "red", "near")) == ["far"]
    of_the_second = query(colors, rules(attribute_rules=(Bounds("price", 0.6, 0.7),)), "third", "near")
    assert sorted(ids(of_the_second)) == ["far", "red"]
    assert len(query(colors, rules(attribute_rules=(Bounds("price", 0.5, 1.5),)), "fourth")) == 5  # which has none


def test_bounds_of_a_negative_number_hold_the_other_way_round(tmp_path):
    shop = Shop()
    temperatures = {"query": -20, "colder": -31, "cold": -30, "mild": -10, "warm": -9, "hot": 20}
    for name, celsius in temperatures.items():
        shop.files[f"{name}.png"] = png(np.full((8, 8, 3), (255, 0, 40 + celsius)))
        shop.put(name, f"{name}.png", celsius=celsius)
    index(shop, tmp_path)
    found = query(vision_recs.open(tmp_path), rules(attribute_rules=(Bounds("celsius", 0.5, 1.5),)), "query")
    assert sorted(ids(found)) == ["cold", "mild"]


def test_where_too_few_are_left_rules_are_relaxed_one_after_another(colors):
    chain = ("bounds.price", "same.category")
    policy = rules(attribute_rules=(Same("category"), Bounds("price", 0.5, 1.5)), fallbacks=chain)
    found = query(colors, policy)
    assert [(match.id, match.explanation.relaxed) for match in found] == [
        ("near", ()),
        ("third", ()),
        ("fourth", ("bounds.price",)),
        ("next", ("bounds.price", "same.category")),
        ("far", ("same.category",)),
    ]
    assert ids(query(colors, policy, k=3)) == ["near", "third", "fourth"]
    assert [match.explanation.relaxed for match in query(colors, policy, k=2)] == [(), ()]


def test_variants_and_the_minimum_score_can_be_relaxed_too(colors):
    policy = Policy(min_score=0.5, rules=Rules(fallbacks=("min_score", "one_per"), exclude=(excluded("not in_stock"),)))
    assert [(match.id, match.explanation.relaxed) for match in query(colors, policy)] == [
        ("third", ()),
        ("fourth", ()),
        ("next", ("one_per",)),
        ("far", ("min_score", "one_per")),
    ]


def test_what_is_excluded_is_never_relaxed(colors):
    policy = rules(exclude=(excluded("not in_stock"),), attribute_rules=(Same("brand"),), fallbacks=("same.brand",))
    assert "near" not in ids(query(colors, policy, where=Filter.parse("price > 0")))


@pytest.mark.parametrize("values", [{}, {"exclude": (excluded("price < 40", items=frozenset({"far"})),)}])
def test_rules_that_do_not_concern_a_query_let_it_search_as_far_as_without_rules(colors, monkeypatch, values):
    searched = []
    nearest = type(colors.index).nearest

    def noted(self, queries, k, *others):
        searched.append(k)
        return nearest(self, queries, k, *others)

    monkeypatch.setattr(type(colors.index), "nearest", noted)
    colors.warm()
    answers = [ids(query(colors, policy)) for policy in (Policy(one_per=None), rules(**values))]
    assert (answers[0], searched[0]) == (answers[1], searched[1])
    query(colors, rules(**values), "far")
    assert (searched[2] > searched[0]) == bool(values)


def test_diversity_takes_what_is_unlike_before_what_is_like(colors):
    assert ids(query(colors, Policy(one_per=None), k=3)) == ["near", "next", "third"]
    assert ids(query(colors, Policy(one_per=None, diversity=0.6), k=3)) == ["near", "far", "next"]


def test_diversity_keeps_away_from_what_is_pinned(colors):
    pinned = Policy(one_per=None, diversity=0.6, rules=Rules(pins=(Pin("next", 5, "late"),)))
    assert ids(query(colors, pinned, k=5))[0] == "far"


# Explanation


def test_a_match_says_which_images_met_and_what_is_shared(tmp_path):
    shop = Shop()
    shop.files = {f"{name}.png": png(np.full((8, 8, 3), (255, 0, blue))) for name, blue in SHADES.items()}
    shop.files["green.png"] = png(np.full((8, 8, 3), (0, 255, 0)))
    shop.put("query", "green.png", "red.png", price=10, material="steel", sold=True, size=None)
    shop.put("found", "green.png", "near.png", price=10, material="glass", sold=1, size=None)
    shop.put("other", "fourth.png", price=3, material="glass")
    shop.put("negatives", "third.png", price=3)
    index(shop, tmp_path)
    the_query = Query(items=(Weighted("query", 2.0), "other"), negatives=("negatives",), explain=True)
    (match,) = vision_recs.open(tmp_path).query(the_query)
    near, fourth, third = (np.array([255.0, 0.0, SHADES[name]]) for name in ("near", "fourth", "third"))

    def cosine(one, other):
        return pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-3)

    assert (match.id, match.image) == ("found", "near.png")
    assert match.explanation == Explanation(
        terms=(
            TermScore("item", "query", 2.0, cosine(near, np.array([255.0, 0.0, 0.0])), "red.png"),
            TermScore("item", "other", 1.0, cosine(near, fourth), "fourth.png"),
            TermScore("negative", "negatives", 0.5, cosine(near, third), "third.png"),
        ),
        shared={"price": 10, "material": "glass"},
    )
    query_items, other, negatives = (part.score for part in match.explanation.terms)
    assert match.score == pytest.approx((2 * query_items + other - 0.5 * negatives) / 3, abs=1e-6)


def test_an_explanation_has_terms_and_rules(colors):
    policy = rules(
        boosts=(Boost(Filter.parse("price > 40"), 0.5, "dear"),),
        attribute_rules=(Same("category"),),
        fallbacks=("same.category",),
    )
    found = query(colors, policy, explain=True, k=5)
    by_id = {match.id: match.explanation for match in found}
    assert by_id["next"].effects == (RuleEffect("dear", score_delta=0.5),)
    assert by_id["next"].relaxed == ("same.category",)
    assert by_id["near"].shared == {"category": "mug", "brand": "own", "variant_group": "x"}
    assert [part.image for part in by_id["near"].terms] == ["red.png"]
    assert [match.explanation.terms[0].score for match in found] == [match.score for match in found]


def test_without_rules_and_explain_no_match_has_an_explanation(colors):
    assert [match.explanation for match in colors.similar("red", k=2)] == [None, None]
    assert [match.explanation for match in query(colors, rules(), k=2)] == [Explanation(), Explanation()]

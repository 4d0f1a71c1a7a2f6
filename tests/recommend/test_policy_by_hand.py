"""Each part of a policy on a shop of flat colours, between which cosines are known by heart."""

import numpy as np
import pytest
from fake_shop import Shop, index, png

import vision_recs
from vision_recs.errors import FilterError, PolicyError
from vision_recs.filters import Filter
from vision_recs.recommend import Policy, Query, Rules, Weighted
from vision_recs.recommend.rules import Bounds, Differ, Exclude, Occasion, Pin, Same, Shift
from vision_recs.types import Move, PartScore, Why

# The less blue, the nearer to red; "far" is a right angle away.
SHADES = {"red": 0, "near": 40, "next": 80, "third": 120, "fourth": 160}
FACTS = {
    "red": {"category": "mug", "brand": "own", "price": 20, "in_stock": True, "variant_group": "x"},
    "near": {"category": "mug", "brand": "own", "price": 30, "in_stock": False, "variant_group": "x"},
    "next": {"category": "lamp", "brand": "other", "price": 50, "in_stock": True, "variant_group": "x"},
    "third": {"category": "mug", "brand": "other", "price": 10, "in_stock": True, "variant_group": "y"},
    "fourth": {"category": "mug", "brand": None, "price": None, "in_stock": True, "variant_group": None},
    "far": {"category": "lamp", "brand": "own", "price": 19, "in_stock": True, "variant_group": "y"},
}


@pytest.fixture
def colours(tmp_path):
    shop = Shop()
    shop.files = {f"{name}.png": png(np.full((8, 8, 3), (255, 0, blue))) for name, blue in SHADES.items()}
    shop.files["far.png"] = png(np.full((8, 8, 3), (0, 255, 0)))
    for name, facts in FACTS.items():
        shop.put(name, f"{name}.png", **facts)
    index(shop, tmp_path)
    return vision_recs.open(tmp_path)


def ask(colours, policy, *items, k=10, **query):
    return colours.answer(Query(items=items or ("red",), k=k, **query), policy)


def ids(matches):
    return [match.id for match in matches]


def rules(**values):
    return Policy(one_per=None, rules=Rules(**values))


def excluded(where, **occasion):
    return Exclude(Filter.parse(where), Occasion(**occasion))


def test_without_a_policy_each_variant_group_appears_once(colours):
    assert ids(colours.similar("red")) == ["near", "third", "fourth"]
    assert ids(ask(colours, Policy(one_per=None))) == ["near", "next", "third", "fourth", "far"]
    assert ids(ask(colours, Policy(one_per="category"))) == ["near", "next"]


def test_items_without_a_group_are_all_shown(colours):
    assert ids(ask(colours, Policy(one_per="brand"))) == ["near", "next", "fourth"]


def test_an_attribute_that_no_item_has_is_named(colours):
    with pytest.raises(PolicyError, match=r"^one_per: no item has the attribute 'colour'; items have ") as caught:
        ask(colours, Policy(one_per="colour"))
    assert (caught.value.path, caught.value.key) == (None, "one_per")


def test_what_is_excluded_or_does_not_match_is_no_answer(colours):
    assert ids(ask(colours, Policy(exclude=frozenset({"near", "nowhere"})))) == ["next", "third", "fourth"]
    assert ids(ask(colours, Policy(where=Filter.parse("in_stock")))) == ["next", "third", "fourth"]
    both = ask(colours, Policy(where=Filter.parse("in_stock")), where=Filter.parse("price < 20"))
    assert ids(both) == ["third"]
    with pytest.raises(FilterError, match="no item has the attribute 'stock'"):
        ask(colours, Policy(where=Filter.parse("stock")))


def test_below_the_minimum_score_there_is_no_answer(colours):
    scores = {match.id: match.score for match in ask(colours, Policy(one_per=None))}
    kept = ask(colours, Policy(one_per=None, min_score=scores["third"]))
    assert ids(kept) == ["near", "next", "third"]
    assert ids(ask(colours, Policy(one_per=None, min_score=1.0))) == []


def test_rules_exclude_whatever_is_asked_for_or_on_an_occasion(colours):
    assert ids(ask(colours, rules(exclude=(excluded("not in_stock"),)))) == ["next", "third", "fourth", "far"]
    only_for_lamps = rules(exclude=(excluded("in_stock", when=Filter.parse('category == "lamp"')),))
    assert ids(ask(colours, only_for_lamps)) == ["near", "next", "third", "fourth", "far"]
    assert ids(ask(colours, only_for_lamps, "far")) == ["near"]
    only_for_red = rules(exclude=(excluded("in_stock", items=frozenset({"red", "gone"})),))
    assert ids(ask(colours, only_for_red)) == ["near"]
    assert len(ask(colours, only_for_red, "far")) == 5


def test_rules_raise_and_lower_and_the_score_stays_what_it_is(colours):
    plain = {match.id: match.score for match in ask(colours, Policy(one_per=None))}
    up = Shift(Filter.parse('category == "lamp"'), 2.0, "lamps")
    down = Shift(Filter.parse("not in_stock"), -1.0, "sold out")
    found = ask(colours, rules(shifts=(up, down)))
    assert ids(found) == ["next", "far", "third", "fourth", "near"]
    assert {match.id: match.score for match in found} == plain
    assert [match.why.moves for match in found] == [
        (Move("lamps", by=2.0),),
        (Move("lamps", by=2.0),),
        (),
        (),
        (Move("sold out", by=-1.0),),
    ]


def test_what_is_pinned_takes_its_place_and_the_rest_moves_on(colours):
    found = ask(colours, rules(pins=(Pin("far", 2, "campaign"),)))
    assert ids(found) == ["near", "far", "next", "third", "fourth"]
    assert [match.why.moves for match in found] == [(), (Move("campaign", to=2),), (), (), ()]
    assert found[1].score == pytest.approx(0)


def test_a_pin_whose_place_is_taken_moves_to_the_next(colours):
    pins = (Pin("far", 1, "one"), Pin("fourth", 1, "two"), Pin("third", 2, "three"))
    assert ids(ask(colours, rules(pins=pins))) == ["far", "fourth", "third", "near", "next"]
    assert ids(ask(colours, rules(pins=pins), k=2)) == ["far", "fourth"]


def test_a_pin_beyond_the_answer_comes_last_or_not_at_all(colours):
    assert ids(ask(colours, rules(pins=(Pin("next", 9, "late"),)))) == ["near", "third", "fourth", "far", "next"]
    assert ids(ask(colours, rules(pins=(Pin("far", 3, "late"),)), k=2)) == ["near", "next"]


@pytest.mark.parametrize(
    ("policy", "query"),
    [
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),), exclude=(excluded("price == 10"),))), {}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),)), exclude=frozenset({"third"})), {}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),)), where=Filter.parse("price != 10")), {}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),))), {"where": Filter.parse("price != 10")}),
        (Policy(rules=Rules(pins=(Pin("third", 1, "pin"),))), {"unlike": ("third",)}),
        (
            Policy(rules=Rules(pins=(Pin("red", 1, "pin"), Pin("gone", 1, "pin")))),
            {"where": Filter.parse("price != 10")},
        ),
        (Policy(rules=Rules(pins=(Pin("far", 1, "a"), Pin("third", 2, "pin")))), {}),
    ],
)
def test_a_pin_never_shows_what_must_not_be_shown(colours, policy, query):
    answer = ask(colours, policy, **query)
    assert "third" not in ids(answer)
    assert "red" not in ids(answer)
    assert len(answer) >= 2


def test_a_sold_out_item_is_not_pinned_and_stays_where_it_belongs(colours):
    found = ask(colours, rules(pins=(Pin("near", 3, "campaign"),)))
    assert ids(found) == ["near", "next", "third", "fourth", "far"]
    assert found[0].why.moves == ()


def test_a_pin_has_its_occasion(colours):
    for_lamps = rules(pins=(Pin("far", 1, "pin", Occasion(when=Filter.parse('category == "lamp"'))),))
    assert ids(ask(colours, for_lamps))[0] == "near"
    assert ids(ask(colours, for_lamps, "next"))[0] == "far"
    for_third = rules(pins=(Pin("far", 1, "pin", Occasion(frozenset({"third"}))),))
    assert ids(ask(colours, for_third))[0] == "near"
    assert ids(ask(colours, for_third, "third"))[0] == "far"


def test_answers_have_what_an_asked_item_has(colours):
    assert ids(ask(colours, rules(relations=(Same("category"),)))) == ["near", "third", "fourth"]
    assert ids(ask(colours, rules(relations=(Same("category"),)), "red", "near")) == ["third", "fourth"]
    assert len(ask(colours, rules(relations=(Same("category"),)), "red", "next")) == 4
    assert len(ask(colours, rules(relations=(Same("brand"),)), "fourth")) == 5  # which has none


def test_answers_do_not_have_what_an_asked_item_has(colours):
    assert ids(ask(colours, rules(relations=(Differ("brand"),)))) == ["next", "third", "fourth"]
    assert ids(ask(colours, rules(relations=(Differ("variant_group"),)))) == ["third", "fourth", "far"]


def test_answers_are_within_bounds_of_an_asked_item(colours):
    assert ids(ask(colours, rules(relations=(Bounds("price", 0.5, 1.5),)))) == ["near", "third", "far"]
    assert ids(ask(colours, rules(relations=(Bounds("price", 0.9, 1.0),)), "red", "near")) == ["far"]
    assert len(ask(colours, rules(relations=(Bounds("price", 0.5, 1.5),)), "fourth")) == 5  # which has none


def test_where_too_few_are_left_rules_are_relaxed_one_after_another(colours):
    chain = ("bounds.price", "same.category")
    policy = rules(relations=(Same("category"), Bounds("price", 0.5, 1.5)), relax=chain)
    found = ask(colours, policy)
    assert [(match.id, match.why.relaxed) for match in found] == [
        ("near", ()),
        ("third", ()),
        ("fourth", ("bounds.price",)),
        ("next", ("bounds.price", "same.category")),
        ("far", ("same.category",)),
    ]
    assert ids(ask(colours, policy, k=3)) == ["near", "third", "fourth"]
    assert [match.why.relaxed for match in ask(colours, policy, k=2)] == [(), ()]


def test_variants_and_the_minimum_score_can_be_relaxed_too(colours):
    policy = Policy(min_score=0.5, rules=Rules(relax=("min_score", "one_per"), exclude=(excluded("not in_stock"),)))
    assert [(match.id, match.why.relaxed) for match in ask(colours, policy)] == [
        ("next", ()),
        ("third", ()),
        ("fourth", ()),
        ("far", ("min_score", "one_per")),
    ]


def test_what_is_excluded_is_never_relaxed(colours):
    policy = rules(exclude=(excluded("not in_stock"),), relations=(Same("brand"),), relax=("same.brand",))
    assert "near" not in ids(ask(colours, policy, where=Filter.parse("price > 0")))


def test_diversity_takes_what_is_unlike_before_what_is_like(colours):
    assert ids(ask(colours, Policy(one_per=None), k=3)) == ["near", "next", "third"]
    assert ids(ask(colours, Policy(one_per=None, diversity=0.6), k=3)) == ["near", "far", "next"]


def test_diversity_keeps_away_from_what_is_pinned(colours):
    pinned = Policy(one_per=None, diversity=0.6, rules=Rules(pins=(Pin("next", 5, "late"),)))
    assert ids(ask(colours, pinned, k=5))[0] == "far"


# Why


def test_a_match_says_which_pictures_met_and_what_is_shared(tmp_path):
    shop = Shop()
    shop.files = {f"{name}.png": png(np.full((8, 8, 3), (255, 0, blue))) for name, blue in SHADES.items()}
    shop.files["green.png"] = png(np.full((8, 8, 3), (0, 255, 0)))
    shop.put("asked", "green.png", "red.png", price=10, material="steel", sold=True, size=None)
    shop.put("found", "green.png", "near.png", price=10, material="glass", sold=1, size=None)
    shop.put("other", "fourth.png", price=3, material="glass")
    shop.put("unlike", "third.png", price=3)
    index(shop, tmp_path)
    query = Query(items=(Weighted("asked", 2.0), "other"), unlike=("unlike",), why=True)
    (match,) = vision_recs.open(tmp_path).answer(query)
    near, fourth, third = (np.array([255.0, 0.0, SHADES[name]]) for name in ("near", "fourth", "third"))

    def cosine(one, other):
        return pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-3)

    assert (match.id, match.picture) == ("found", "near.png")
    assert match.why == Why(
        parts=(
            PartScore("item", "asked", 2.0, cosine(near, np.array([255.0, 0.0, 0.0])), "red.png"),
            PartScore("item", "other", 1.0, cosine(near, fourth), "fourth.png"),
            PartScore("not", "unlike", 0.5, cosine(near, third), "third.png"),
        ),
        shared={"price": 10, "material": "glass"},
    )
    asked, other, unlike = (part.score for part in match.why.parts)
    assert match.score == pytest.approx((2 * asked + other - 0.5 * unlike) / 3, abs=1e-6)


def test_why_and_rules_are_said_together(colours):
    policy = rules(
        shifts=(Shift(Filter.parse("price > 40"), 0.5, "dear"),),
        relations=(Same("category"),),
        relax=("same.category",),
    )
    found = ask(colours, policy, why=True, k=5)
    by_id = {match.id: match.why for match in found}
    assert by_id["next"].moves == (Move("dear", by=0.5),)
    assert by_id["next"].relaxed == ("same.category",)
    assert by_id["near"].shared == {"category": "mug", "brand": "own", "variant_group": "x"}
    assert [part.picture for part in by_id["near"].parts] == ["red.png"]
    assert [match.why.parts[0].score for match in found] == [match.score for match in found]


def test_without_rules_and_without_asking_no_match_says_why(colours):
    assert [match.why for match in colours.similar("red", k=2)] == [None, None]
    assert [match.why for match in ask(colours, rules(), k=2)] == [Why(), Why()]

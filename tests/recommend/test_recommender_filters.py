"""Answers under a filter are those of a loop over every image of every item that matches, at every selectivity."""

import dataclasses
import random
import tempfile

import pytest
from fake_shop import FakeEncoder, Shop, content, image, index, ranking
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_shops import shops

import vision_recs
from vision_recs.errors import FilterError
from vision_recs.filters import Filter
from vision_recs.recommend import Policy, Query

EXPRESSIONS = [
    "price >= 0 or price is null",
    "price < 2",
    "price == 3",
    "color == 'red'",
    "color != 'red' and price > 1",
    "color in ['red', 'blue'] or in_stock",
    "not (in_stock or price is null)",
    "color.startswith('b')",
    "price > 99",
]


ATTRIBUTES = {
    "price": st.sampled_from([0, 1, 2, 3, 4.5, None]),
    "color": st.sampled_from(["red", "blue", "black", None]),
    "in_stock": st.booleans(),
}


def matching(held, where, query_items):
    """Return *held* without the items that do not match *where*, but with all *query_items*."""
    items = {item: each for item, each in held.items.items() if item in query_items or where.matches(each[0])}
    return dataclasses.replace(held, items=items)


def expected(held, where, query_items, k):
    """Return what a loop finds: the images of a query item that does not match hide no other's."""
    return ranking(matching(held, where, query_items), query_items, k, filtered=True)


@settings(deadline=None, max_examples=examples_of(60))
@given(shop=shops(14, ATTRIBUTES), data=st.data(), k=st.integers(1, 20))
def test_answers_are_those_of_a_loop_over_the_items_that_match(shop, data, k):
    query_items = data.draw(st.lists(st.sampled_from(sorted(shop.items)), min_size=1, max_size=3, unique=True))
    where = Filter.parse(data.draw(st.sampled_from(EXPRESSIONS)))
    with tempfile.TemporaryDirectory() as folder:
        index(shop, folder, FakeEncoder())
        opened = vision_recs.open(folder)
        held = content(opened.items)
        found = opened.similar(*query_items, k=k, where=where)
    wanted = expected(held, where, query_items, k)
    assert [(match.id, match.image) for match in found] == [(item, name) for item, name, _ in wanted]
    assert [match.score for match in found] == pytest.approx([score for _, _, score in wanted], abs=1e-6)
    assert all(where.matches(held.items[match.id][0]) for match in found)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three hundred items of which `rank < n` selects n; every fifth image is shared with the item before."""
    shop = Shop()
    draw = random.Random(0)
    ranks = draw.sample(range(300), 300)
    for number in range(300):
        shown = number - 1 if number % 5 == 4 else number
        shop.put(f"item{number:03}", shown, 1000 + number, rank=ranks[number])
    folder = tmp_path_factory.mktemp("large")
    index(shop, folder, shard_size=64)
    opened = vision_recs.open(folder)
    return opened, content(opened.items)


@pytest.mark.parametrize("selected", [300, 299, 150, 30, 10, 3, 1, 0])
def test_nothing_is_lost_at_any_selectivity(large, selected):
    opened, held = large
    where = Filter.parse(f"rank < {selected}")
    for query_items in (["item000"], ["item004", "item123"], ["item299"]):
        found = opened.similar(*query_items, k=20, where=where)
        wanted = expected(held, where, query_items, 20)
        assert [(m.id, m.image) for m in found] == [(item, name) for item, name, _ in wanted]
        assert [m.score for m in found] == pytest.approx([score for _, _, score in wanted], abs=1e-6)


def test_without_columns_the_answers_are_the_same(large):
    opened, _ = large
    wanted = opened.similar("item004", k=20, where="rank < 30")
    store = type(opened.items).open(opened.items.layout.root)
    store.__dict__["_columns"] = None
    again = type(opened)(store, opened.index)
    assert again.similar("item004", k=20, where="rank < 30") == wanted


def test_fewer_are_a_beginning_of_more_and_a_narrower_filter_gives_a_part(large):
    opened, _ = large
    wide = opened.similar("item010", k=300, where="rank < 100")
    for k in (1, 5, 50):
        assert opened.similar("item010", k=k, where="rank < 100") == wide[:k]
    narrow = opened.similar("item010", k=300, where="rank < 100 and rank >= 50")
    ids = {match.id for match in narrow}
    assert narrow == [match for match in wide if match.id in ids]


def test_with_a_filter_every_item_that_matches_and_shows_an_image_is_found(tmp_path):
    shop = Shop()
    shop.put("query", 0, price=1)
    shop.put("a-dear", 1, price=9)
    shop.put("b-cheap", 1, price=2)
    shop.put("c-cheap", 1, price=2)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    assert [match.id for match in opened.similar("query")] == ["a-dear"]
    found = opened.similar("query", where="price < 5")
    assert [(match.id, match.attributes) for match in found] == [("b-cheap", {"price": 2}), ("c-cheap", {"price": 2})]
    by_policy = opened.similar("query", policy=Policy(where=Filter.parse("price > 0")))
    assert [match.id for match in by_policy] == ["a-dear", "b-cheap", "c-cheap"]


def test_a_query_item_need_not_match_and_is_never_in_the_answer(tmp_path):
    shop = Shop()
    for number in range(4):
        shop.put(f"item{number}", number, price=number)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    assert {match.id for match in opened.similar("item3", where="price < 2")} == {"item0", "item1"}
    assert {match.id for match in opened.similar("item0", where="price < 2")} == {"item1"}
    assert opened.similar("item0", where="price == 0") == []
    assert opened.similar("item0", where="price > 100") == []


def test_a_query_by_image_has_a_filter_too(tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    shop = Shop()
    for number in range(6):
        shop.put(f"item{number}", number, price=number)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    found = opened.similar_to_image(image(5), k=2, where="price != 5")
    held = content(opened.items)
    del held.items["item5"]
    wanted = ranking(held, [], 2, images=[image(5)], filtered=True)
    assert [(m.id, round(m.score, 5)) for m in found] == [(item, round(score, 5)) for item, _, score in wanted]


def test_a_filter_may_be_given_as_text_or_read_before(tmp_path):
    shop = Shop()
    for number in range(4):
        shop.put(f"item{number}", number, price=number)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    where = vision_recs.Filter.parse("price < 2")
    wanted = opened.similar("item3", where="price < 2")
    assert opened.similar("item3", where=where) == wanted
    assert opened.query(Query(items=("item3",), where=where)) == wanted
    with pytest.raises(FilterError, match="filter, column 7: cannot read '='"):
        opened.similar("item3", where="price = 2")


def test_a_filter_holds_for_the_prices_of_its_generation(tmp_path):
    shop = Shop()
    for number in range(4):
        shop.put(f"item{number}", number, price=number)
    index(shop, tmp_path)
    before = vision_recs.open(tmp_path)
    shop.items["item1"].attributes["price"] = 50
    index(shop, tmp_path)
    after = vision_recs.open(tmp_path)
    assert {match.id for match in before.similar("item3", where="price < 2")} == {"item0", "item1"}
    assert {match.id for match in after.similar("item3", where="price < 2")} == {"item0"}

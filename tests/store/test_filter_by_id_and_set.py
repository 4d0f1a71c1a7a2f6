"""Filters on ids and on sets in a store, and values that no item has."""

import pytest
from fake_shop import Shop, index

from vision_recs.filters import Filter
from vision_recs.recommend import Policy, Query, Recommender
from vision_recs.store import Store


@pytest.fixture
def store(tmp_path):
    shop = Shop()
    shop.put("mug-1", 1, color="red", tags='["clay", "gift"]', price=3)
    shop.put("mug-2", 2, color="blue", tags="gift", price=5)
    shop.put("vase-1", 3, color="caf\u00e9", tags=None, price=7)
    shop.put("vase-\u00e9", 4, color=None, tags="[]", price=9)
    index(shop, tmp_path / "store")
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ('id == "mug-1"', ["mug-1"]),
        ('id != "mug-1"', ["mug-2", "vase-1", "vase-\u00e9"]),
        ('id in ["mug-2", "vase-1", "x"]', ["mug-2", "vase-1"]),
        ('id.startswith("mug") and price > 4', ["mug-2"]),
        ('id > "mug-2"', ["vase-1", "vase-\u00e9"]),
        ('id == "vase-e\u0301"', ["vase-\u00e9"]),
        ('"gift" in tags', ["mug-1", "mug-2"]),
        ('"gift" not in tags', ["vase-1", "vase-\u00e9"]),
        ('color == "cafe\u0301"', ["vase-1"]),
    ],
)
def test_ids_and_sets_are_filtered_alike_by_columns_and_by_items(store, expression, ids):
    where = Filter.parse(expression)
    positions = store.select(where).tolist()
    rows = store.filtered(where).rows(positions, limit=9)
    assert sorted(row.id for found in rows.values() for row in found) == ids
    assert sorted(store.items.positions_where(where, below=99)) == positions


def test_a_query_and_its_policy_take_ids_in_any_normal_form_and_filters_by_id(store):
    recommender = Recommender.of_store(store)
    query = Query(items=("vase-e\u0301",), where=Filter.parse('id.startswith("mug")'))
    assert sorted(match.id for match in recommender.query(query)) == ["mug-1", "mug-2"]
    query = Query(items=("mug-1",))
    others = recommender.query(query, Policy(exclude=frozenset({"vase-e\u0301"})))
    assert sorted(match.id for match in others) == ["mug-2", "vase-1"]


@pytest.mark.parametrize(
    ("expression", "sentences"),
    [
        ('color == "rde"', ["no item has 'rde' as color; the nearest is 'red'"]),
        ('color in ["red", "bleu"] or "clai" in tags', [
            "no item has 'bleu' as color; the nearest is 'blue'",
            "no item has 'clai' as tags; the nearest is 'clay'",
        ]),
        ('color == "zzzzzz"', ["no item has 'zzzzzz' as color"]),
        ('color == "red" and "clay" in tags and price > 3 and color.startswith("x") and id == "mog-1"', []),
    ],
)  # fmt: skip
def test_a_value_that_no_item_has_is_told_with_the_nearest_one(store, expression, sentences):
    assert store.unknown_values(Filter.parse(expression)) == sentences

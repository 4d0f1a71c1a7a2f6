"""Facets: which attributes there are to filter by, and how many of the items that are left have each value."""

import random

import pytest
from fake_shop import Shop, index

from vision_recs.filters import Filter
from vision_recs.filters.ast import elements
from vision_recs.jobs import update
from vision_recs.serve.facets import ItemFacets
from vision_recs.serve.listing import Page, list_items
from vision_recs.serve.search_files import open_item_table
from vision_recs.store import Store, writer
from vision_recs.store.attributes.table import ItemTable


class Listed(dict):
    """Items in memory: id -> attributes."""

    def ids(self, *, after="", limit=None):
        return [item for item in sorted(self) if item > after][:limit]

    def attributes_of(self, items):
        return {item: self[item] for item in items}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))


def facets_of(items, name="items"):
    return ItemFacets(open_item_table(Listed(items), name=name))


def test_facets_count_values_and_leave_out_attributes_that_nobody_filters_by():
    items = {}
    for number in range(100):
        every = {
            "color": ["red", "blue", None][number % 3],
            "sale": number % 4 == 0,
            "title": f"item {number}",
            "price": float(number),
            "one": "same",
            "mixed": "text" if number % 2 else 1,
            "family": f"family {number % 35}" if number < 40 else None,
            "tags": [None, "new", '["new", "red"]', '["red", "red", 7]', "[]"][number % 5],
            "note": ["Dishwasher safe. " * 6, "x"][number % 2],
            "url": f"https://shop.example/{number % 3}",
            "brand": f"brand {number % 45}",
        }
        items[f"{number:03}"] = {name: value for name, value in every.items() if value is not None}
    facets = {facet.name: facet for facet in facets_of(items).every}
    assert set(facets) == {"color", "sale", "price", "tags", "brand"}
    assert (facets["tags"].kind, facets["tags"].items) == ("set", 60)
    assert facets["tags"].counts == [("new", 40), ("red", 40)]
    assert facets["color"].counts == [("red", 34), ("blue", 33)]
    assert facets["sale"].counts == [(False, 75), (True, 25)]
    assert len(facets["brand"].counts) == 45
    assert (facets["price"].min, facets["price"].max, sum(facets["price"].histogram)) == (0.0, 99.0, 100)
    assert facets["price"].histogram[:2] == [3, 2]


def random_items(chance, count):
    items = {}
    for number in range(count):
        every = {
            "color": chance.choice(["red", "blue", "green", None]),
            "tags": chance.choice(['["a"]', '["a", "b"]', "b", "[]", None]),
            "sale": chance.choice([True, False, None]),
            "price": chance.choice([chance.randint(1, 40) / 2, None]),
        }
        items[f"item{number:03}"] = {name: value for name, value in every.items() if value is not None}
    return items


PARTS = ['color in ["red", "blue"]', '"a" in tags', "sale", "5 <= price <= 15", '(color == "red" or price < 4)']


@pytest.mark.parametrize("seed", range(4))
def test_the_counts_are_those_of_what_the_other_parts_of_the_filter_leave(seed):
    chance = random.Random(seed)
    items = random_items(chance, 80)
    counted = facets_of(items)
    parts = chance.sample(PARTS, chance.randint(1, 4))
    found = chance.sample(sorted(items), 50) if seed % 2 else None
    total, facets = counted.left(Filter.parse(" and ".join(parts)), found)

    def left(ignored=None):
        kept = [Filter.parse(part) for part in parts]
        kept = [part for part in kept if part.attributes != {ignored}]
        return [
            values
            for item, values in items.items()
            if (found is None or item in found) and all(part.matches(values) for part in kept)
        ]

    assert total == len(left())
    for facet in facets:
        values = [each[facet.name] for each in left(facet.name) if facet.name in each]
        if facet.kind == "number":
            assert (facet.items, sum(facet.histogram)) == (len(values), len(values))
            continue
        flat = [element for value in values for element in set(elements(value))]
        assert dict(facet.counts) == {value: flat.count(value) for value in flat}


def test_a_table_follows_deltas_and_puts_their_items_in_their_places(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 1.0)
    shop = Shop()
    for number in range(9):
        shop.put(f"item{number}", number, price=number, color="red" if number % 2 else "blue")
    index(shop, tmp_path / "store")
    update([{"id": "item3", "price": 90}, {"id": "item5", "deleted": True}], tmp_path / "store")
    update([{"id": "item3", "color": "green"}, {"id": "item0", "price": 7.5}], tmp_path / "store")
    with Store.open(tmp_path / "store") as store:
        assert len(store.attribute_columns()) > 1
        table = ItemTable(store.attribute_columns())
        ids = ["item0", "item1", "item2", "item3", "item4", "item6", "item7", "item8"]
        assert table.ids(table.by_id) == ids
        assert table.ids(table.rows_of(["item3", "item5", "nobody", "item0"])) == ["item3", "item0"]
        ordered = table.ids(table.ordered(table.by_id, "price"))
        assert ordered == ["item1", "item2", "item4", "item6", "item7", "item0", "item8", "item3"]
        assert table.ids(table.ordered(table.by_id, "color", descending=True))[-1] != "item3"
        assert table.ids(table.ordered(table.by_id, "color", descending=True))[0] == "item1"
        facets = {facet.name: facet for facet in ItemFacets(table).every}
        assert (facets["price"].items, facets["price"].max) == (8, 90.0)
        anew = open_item_table(Listed({item: store.attributes(item) for item in ids}), name="anew")
        assert ItemFacets(anew).every == ItemFacets(table).every


def test_a_list_by_price_is_in_the_order_of_what_is_paid():
    prices: dict[str, dict[str, object]] = {
        "a": {"price": 30},
        "b": {"price": 50, "sale_price": 20},
        "c": {"price": 10, "sale_price": 40},
        "d": {"sale_price": 25},
        "z": {"price": 35, "sale_price": 0},
        "e": {"price": "on request"},
        "f": {},
    }
    table = open_item_table(Listed(prices), name="sales")
    assert list_items(table, None, Page(0, 9, "price")).ids == ["c", "b", "d", "a", "z", "e", "f"]
    assert list_items(table, None, Page(0, 9, "-price")).ids == ["z", "a", "d", "b", "c", "e", "f"]
    assert list_items(table, None, Page(0, 9, "sale_price")).ids == ["z", "b", "d", "c", "a", "e", "f"]


@pytest.mark.parametrize("seed", range(3))
def test_prices_are_counted_and_filtered_by_what_is_paid(seed):
    chance = random.Random(seed)
    items = {
        f"item{number:03}": {
            name: chance.randint(least, 60) / 2
            for name, share, least in (("price", 0.9, 1), ("sale_price", 0.4, -9))
            if chance.random() < share
        }
        | {"color": chance.choice(["red", "blue"])}
        for number in range(120)
    }
    sales = {item: each.get("sale_price", 0) for item, each in items.items()}
    paid = {item: min(each.get("price", 99), sales[item] if sales[item] > 0 else 99) for item, each in items.items()}
    paid = {item: price for item, price in paid.items() if price < 99}
    counted = facets_of(items, name=f"sales {seed}")
    every = {facet.name: facet for facet in counted.every}
    assert every["price"].lower == "sale_price"
    assert every["sale_price"].lower is None
    assert (every["price"].min, every["price"].max) == (min(paid.values()), max(paid.values()))
    assert (every["price"].items, sum(every["price"].histogram)) == (len(paid), len(paid))
    low, high = sorted(chance.sample(range(1, 30), 2))
    where = Filter.parse(
        f"(price <= {high} or 0 < sale_price <= {high}) and not price < {low} and not 0 < sale_price < {low}"
        ' and color == "red"'
    )
    inside = {item for item, price in paid.items() if low <= price <= high and items[item]["color"] == "red"}
    assert set(list_items(counted.table, where, Page(0, 200)).ids) == inside
    total, left = counted.left(where)
    facets = {facet.name: facet for facet in left}
    assert total == len(inside)
    red = [item for item in paid if items[item]["color"] == "red"]
    assert sum(facets["price"].histogram) == len(red)  # the range does not restrict its own facet
    blue = [item for item, price in paid.items() if low <= price <= high and items[item]["color"] == "blue"]
    assert dict(facets["color"].counts) == {
        color: len(which) for color, which in (("red", inside), ("blue", blue)) if which
    }


def test_without_sale_prices_nothing_is_lower():
    items = {f"item{number}": {"price": number, "sale_price": "soon"} for number in range(9)}
    facets = {facet.name: facet for facet in facets_of(items, name="no sales").every}
    assert (facets["price"].lower, facets["price"].items) == (None, 9)


def test_items_of_several_stores_are_one_table():
    one, other = ({f"{letter}{number}": {"price": number + 1} for number in range(3)} for letter in "ab")
    tables = [open_item_table(Listed(items), name=name) for name, items in (("1", one), ("2", other))]
    both = ItemTable(*(store for table in tables for store in table._stores))
    assert both.ids(both.by_id) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert both.ids(both.ordered(both.by_id, "price", descending=True)) == ["a2", "b2", "a1", "b1", "a0", "b0"]
    assert both.ids(both.ordered(both.by_id, "nothing", lower="price")) == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert both.ids(both.by_id[both.matching(Filter.parse("price >= 2"))[both.by_id]]) == ["a1", "a2", "b1", "b2"]


def test_without_a_cache_the_table_is_made_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "file"))
    table = open_item_table(Listed(a={"color": "red"}), name="anew")
    assert table.ids(table.by_id) == ["a"]

"""Many items are read and compared as a whole: the answer is that of reading them one by one, or none."""

import json

import numpy as np
import pytest
from fake_shop import index, shop_of

from vision_recs.jobs import update
from vision_recs.store import Store, writer
from vision_recs.store.staging import attributes_text, is_list_of


@pytest.fixture
def shop():
    shop = shop_of(9)
    shop.put("item003", 3, 30, image_attributes=({"view": "front"}, {}), price=3)
    shop.put("z\U0001f600", 40, title="größe")
    return shop


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


def expected(stored, items):
    known = stored.items(items)
    rows = [(item, image.image, image.attributes, image.signature) for item in items for image in known[item].images]
    return (",".join(known[item].attributes for item in items), *map(list, zip(*rows, strict=True)))


@pytest.mark.parametrize(
    "items",
    [
        ["item003"],
        [f"item00{number}" for number in range(9)],
        [f"item00{number}" for number in (1, 3, 4)],
        [f"item00{number}" for number in (8, 3, 1)],
        ["item007", "item008", "z\U0001f600"],
    ],
)
def test_a_page_is_what_is_stored_of_its_items_in_their_order(store, items):
    with Store.open(store) as opened:
        assert opened.items.stored.page(items) == expected(opened.items.stored, items)


@pytest.mark.parametrize("items", [["item003", "nobody"], ["nobody"], ["half \ud800"]])
def test_there_is_no_page_of_other_items(store, items):
    with Store.open(store) as opened:
        assert opened.items.stored.page(items) is None


def test_there_is_no_page_where_an_image_has_no_vector_or_its_name_holds_the_separator(shop, tmp_path):
    shop.files["broken.png"] = b"no image"
    shop.put("item004", 4, "broken.png")
    shop.files["a\0b"] = shop.files["5.png"]
    shop.put("item005", "a\0b")
    index(shop, tmp_path / "store")
    with Store.open(tmp_path / "store") as opened:
        stored = opened.items.stored
        assert stored.page(["item003", "item004"]) is None
        assert stored.page(["item006", "item004"]) is None
        assert stored.page(["item005"]) is None
        assert stored.page(["item006", "item007"]) is not None


def test_there_is_no_page_of_items_that_a_delta_holds(store, monkeypatch):
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 50)
    update([{"id": "item003", "price": 5}], store)
    with Store.open(store) as opened:
        assert opened.items.stored.page(["item003"]) is None
        assert opened.items.stored.page(["item006"]) == expected(opened.items.stored, ["item006"])


VALUES = [
    {},
    {"a": 1, "b": 1.0, "c": True, "d": None, "e": 'größe " \\ \n \x01 \u2028 \U0001f600'},
    {"tiny": 1e-7, "huge": 1e22, "long": 12345678901234567890, "many": 0.1 + 0.2},
    {"numpy": np.float64(2.5)},
]


@pytest.mark.parametrize("values", [[each] for each in VALUES] + [VALUES])
def test_texts_are_the_same_where_each_of_them_is(values):
    text = ",".join(map(attributes_text, values))
    assert is_list_of(values, text)
    assert not is_list_of(values, text[:-1] + " }")


@pytest.mark.parametrize(("value", "other"), [(1, 1.0), (1, True), (None, 0), ("1", 1), (0.1, 0.2), ("é", "e\u0301")])
def test_values_of_other_types_are_not_the_same(value, other):
    assert not is_list_of([{"a": value}], json.dumps({"a": other}, separators=(",", ":"), ensure_ascii=False))
    assert not is_list_of([{"a": other}], json.dumps({"a": value}, separators=(",", ":"), ensure_ascii=False))

"""A Recommender needs no store: items in memory give the answers that a store of the same items gives."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, image, index
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_items import MemoryItems
from property_examples import examples_of
from random_shops import shops

import vision_recs
from vision_recs.errors import FilterError, StoreDamaged, UnknownItem
from vision_recs.filters import Filter
from vision_recs.indexes import ExactIndex
from vision_recs.recommend import Event, History, Policy, Query, Recommender, Rules
from vision_recs.recommend.rules import Boost, Exclude, Pin, Same
from vision_recs.store import Store

ATTRIBUTES = {
    "price": st.sampled_from([1, 2, 3, None]),
    "in_stock": st.booleans(),
    "variant_group": st.sampled_from(["a", "b", None]),
}
RULES = Rules(
    exclude=(Exclude(Filter.parse("price == 3")),),
    boosts=(Boost(Filter.parse("in_stock"), 0.2, "in stock"),),
    pins=(Pin("item01", 2, "pin"),),
    attribute_rules=(Same("in_stock"),),
    fallbacks=("same.in_stock", "one_per"),
)


@pytest.fixture(autouse=True)
def _encoders_by_name(monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))


@settings(deadline=None, max_examples=examples_of(25))
@given(shop=shops(12, ATTRIBUTES), data=st.data())
def test_items_in_memory_give_the_answers_of_a_store(shop, data):
    items = MemoryItems(shop)
    in_memory = Recommender(items, ExactIndex(items))
    known = st.sampled_from(sorted(shop.items))
    with tempfile.TemporaryDirectory() as folder:
        index(shop, Path(folder), FakeEncoder())
        from_store = vision_recs.open(folder)
        for _ in range(3):
            policy = data.draw(
                st.builds(
                    Policy,
                    one_per=st.sampled_from(["variant_group", None]),
                    diversity=st.sampled_from([0.0, 0.5]),
                    rules=st.sampled_from([None, RULES]),
                )
            )
            query = Query(
                items=tuple(data.draw(st.lists(known, min_size=1, max_size=2, unique=True))),
                where=data.draw(st.sampled_from([None, Filter.parse("price < 3"), Filter.parse("not in_stock")])),
                k=data.draw(st.integers(1, 9)),
                explain=data.draw(st.booleans()),
            )
            assert in_memory.query(query, policy) == from_store.query(query, policy)


@pytest.fixture
def shop():
    shop = Shop()
    for number in range(6):
        shop.put(f"item{number}", number, price=number, image_attributes=[{"view": number}])
    return shop


@pytest.fixture
def in_memory(shop):
    items = MemoryItems(shop)
    return Recommender(items, ExactIndex(items))


def test_images_histories_and_batches_need_no_store_either(shop, in_memory, tmp_path):
    index(shop, tmp_path)
    from_store = vision_recs.open(tmp_path)
    history = Query(history=History((Event("item1"), Event("item4"), Event("gone"))))
    for query in (Query(images=(image(3),)), history, Query(items=("item0",), negatives=("item5",))):
        assert in_memory.query(query) == from_store.query(query)
    pairs = [(Query(items=(item,), k=2), Policy()) for item in shop.items]
    assert in_memory.query_batch(pairs) == from_store.query_batch(pairs)
    assert in_memory.similar("item0", k=1)[0].attributes.keys() == {"price", "view"}


def test_what_is_not_there_is_named(in_memory):
    with pytest.raises(UnknownItem) as raised:
        in_memory.similar("item9")
    assert raised.value.item == "item9"
    with pytest.raises(FilterError, match="no item has the attribute 'prize'"):
        in_memory.similar("item0", where="prize < 3")


def test_an_item_that_the_index_finds_and_the_items_lack_is_damage(shop, in_memory, monkeypatch):
    del shop.items["item3"]
    monkeypatch.setattr(in_memory.items, "match_attributes", lambda images: [None for _ in images])
    with pytest.raises(StoreDamaged, match="the item 'item3' was found, but is not in the store; run `visrec verify`"):
        in_memory.similar("item0")
    with pytest.raises(StoreDamaged, match=r"has no image [0-9]\.png, by which it was found; run `visrec verify`"):
        in_memory.similar("item0", policy=Policy(one_per=None))


def test_a_store_gives_its_items_by_pages_and_by_digests(shop, tmp_path):
    index(shop, tmp_path)
    store, items = Store.open(tmp_path), MemoryItems(shop)
    assert store.ids() == items.ids() == sorted(shop.items)
    assert store.ids(after="item2", limit=2) == items.ids(after="item2", limit=2) == ["item3", "item4"]
    assert store.attributes_of(["item4", "gone", "item1"]) == {"item4": {"price": 4}, "item1": {"price": 1}}
    assert (store.item_count, store.image_count) == (6, 6)
    digests = [store.images(item)[0].digest for item in ("item3", "item0", "item3")]
    assert np.array_equal(store.vectors_of(digests), items.vectors_of(digests))
    assert [len(store.sample_vectors(count)) for count in (1, 2, 4, 6, 99)] == [1, 2, 3, 6, 6]
    assert store.attribute_types() == items.attribute_types()

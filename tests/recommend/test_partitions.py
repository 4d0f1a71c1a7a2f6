"""Several partitions answer as one store of all items: compared with that store on random shops, splits and queries."""

import zlib

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_items import MemoryItems
from property_examples import examples_of
from random_shops import shops

from vision_recs.errors import FilterError, PolicyError, SpaceMismatch, StoreError, UnknownItem, ZeroVector
from vision_recs.filters import Filter
from vision_recs.indexes import ExactIndex
from vision_recs.recommend import Event, History, Policy, Query, Recommender, Rules
from vision_recs.recommend.partitions import PartitionedIndex, PartitionedItems, require_disjoint
from vision_recs.recommend.rules import Boost, Exclude, Pin, Same
from vision_recs.types import SearchRequest

ATTRIBUTES = {
    "price": st.sampled_from([1, 2, 3.5, "soon", None]),
    "in_stock": st.booleans(),
    "variant_group": st.sampled_from(["a", "b", None]),
    "tags": st.sampled_from(['["red", "new"]', "red", None]),
}
FILTERS = [
    None,
    "price < 3",
    'price == "soon"',
    "not in_stock",
    '"red" in tags',
    'price in [1, "soon"] or tags is null',
    'id != "item01"',
]
RULES = Rules(
    exclude=(Exclude(Filter.parse("price == 3.5")),),
    boosts=(Boost(Filter.parse("in_stock"), 0.2, "in stock"),),
    pins=(Pin("item01", 2, "pin"),),
    attribute_rules=(Same("in_stock"),),
    fallbacks=("same.in_stock", "one_per"),
)


@pytest.fixture(autouse=True)
def _encoders_by_name(monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))


def parts_of(shop, count):
    """Return the items of *shop* in at most *count* partitions, none of them empty."""
    split = [Shop() for _ in range(count)]
    for part in split:
        part.files = shop.files
    for item in shop.items.values():
        split[zlib.crc32(item.id.encode()) % count].items[item.id] = item
    return [MemoryItems(only_shown(part)) for part in split if part.items]


def only_shown(shop):
    shown = {name for item in shop.items.values() for name in item.images}
    shop.files = {name: data for name, data in shop.files.items() if name in shown}
    return shop


def together(shop, count):
    items = PartitionedItems(parts_of(shop, count))
    return Recommender(items, PartitionedIndex(items, [ExactIndex(part) for part in items.partitions]))


@settings(deadline=None, max_examples=examples_of(30))
@given(shop=shops(12, ATTRIBUTES), count=st.integers(1, 4), data=st.data())
def test_partitions_answer_as_one_store_of_all_items(shop, count, data):
    every = MemoryItems(shop)
    one, several = Recommender(every, ExactIndex(every)), together(shop, count)
    known = st.sampled_from(sorted(shop.items))
    for _ in range(3):
        policy = data.draw(
            st.builds(
                Policy,
                one_per=st.sampled_from(["variant_group", "price", None]),
                diversity=st.sampled_from([0.0, 0.5]),
                rules=st.sampled_from([None, RULES]),
            )
        )
        where = data.draw(st.sampled_from(FILTERS))
        items, negatives = (data.draw(st.lists(known, min_size=least, max_size=2, unique=True)) for least in (1, 0))
        query = Query(
            items=tuple(items),
            negatives=tuple(item for item in negatives if item not in items),
            where=None if where is None else Filter.parse(where),
            k=data.draw(st.integers(1, 9)),
            explain=data.draw(st.booleans()),
        )
        assert outcome(several, query, policy) == outcome(one, query, policy)


def outcome(recommender, query, policy):
    try:
        return recommender.query(query, policy)
    except (FilterError, PolicyError) as error:
        return str(error)


@settings(deadline=None, max_examples=examples_of(25))
@given(shop=shops(12, ATTRIBUTES), count=st.integers(2, 4), k=st.integers(1, 20), data=st.data())
def test_the_index_finds_groups_and_leaves_out_what_is_excluded_as_one_index_does(shop, count, k, data):
    items = MemoryItems(shop)
    queries = items.every[: data.draw(st.integers(1, 3))]
    excluded = data.draw(st.frozensets(st.sampled_from(sorted(shop.items))))
    request = SearchRequest(queries, k, exclude=excluded, group_by=data.draw(st.sampled_from([None, "price"])))
    assert together(shop, count).index.search(request) == ExactIndex(items).search(request)


@pytest.fixture
def shop():
    shop = Shop()
    for number in range(9):
        shop.put(f"item{number}", number, price=number, image_attributes=[{"view": number}])
    return shop


def test_items_are_those_of_all_partitions(shop):
    items, one = together(shop, 3).items, MemoryItems(shop)
    assert len(items.partitions) == 3
    assert (items.item_count, items.image_count, items.generation) == (9, 9, 21)
    assert items.ids() == one.ids()
    assert items.ids(after="item3", limit=2) == ["item4", "item5"]
    assert items.attributes_of(["item7", "gone", "item1"]) == {"item7": {"price": 7}, "item1": {"price": 1}}
    pairs = [(item, one.images(item)[0].image) for item in ("item4", "item0")]
    found = items.match_attributes([*pairs, ("gone", "0.png")])
    assert found == [{"price": 4, "view": 4}, {"price": 0, "view": 0}, None]
    digests = [one.images(item)[0].digest for item in ("item5", "item2", "item5", "item8")]
    assert np.array_equal(items.vectors_of(digests), one.vectors_of(digests))  # nothing is remembered of them yet
    assert items.vectors_of([]).shape == (0, one.dim)
    assert {tuple(row) for row in items.sample_vectors(99)} == {tuple(row) for row in one.every}
    assert len(items.sample_vectors(3)) == 3


def test_histories_images_and_batches_are_answered(shop):
    several, one = together(shop, 3), Recommender(MemoryItems(shop), ExactIndex(MemoryItems(shop)))
    history = Query(history=History((Event("item1"), Event("item4"), Event("gone"))))
    for query in (history, Query(images=(shop.files["3.png"],), k=4)):
        assert several.query(query) == one.query(query)
    pairs = [(Query(items=(item,), k=3), Policy()) for item in shop.items]
    assert several.query_batch(pairs) == one.query_batch(pairs)


def test_the_nearest_ids_of_all_partitions_are_named(shop):
    with pytest.raises(UnknownItem, match="no item has the id 'itm8'; the nearest are item8") as raised:
        together(shop, 3).similar("itm8")
    assert raised.value.nearest[0] == "item8"


def test_wrong_queries_are_refused_also_where_no_partition_has_a_match(shop):
    index = together(shop, 3).index
    for where in (None, Filter.parse("price > 99")):
        with pytest.raises(ZeroVector):
            index.search(SearchRequest(np.zeros((1, 12), np.float32), 1, where=where))
    with pytest.raises(FilterError, match="no item has the attribute 'prize'"):
        index.search(SearchRequest(np.ones((1, 12), np.float32), 1, where=Filter.parse("prize < 3")))


def test_partitions_of_other_spaces_or_with_items_in_common_are_refused(shop):
    first, second, *_ = parts_of(shop, 3)
    require_disjoint({"one": first, "two": second})
    with pytest.raises(StoreError, match=r"the item 'item\d' is in one and in two; stores that are searched together"):
        require_disjoint({"one": first, "two": MemoryItems(shop)})
    second.fingerprint = "another"
    with pytest.raises(SpaceMismatch, match="need vectors of one space"):
        PartitionedItems([first, second])

"""Cached items are the items of the store, whatever is in the cache."""

import pytest
from fake_shop import index, shop_of

from vision_recs import Filter
from vision_recs.errors import UnknownItem
from vision_recs.serve.cached_items import CachedItems
from vision_recs.store import Store


@pytest.fixture
def store(tmp_path):
    shop = shop_of(40)
    for number in range(0, 40, 3):
        shop.put(f"twin{number:03}", number, 100 + number)  # two items show the same image
    index(shop, tmp_path)
    with Store.open(tmp_path) as store:
        yield store


@pytest.mark.parametrize("max_entries", [1, 7, 10_000])
def test_what_is_cached_is_what_the_store_has(store, max_entries):
    cached = CachedItems(store, max_entries=max_entries)
    ids, positions = store.ids(), store.positions().tolist()
    digests = [row.digest for rows in store.rows(positions, limit=1).values() for row in rows]
    images = [(item, image.image) for item in ids for image in store.images(item)] + [("nobody", "1.png")]
    where = Filter.parse("price < 20")
    for _ in range(2):
        assert cached.attributes_of([*ids, "nobody"]) == store.attributes_of(ids)
        for item in ids:
            assert cached.images(item) == store.images(item)
        assert cached.match_attributes(images) == store.match_attributes(images)
        for start in range(0, len(positions), 9):
            some, names = positions[start : start + 12], digests[start : start + 12]
            assert cached.rows(some, limit=1) == store.rows(some, limit=1)
            assert cached.rows(some, limit=2) == store.rows(some, limit=2)
            assert cached.filtered(where).rows(some, limit=2) == store.filtered(where).rows(some, limit=2)
            assert cached.positions_of(names) == store.positions_of(names)
            assert (cached.vectors_of(names) == store.vectors_of(names)).all()
    assert max(len(entries) for entries in (cached._known, *cached._rows.values(), cached._positions)) <= max_entries
    assert (cached.generation, cached.item_count, cached.image_count) == (1, 54, store.image_count)


def test_what_was_read_once_is_not_read_again(store):
    cached = CachedItems(store)
    (image,) = cached.images("item007")
    answers = [
        (cached.attributes_of, (["item007"],)),
        (cached.match_attributes, ([("item007", image.image)],)),
        (cached.positions_of, ([image.digest],)),
        (cached.images, ("item007",)),
    ]
    expected = [method(*arguments) for method, arguments in answers]
    rows = cached.rows([3, 4], limit=2)
    store.items.close()
    assert [method(*arguments) for method, arguments in answers] == expected
    assert cached.rows([4, 3], limit=2) == rows


def test_unknown_items_are_not_kept(store):
    cached = CachedItems(store)
    for _ in range(2):
        assert cached.attributes_of(["nobody"]) == {}
        with pytest.raises(UnknownItem, match="nobody"):
            cached.images("nobody")
    assert "nobody" not in cached._known

"""Remembered items are the items."""

import pytest
from fake_shop import index, shop_of

from vision_recs.serve.cached_items import RememberedItems
from vision_recs.store import Store
from vision_recs.store.items import Items


@pytest.mark.parametrize("most", [1, 7, 10_000])
def test_what_is_remembered_is_what_is_read(tmp_path, most):
    shop = shop_of(40)
    for number in range(0, 40, 3):
        shop.put(f"twin{number:03}", number, 100 + number)  # two items show the same image
    index(shop, tmp_path)
    store = Store.open(tmp_path)
    path = store.layout.items(1)
    plain, remembered = Items(path), RememberedItems(path, most=most)
    ids, positions = [*plain.ids(), "nobody"], store.positions().tolist()
    digests = [row.digest for rows in plain.rows(positions, 1).values() for row in rows]
    for _ in range(2):
        for item in ids:
            assert remembered.attributes(item) == plain.attributes(item)
            assert remembered.images(item) == plain.images(item)
        shown = [(item, image.image) for item in ids for image in plain.images(item)] + [("nobody", "1.png")]
        assert remembered.match_attributes(shown) == plain.match_attributes(shown)
        assert remembered.attributes_of(ids) == plain.attributes_of(ids)
        for start in range(0, len(positions), 9):
            some = positions[start : start + 12]
            assert remembered.rows(iter(some), 1) == plain.rows(some, 1)
            assert remembered.rows(some, 2) == plain.rows(some, 2)
            assert remembered.positions(iter(digests[start : start + 12])) == plain.positions(
                digests[start : start + 12]
            )
    for items in (plain, remembered):
        items.close()
    if most < len(ids):
        assert len(remembered._attributes_of) == most
    else:  # of a closed file
        assert remembered.attributes("item007") == {"price": 7}
    store.close()

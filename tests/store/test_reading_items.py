"""Reading several rows at once, against what was put into the catalog."""

import tempfile

from fake_shop import FakeEncoder, Shop, index
from hypothesis import example, given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_shops import cells

from vision_recs.filters import Filter
from vision_recs.store import Store

NAMES = ["a", "Z", "mug-01", 'quo"te', "o'clock", "ümlaut", "日本", "😀", "tab\there", "[1]", "\\n", "%_"]


def shop_of(shown):
    """Return a shop of which each item shows some of five images, which others may show too."""
    shop = Shop()
    shop.files = {f"{number}.png": cells((10 + 40 * number, 20, 30, 40)) for number in range(5)}
    for number, (name, images) in enumerate(shown.items()):
        own = [{"view": f"{name} {image}"} if image % 2 else {} for image in images]
        shop.put(name, *(f"{image}.png" for image in images), image_attributes=own, price=number)
    return shop


@settings(deadline=None, max_examples=examples_of(30))
@given(
    shown=st.dictionaries(
        st.sampled_from(NAMES), st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True), min_size=1
    ),
    wanted=st.lists(st.integers(0, 4), max_size=6),
    limit=st.integers(1, 5),
)
@example(shown={name: [0] for name in NAMES}, wanted=[0, 0], limit=3)
def test_rows_and_what_they_show_are_those_of_the_catalog(shown, wanted, limit):
    with tempfile.TemporaryDirectory() as folder:
        index(shop_of(shown), folder, FakeEncoder())
        store = Store.open(folder)
        digest_of = {image.image: image.digest for item in shown for image in store.images(item)}
        position_of = store.positions_of(digest_of.values())
        at = {image: position_of[digest] for image, digest in digest_of.items()}
        positions = [at[f"{number}.png"] for number in wanted if f"{number}.png" in at]
        found = store.items.rows(positions, limit)
        assert {position: [row.id for row in rows] for position, rows in found.items()} == {
            at[f"{number}.png"]: sorted(name for name, images in shown.items() if number in images)[:limit]
            for number in wanted
            if f"{number}.png" in at
        }
        pairs = [(name, f"{number}.png") for name in [*shown, "nobody"] for number in range(5)]
        expected = [
            {"price": list(shown).index(name), **({"view": f"{name} {number}"} if number % 2 else {})}
            if number in shown.get(name, [])
            else None
            for name in [*shown, "nobody"]
            for number in range(5)
        ]
        assert store.items.match_attributes(pairs) == expected
        store.close()


def test_positions_may_be_integers_of_numpy(tmp_path):
    index(shop_of({"a": [0, 1], "b": [1, 2]}), tmp_path, FakeEncoder())
    store = Store.open(tmp_path)
    positions = store.positions()
    for source in (store, store.filtered(Filter.parse("price < 2"))):
        rows = source.rows(positions, limit=1)
        assert {int(position): [row.id for row in found] for position, found in rows.items()} == {
            0: ["a"],
            1: ["a"],
            2: ["b"],
        }
    some = store.filtered(Filter.parse("price == 1")).rows(positions, limit=2)
    assert [[row.id for row in some[position]] for position in positions] == [[], ["b"], ["b"]]


def test_who_changes_what_was_read_changes_nothing_for_others(tmp_path):
    index(shop_of({"a": [1]}), tmp_path, FakeEncoder())
    with Store.open(tmp_path) as store:
        for _ in range(2):
            (image,) = store.images("a")
            attributes = store.attributes_of(["a"])["a"]
            assert (image.attributes, attributes) == ({"view": "a 1"}, {"price": 0})
            image.attributes["view"] = attributes["price"] = "changed"
        assert store.match_attributes([("a", "1.png")]) == [{"price": 0, "view": "a 1"}]

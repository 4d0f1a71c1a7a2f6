"""Reading several rows at once, against what was put into the catalogue."""

import tempfile

from fake_shop import FakeEncoder, Shop, index
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_shops import cells

from vision_recs.store import Store

NAMES = ["a", "Z", "mug-01", 'quo"te', "o'clock", "ümlaut", "日本", "😀", "tab\there", "[1]", "\\n", "%_"]


def shop_of(shown):
    """Return a shop of which each item shows some of five pictures, which others may show too."""
    shop = Shop()
    shop.files = {f"{number}.png": cells((10 + 40 * number, 20, 30, 40)) for number in range(5)}
    for number, (name, pictures) in enumerate(shown.items()):
        own = [{"view": f"{name} {picture}"} if picture % 2 else {} for picture in pictures]
        shop.put(name, *(f"{picture}.png" for picture in pictures), picture_attributes=own, price=number)
    return shop


@settings(deadline=None, max_examples=30)
@given(
    shown=st.dictionaries(
        st.sampled_from(NAMES), st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True), min_size=1
    ),
    asked=st.lists(st.integers(0, 4), max_size=6),
    limit=st.integers(1, 5),
)
@example(shown={name: [0] for name in NAMES}, asked=[0, 0], limit=3)
def test_rows_and_what_they_show_are_those_of_the_catalogue(shown, asked, limit):
    with tempfile.TemporaryDirectory() as folder:
        index(shop_of(shown), folder, FakeEncoder())
        store = Store.open(folder)
        at = {picture.picture: picture.position for item in shown for picture in store.pictures(item)}
        positions = [at[f"{number}.png"] for number in asked if f"{number}.png" in at]
        found = store.items.rows(positions, limit)
        assert {position: [row.id for row in rows] for position, rows in found.items()} == {
            at[f"{number}.png"]: sorted(name for name, pictures in shown.items() if number in pictures)[:limit]
            for number in asked
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
        assert store.items.shown(pairs) == expected
        store.close()

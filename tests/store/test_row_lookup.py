"""From positions to the items that show them, and what filters say of these, against the items themselves."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fake_shop import Shop, index
from random_shops import cells

import vision_recs
from vision_recs.errors import StoreDamaged
from vision_recs.filters import Filter
from vision_recs.jobs import verify
from vision_recs.store import Store, writer
from vision_recs.store.attributes.lookup import RowLookup
from vision_recs.store.attributes.write import write_attribute_columns

FILTERS = [
    "price < 15",
    "price >= 9007199254740993",
    "price == 9007199254740993",
    "not (price > 3 and price < 12)",
    'color == "red" or price < 4',
    'color in ["red", "blue"]',
    'id == "item03" or id.startswith("item1")',
    "in_stock",
    "in_stock is null",
    'title.contains("9")',
    "rare == 5",
    "rare is not null and price < 18",
]


def shop_of_two_generations():
    """A hundred items whose images up to three of them share; in the second generation some differ, and one went."""
    shop = Shop()
    shop.files = {f"{number}.png": cells((10 + number, 20, 30, 40)) for number in range(100)}
    for number in range(100):
        names = [f"{number}.png", "3.png", "4.png"] if number % 5 == 0 else [f"{number}.png"]
        shop.put(f"item{number:02}", *names, **attributes(number))
    shop.items["item05"] = replace(shop.items["item05"], image_attributes=({}, {"view": "détail"}, {}))
    return shop


def attributes(number):
    found = {"price": number, "color": ["red", "blue", None][number % 3], "title": f"thing {number}"}
    if number % 4:
        found["in_stock"] = number % 4 == 1
    if number == 7:
        found["rare"] = 5
    if number == 8:
        found["price"] = 9007199254740993  # which float64 cannot represent
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    shop = shop_of_two_generations()
    index(shop, folder)
    shop.put("item02", "2.png", "5.png", **attributes(8))
    shop.put("item99", "4.png", price=3.5, color="red")
    del shop.items["item11"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_FEW_ITEMS", 0)  # of so few, all would be written again
        index(shop, folder)
    with Store.open(folder) as opened:
        assert len(opened.manifest.items_files) == 2
        yield opened


def again(store):
    """Return a lookup of the same rows that has been asked for nothing yet."""
    return RowLookup(store.lookup().table, vectors=int(store.positions().max()) + 1)


def test_a_warm_lookup_has_what_ids_and_values_are_read_from(store, monkeypatch):
    lookup, warm = store.lookup(), again(store)
    warm.warm("color")
    rows = np.arange(len(lookup.table.alive))
    expected = lookup.ids(rows), lookup.values("color", rows)
    monkeypatch.setattr("vision_recs.store.attributes.format.AttributeColumns.array", None)  # nothing more is read
    assert (warm.ids(rows), warm.values("color", rows)) == expected


def test_few_ids_are_kept_however_many_are_asked_for(store, monkeypatch):
    monkeypatch.setattr("vision_recs.store.attributes.lookup._CACHED_IDS", 10)
    lookup = again(store)
    rows = np.arange(len(lookup.table.alive))
    every = lookup.ids(rows)
    assert len(lookup._known_ids) <= 10
    for first in range(0, len(rows), 4):
        assert lookup.ids(rows[first : first + 4]) == every[first : first + 4]
        assert lookup.ids(rows[first : first + 2]) == every[first : first + 2]  # kept
        assert 0 < len(lookup._known_ids) <= 10


def test_every_item_that_shows_a_vector_is_found(store):
    positions = store.positions()[::-1].copy()
    places, rows = store.lookup().rows_at(positions)
    found = sorted(zip(positions[places].tolist(), store.lookup().ids(rows), strict=True))
    shown = store.rows(positions, limit=99)
    assert found == sorted((position, row.id) for position, rows in shown.items() for row in rows)
    assert len(found) > len(positions)


def test_a_position_that_nobody_shows_has_no_rows(store):
    shown = store.positions().tolist()
    gone = next(position for position in range(130) if position not in shown)
    places, _ = store.lookup().rows_at(np.array([gone, shown[7], -1, 10**6]))
    assert places.tolist() == [1]


@pytest.mark.parametrize("expression", FILTERS)
def test_a_filter_says_of_rows_what_it_says_of_their_items(store, expression):
    where = Filter.parse(expression)
    _, rows = store.lookup().rows_at(store.positions())
    ids = store.lookup().ids(rows)
    expected = [where.matches(store.attributes(item), item) for item in ids]
    for _ in range(2):  # the second time by what was kept
        assert store.lookup().holds(where, rows).tolist() == expected
    assert True in expected


def test_what_is_stored_of_rows_is_what_the_items_files_have(store):
    _, rows = store.lookup().rows_at(store.positions())
    ids = store.lookup().ids(rows)
    store.items.forget()
    expected = store.known(ids)
    store.items.forget()
    assert (
        store.known(ids, rows.tolist()) == expected == dict(zip(ids, store.lookup().known(rows.tolist()), strict=True))
    )
    assert store.items._recent._recent == {}  # SQLite was not asked
    assert expected["item05"].images[1].attributes == {"view": "détail"}
    assert [image.ordinal for image in expected["item05"].images] == [0, 1, 2]
    assert store.lookup().known([]) == []


def test_columns_that_do_not_have_what_is_shown_are_done_without(tmp_path):
    shop = shop_of_two_generations()
    index(shop, tmp_path)
    with Store.open(tmp_path) as store:
        before = store.known(["item05", "item20"])
        entry = store.manifest.items_files[0]
        path = store.layout.attributes(entry.generation)
        path.unlink()
        write_attribute_columns(store.layout.items(entry.generation), path, items_digest=entry.digest)
    assert list(verify(tmp_path)) == []
    with vision_recs.open(tmp_path) as recommender:
        assert recommender.items.lookup().known([0]) is None
        assert recommender.items.known(["item05", "item20"], [5, 20]) == before
        answers = [recommender.similar("item05") for _ in range(4)]  # at first by matches, then by rows
        assert answers[0] == answers[3]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (rb'\["7.png","', b'[["7.pn","'),  # another depth
        (rb'\["7.png","', b'[77777,  "'),  # a number in the place of an image
        (rb'(?<="7.png",)"\w{60}', b"1" * 59 + b',"'),  # one in that of its digest
        (rb'(?<="7.png",)"(\w{64})",{}', rb'"\1",[]'),  # a list in that of its attributes
        (rb'(?<="7.png",)"(\w{60})\w{4}",{},\d+', rb'"\1",{},"77"'),  # text in that of its position
        (rb'{"price":7,.*?}', b"[]"),
        (rb'\["7.png","', b'["\xff.png","'),
    ],
)
def test_damage_to_what_is_shown_is_an_error_and_found(tmp_path, right, wrong):
    index(shop_of_two_generations(), tmp_path)
    path = tmp_path / "attributes/000001.bin"
    data = path.read_bytes()
    (match,) = re.finditer(right, data)
    found = match.expand(wrong)
    path.write_bytes(data.replace(match[0], found.ljust(len(match[0]))))
    assert path.stat().st_size == len(data)
    with Store.open(tmp_path) as store, pytest.raises(StoreDamaged, match=r"000001\.bin cannot be used .*delete it"):
        store.known(["item07"], [7])
    assert any("000001.bin was altered" in problem for problem in verify(tmp_path))


def test_what_was_kept_of_items_is_bounded_and_right(store, monkeypatch):
    monkeypatch.setattr("vision_recs.store.recent_items._KEPT", 3)
    for item in [*store.ids(), *store.ids()]:
        (known,) = store.known([item]).values()
        assert known.attributes == store.attributes(item)
        assert [image.image for image in known.images] == [each.image for each in store.images(item)]
        assert store.positions_of([known.images[-1].digest]) == {known.images[-1].digest: known.images[-1].position}
        assert len(store.items._recent._recent) <= 3


@pytest.mark.parametrize("name", ["price", "color", "in_stock", "rare", "title", "nothing"])
def test_the_values_of_rows_are_those_of_their_items(store, name):
    lookup = store.lookup()
    _, rows = lookup.rows_at(store.positions()[::-1])
    wanted = [store.attributes(item).get(name) for item in lookup.ids(rows)]
    found = lookup.values(name, rows)
    assert found == wanted
    assert [type(each) is bool for each in found] == [type(each) is bool for each in wanted]

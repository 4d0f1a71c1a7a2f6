"""The columns of a store: written with each generation, checked, mended, collected, and done without."""

import json
import os
import random
import shutil
import threading
from itertools import pairwise

import numpy as np
import pytest
from fake_shop import Shop, index, shop_of, snapshot
from property_examples import examples_of

import vision_recs
from vision_recs.errors import FilterError, StoreDamaged, StoreError, UnknownFormat
from vision_recs.filters import AttributeType, Filter
from vision_recs.jobs import verify
from vision_recs.store import FilteredStore, Store, garbage_collect
from vision_recs.store.attributes.bitmaps import FilterBitmaps
from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.types import Item

CHEAP = Filter.parse("price < 3")


@pytest.fixture
def shop():
    """Ten items, and one that shows two of their images and one of its own."""
    shop = shop_of(10)
    shop.put("many", "1.png", "8.png", 77, price=100, color="red")
    shop.put("odd", "8.png", "9.png", price="on request", sale=True)
    return shop


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "index")
    return tmp_path / "index"


def columns_of(store, generation=1):
    return store / "attributes" / f"{generation:06d}.bin"


def images(store, expression):
    """Return the images of the vectors that *expression* selects, by their first row."""
    opened = Store.open(store) if not isinstance(store, Store) else store
    positions = FilteredStore(opened, Filter.parse(expression)).positions()
    return sorted(rows[0].image for rows in opened.items.rows(positions.tolist(), 1).values())


SELECTED = [
    ("price < 3", ["0.png", "1.png", "2.png"]),
    ("price == 100", ["1.png", "77.png", "8.png"]),
    ("price == 'on request'", ["8.png", "9.png"]),
    ("color is not null", ["1.png", "77.png", "8.png"]),
    ("sale or color == 'red'", ["1.png", "77.png", "8.png", "9.png"]),
    ("price > 1000", []),
    ("price > 1000 or not sale", ["0.png", *(f"{n}.png" for n in (1, 2, 3, 4, 5, 6, 7, 77, 8, 9))]),
]


@pytest.mark.parametrize(("expression", "expected"), SELECTED)
def test_a_filter_selects_the_images_of_the_items_that_match(store, expression, expected):
    assert images(store, expression) == sorted(expected)


@pytest.mark.parametrize(("expression", "expected"), SELECTED)
def test_without_columns_it_selects_the_same(store, expression, expected):
    columns_of(store).unlink()
    assert list(verify(store)) == []
    assert images(store, expression) == sorted(expected)
    assert Store.open(store).attribute_types() == {
        "price": AttributeType.NUMBER | AttributeType.TEXT,
        "color": AttributeType.TEXT,
        "sale": AttributeType.BOOLEAN,
    }


def test_the_mask_covers_every_position_and_the_positions_are_those_it_marks(store):
    selection = FilteredStore(Store.open(store), CHEAP)
    assert selection.mask().shape == (11,)
    assert selection.mask().dtype == np.bool_
    assert selection.positions().dtype == np.int64
    assert selection.positions().tolist() == np.flatnonzero(selection.mask()).tolist()
    assert selection.count() == len(selection.positions())
    for array in (selection.mask(), selection.positions()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_deleted_vectors_are_never_selected(store, shop):
    for gone in ("item001", "item004", "many"):
        del shop.items[gone]
    index(shop, store)
    opened = Store.open(store)
    for expression in ("price >= 0", "not sale", "price is null or price is not null"):
        chosen = FilteredStore(opened, Filter.parse(expression)).positions().tolist()
        assert set(chosen) <= set(opened.positions().tolist())
    assert images(store, "price <= 4") == ["0.png", "2.png", "3.png"]


def test_a_selection_is_a_source_of_the_vectors_and_of_the_rows_that_match(store):
    opened = Store.open(store)
    selection = FilteredStore(opened, Filter.parse("price == 100 or price == 8"))
    assert (selection.fingerprint, selection.generation, selection.dim) == (opened.fingerprint, 1, 12)
    positions = selection.positions()
    assert selection.vectors(positions).tolist() == opened.vectors(positions).tolist()
    rows = selection.rows(positions.tolist(), limit=5)
    assert sorted((row.id, row.image) for found in rows.values() for row in found) == [
        ("item008", "8.png"),
        ("many", "1.png"),
        ("many", "77.png"),
        ("many", "8.png"),
    ]
    assert [len(found) for found in selection.rows(positions.tolist(), limit=1).values()] == [1, 1, 1]


def test_a_filter_that_does_not_fit_is_refused_with_and_without_columns(store):
    for _ in range(2):
        with pytest.raises(FilterError, match="no item has the attribute 'prize'; the nearest is price; items have"):
            Store.open(store).mask(Filter.parse("prize < 3"))
        with pytest.raises(FilterError, match="color holds text, never 3"):
            Store.open(store).select(Filter.parse("color == 3"))
        columns_of(store).unlink(missing_ok=True)


def test_opening_a_store_and_querying_without_a_filter_reads_no_column(store):
    expected = vision_recs.open(store).similar("item000", k=9)
    columns_of(store).write_bytes(b"anything")
    assert vision_recs.open(store).similar("item000", k=9) == expected
    columns_of(store).unlink()
    assert vision_recs.open(store).similar("item000", k=9) == expected


def test_a_reader_keeps_its_columns_while_they_are_collected(store, shop, monkeypatch):
    opened = vision_recs.open(store)
    monkeypatch.setattr("vision_recs.store.items.Items.positions_where", None)
    shop.items["item001"].attributes["price"] = 50
    index(shop, store)
    garbage_collect(store)
    assert sorted(path.name for path in (store / "attributes").iterdir()) == ["000002.bin"]
    assert images(opened.items, "price < 3") == ["0.png", "1.png", "2.png"]
    assert images(store, "price < 3") == ["0.png", "2.png"]


def test_a_store_opened_for_one_query_answers_from_its_items_when_its_columns_were_collected(store, shop):
    opened = Store.open(store)
    shop.items["item001"].attributes["price"] = 50
    index(shop, store)
    garbage_collect(store)
    assert images(opened, "price < 3") == ["0.png", "1.png", "2.png"]


def test_the_same_catalog_gives_the_same_bytes(shop, tmp_path):
    for name in ("one", "other"):
        index(shop, tmp_path / name)
    assert columns_of(tmp_path / "one").read_bytes() == columns_of(tmp_path / "other").read_bytes()


def test_every_flipped_byte_is_found_and_the_file_named(store):
    path = columns_of(store)
    data = path.read_bytes()
    for offset in range(0, len(data), 7):
        altered = bytearray(data)
        altered[offset] ^= 1 << (offset % 8)
        path.write_bytes(altered)
        (found,) = verify(store)
        assert str(path) in found
        assert "\n" not in found


def test_a_cut_a_folder_and_other_bytes_are_found(store):
    path = columns_of(store)
    data = path.read_bytes()
    for content in (b"", b"x", data[:-1], data[1:], data[: len(data) // 2], data + b"\0", bytes(len(data)), data * 2):
        path.write_bytes(content)
        (found,) = verify(store)
        assert str(path) in found
    path.unlink()
    path.mkdir()
    (found,) = verify(store)
    assert str(path) in found


def test_whoever_filters_by_damaged_columns_gets_an_answer_or_one_sentence(store):
    path = columns_of(store)
    data = path.read_bytes()
    filters = [Filter.parse(expression) for expression, _ in SELECTED]
    filters += [Filter.parse("color.contains('e') or color.endswith('d') or color in ['red', 'x']")]
    draw = random.Random(0)
    refused = 0
    for offset in draw.choices(range(len(data)), k=examples_of(1_000)):
        altered = bytearray(data)
        altered[offset] = draw.randrange(256)
        path.write_bytes(altered)
        for where in filters:
            try:
                opened = Store.open(store)
                opened.vectors(opened.select(where))
            except (StoreDamaged, FilterError) as error:
                refused += 1
                assert "\n" not in str(error)  # noqa: PT017 - any of many may be raised, or none
    assert refused > 50


def test_image_counts_that_do_not_add_up_are_damage(store):
    path = columns_of(store)
    path.write_bytes(path.read_bytes().replace(bytes([1] * 10 + [3, 2]), bytes([1] * 10 + [3, 200])))
    with pytest.raises(
        StoreDamaged, match=r"000001\.bin cannot be used \(its image counts do not add up\); delete it, or write"
    ):
        Store.open(store).mask(CHEAP)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 5000),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: shutil.rmtree(path.parent),
    ],
)
def test_the_next_run_writes_columns_again_that_are_gone_or_cannot_be_opened(store, shop, damage):
    before = snapshot(store)
    damage(columns_of(store))
    assert index(shop, store).generation == 1
    assert snapshot(store) == before
    assert images(store, "price < 3") == ["0.png", "1.png", "2.png"]


def test_columns_of_other_items_are_refused(store, shop):
    shop.items["item001"].attributes["price"] = 50
    index(shop, store)
    shutil.copyfile(columns_of(store, 1), columns_of(store, 2))
    sentence = r"000002\.bin cannot be used \(it was made from other items\); delete it, or write it again with `visrec"
    with pytest.raises(StoreDamaged, match=sentence):
        Store.open(store).mask(CHEAP)
    (found,) = verify(store)
    assert "it was made from other items" in found
    index(shop, store)
    assert images(store, "price < 3") == ["0.png", "2.png"]


def test_columns_of_a_newer_format_are_refused_with_a_sentence(store, monkeypatch):
    monkeypatch.setattr("vision_recs.store.attributes.format.FORMAT", 0)
    with pytest.raises(UnknownFormat, match=r"000001\.bin was written by a newer visrec; upgrade visrec, or delete"):
        Store.open(store).mask(CHEAP)


def test_columns_that_cannot_be_written_are_a_sentence_and_leave_the_old_generation(store, shop, monkeypatch):
    before = snapshot(store)
    shop.items["item001"].attributes["price"] = 50

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vision_recs.store.writer.write_attribute_columns", full)
    with pytest.raises(StoreError, match="cannot be written"):
        index(shop, store)
    assert snapshot(store).items() >= before.items()
    monkeypatch.undo()
    index(shop, store)
    assert images(store, "price < 3") == ["0.png", "2.png"]


def test_what_has_no_value_in_json_is_nothing(tmp_path):
    shop = Shop()
    for number, price in enumerate((1.5, float("nan"), float("inf"), None)):
        shop.put(f"item{number}", number, price=price)
    index(shop, tmp_path)
    assert images(tmp_path, "price is null") == ["1.png", "2.png", "3.png"]
    assert images(tmp_path, "price >= 0") == ["0.png"]
    assert Store.open(tmp_path).attributes("item1") == {"price": None}


def test_attributes_of_an_image_are_none_of_the_items(tmp_path):
    shop = shop_of(1)
    shop.items["item000"] = Item("item000", ("0.png",), {"price": 1}, ({"view": "front"},))
    index(shop, tmp_path)
    with pytest.raises(FilterError, match="no item has the attribute 'view'"):
        Store.open(tmp_path).mask(Filter.parse("view == 'front'"))


def test_the_bitmaps_of_recent_filters_are_cached_up_to_a_limit(store):
    opened = Store.open(store)
    assert opened.mask(CHEAP) is opened.mask(Filter.parse("price < 3"))
    assert opened.select(CHEAP).tolist() == opened.select(CHEAP).tolist()
    masks = FilterBitmaps(opened.items, None, vectors=1000, limit=3000)
    first = masks.select(CHEAP)
    masks.select(Filter.parse("price < 4"))
    assert masks.select(CHEAP) is first
    masks.select(Filter.parse("price < 5"))  # forgets the second, which was used longest ago
    assert masks.select(CHEAP) is first
    for number in range(6, 9):
        masks.select(Filter.parse(f"price < {number}"))
    again = masks.select(CHEAP)
    assert again is not first
    assert again.mask.tolist() == first.mask.tolist()


def test_one_bitmap_is_cached_however_large_it_is(store):
    masks = FilterBitmaps(Store.open(store).items, None, vectors=1000, limit=1)
    assert masks.select(CHEAP) is masks.select(CHEAP)


def test_filters_may_be_used_in_threads(store):
    opened = Store.open(store)
    wrong = []

    def select(seed):
        draw = random.Random(seed)
        for _ in range(50):
            price = draw.randrange(11)
            if opened.select(Filter.parse(f"price < {price}")).tolist() != list(range(price)):
                wrong.append(price)

    threads = [threading.Thread(target=select, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_file_is_as_it_is_documented(store):
    """Read it without any of our code."""
    data = columns_of(store).read_bytes()
    assert data.endswith(b"visrec A")
    length = int.from_bytes(data[-48:-40], "little")
    footer = json.loads(data[-48 - length : -48])

    def array(extent):
        dtype, offset, count = extent
        assert offset % 64 == 0
        return np.frombuffer(data, dtype, count, offset)

    assert footer["types"] == {"price": 3, "color": 1, "sale": 4}
    (group,) = footer["groups"]
    assert group["items"] == 12
    assert array(group["arrays"]["image_counts"]).tolist() == [1] * 10 + [3, 2]
    assert array(group["arrays"]["positions"]).tolist() == [*range(10), 1, 8, 10, 8, 9]
    ends = array(group["arrays"]["shown_ends"]).tolist()
    texts = [array(group["arrays"]["shown"])[start:stop].tobytes() for start, stop in pairwise([0, *ends])]
    opened = Store.open(store)
    images = [(each.image, each.digest) for each in opened.images("odd")]
    found = [[image, digest, {}, position] for (image, digest), position in zip(images, (8, 9), strict=True)]
    assert json.loads(texts[11]) == [{"price": "on request", "sale": True}, found]
    assert json.loads(texts[3]) == [{"price": 3}, [["3.png", opened.images("item003")[0].digest, {}, 3]]]
    price = {name: array(extent) for name, extent in group["attributes"]["price"].items()}
    assert price["kinds"].tolist() == [2] * 11 + [1]
    assert price["numbers"][:11].tolist() == [*range(10), 100]
    assert np.isnan(price["numbers"][11])
    assert price["codes"].tolist() == [0] * 11 + [1]
    assert (price["dictionary"].tobytes(), price["dictionary_ends"].tolist()) == (b"on request", [10])
    color = {name: array(extent) for name, extent in group["attributes"]["color"].items()}
    assert (color["items"].tolist(), color["kinds"].tolist(), color["codes"].tolist()) == ([10], [1], [1])
    sale = {name: array(extent).tolist() for name, extent in group["attributes"]["sale"].items()}
    assert sale == {"items": [11], "kinds": [4]}


@pytest.mark.parametrize("count", [0, 1, 7, 60])
@pytest.mark.parametrize("sought", [0, 1, 5, 60])
def test_the_numbers_of_texts_are_found_wherever_they_lie(count, sought):
    draw = random.Random(count + sought)
    texts = sorted({f"{draw.randrange(90):02}".encode() for _ in range(count)})
    joined = np.frombuffer(b"".join(texts), np.uint8)
    dictionary = Dictionary(joined, np.cumsum([len(text) for text in texts]))
    for first in (0, 45, 80):  # spread, or all at one end
        asked = sorted({f"{draw.randrange(first, 95):02}".encode() for _ in range(sought)})
        assert dictionary.those_of(asked) == [texts.index(text) for text in asked if text in texts]

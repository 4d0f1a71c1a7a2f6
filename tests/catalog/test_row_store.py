"""Rows that are set aside and read back: whatever their number, and wherever the rows of an item lie."""

import pytest

from vision_recs.catalog import open_catalog, readers, row_store
from vision_recs.catalog.row_store import RowBatch, RowStore, TableRow
from vision_recs.types import Item

MANY = 50


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of seven rows, so that fifty of them are several."""
    monkeypatch.setattr(readers, "_BATCH", 7)


def rows_of(ids, *, first=1):
    lines = range(first, first + len(ids))
    images = [[f"{line}.png"] for line in lines]
    return RowBatch(list(lines), ids, images, [[None] * len(ids), [line / 2 for line in lines]])


def read(store):
    """Return the ids and the lines of the items, in their order."""
    items = []
    for batch, repeated in store.batches():
        for place, name in enumerate(batch.ids):
            found = repeated.get(place, (name, [batch.row(place)]))
            if found is not None:
                items.append((found[0], [row.line for row in found[1]]))
    return items


def test_items_are_read_back_in_the_order_of_their_first_rows():
    store = RowStore()
    store.add(rows_of(["a", "b", "a", "c"]))
    store.add(rows_of(["d", "b", "a"], first=5))
    store.group()
    assert read(store) == [("a", [1, 3, 7]), ("b", [2, 6]), ("c", [4]), ("d", [5])]
    repeated = list(store.repeated())
    assert [name for name, _ in repeated] == ["a", "b"]
    assert repeated[1][1] == [TableRow(2, ["2.png"], [None, 1.0]), TableRow(6, ["6.png"], [None, 3.0])]


def test_ids_of_one_hash_are_items_of_their_own(monkeypatch):
    monkeypatch.setattr(row_store, "hash", lambda _: 7, raising=False)
    store = RowStore()
    store.add(rows_of(["a", "b", "a", "c"]))
    store.group()
    assert read(store) == [("a", [1, 3]), ("b", [2]), ("c", [4])]
    assert [name for name, _ in store.repeated()] == ["a"]


def test_a_batch_that_is_large_is_kept_in_parts(monkeypatch):
    monkeypatch.setattr(row_store, "_MOST_BYTES", 200)
    store = RowStore()
    store.add(rows_of([f"i{number}" for number in range(MANY)]))
    store.group()
    assert len(list(store.batches())) > 4
    assert read(store) == [(f"i{number}", [number + 1]) for number in range(MANY)]


@pytest.mark.usefixtures("small_batches")
def test_columns_that_come_late_are_null_in_the_items_before(tmp_path):
    lines = [f'{{"id": {number}, "image": "{number}.png"' for number in range(20)]
    lines = [line + (', "late": true}' if number > 14 else "}") for number, line in enumerate(lines)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    items = list(open_catalog(tmp_path / "t.jsonl"))
    assert [item.attributes["late"] for item in items] == [None] * 15 + [True] * 5


@pytest.mark.usefixtures("small_batches")
def test_rows_of_an_item_may_lie_in_any_batch_and_lines_count_on(tmp_path):
    rows = [f"i{number % 9},{number}.png,{number % 9},{number % 2},\n" for number in range(30)]
    (tmp_path / "t.csv").write_text("id,image,price,view,note\n" + "".join(rows) + "odd,row\nlast,l.png,,1,\n")
    catalog = open_catalog(tmp_path / "t.csv")
    left_out = []
    items = list(catalog.read_items(left_out.append))
    assert [item.id for item in items] == [*(f"i{number}" for number in range(9)), "last"]
    assert items[3] == Item(
        "i3",
        ("3.png", "12.png", "21.png"),
        {"price": 3, "note": None},
        ({"view": 1}, {"view": 0}, {"view": 1}),
    )
    assert (items[9].attributes["price"], items[9].image_attributes) == (None, ({"view": 1},))
    assert catalog.image_attributes == ("view",)
    assert [each.message.partition(":")[2].partition(" ")[0] for each in left_out] == ["32:"]

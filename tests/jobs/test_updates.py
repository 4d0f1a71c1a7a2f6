"""`update`: some items change, and the rest of the store is neither read nor written again."""

import json
import math
import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_shop import BulkShop, FakeEncoder, Unused, content, image, index, shop_of, snapshot, wanted
from visrec_cli.jobs import print_merged

import vision_recs
from vision_recs.catalog import CatalogOptions
from vision_recs.catalog.value_types import ValueTypes
from vision_recs.errors import CatalogError, EmptyCatalog, SpaceMismatch, StoreDamaged, StoreNotFound
from vision_recs.filters import AttributeType
from vision_recs.jobs import update, verify
from vision_recs.store import Store, garbage_collect, shard_use, writer

ONE = "; a filter finds those of one type"


@pytest.fixture
def shop():
    return shop_of(9)


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def _deltas(monkeypatch):
    """Have every change become a delta, as in a store of many items."""
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 50)


def prices(store):
    with Store.open(store) as opened:
        return {item: opened.attributes(item).get("price") for item in opened.items.ids()}


def files_of(store):
    with Store.open(store) as opened:
        return [(entry.generation, entry.changed) for entry in opened.manifest.items_files]


def test_a_part_of_an_item_changes_and_nothing_else(store):
    report = update([{"id": "item003", "price": 12.5, "sale": True}], store, encoder=Unused())
    assert (report.changed, report.added, report.removed, report.embedded, report.generation) == (1, 0, 0, 0, 2)
    with Store.open(store) as opened:
        assert opened.attributes("item003") == {"price": 12.5, "sale": True}
    assert prices(store) == {f"item00{number}": 12.5 if number == 3 else number for number in range(9)}
    assert list(verify(store)) == []


def test_null_is_a_value_and_a_missing_key_says_nothing(store):
    update([{"id": "item003", "price": None}], store)
    with Store.open(store) as opened:
        assert opened.attributes("item003") == {"price": None}


def test_an_item_that_gains_its_first_vector_is_added_and_not_unchanged_too(shop, store):
    shop.files["broken.png"] = b"no image"
    report = update([{"id": "new", "image": "broken.png"}], store, encoder=FakeEncoder(), images=shop)
    assert (report.added, report.unchanged, report.skipped_reasons) == (0, 0, {"not-an-image": 1})
    report = update([{"id": "new", "price": 3}, {"id": "item001"}], store)
    assert (report.changed, report.added, report.unchanged) == (0, 0, 1)
    shop.files["77.png"] = image(77)
    changes = [{"id": "new", "image": "77.png"}, {"id": "item001"}]
    report = update(changes, store, encoder=FakeEncoder(), images=shop)
    assert (report.added, report.changed, report.unchanged, report.items) == (1, 0, 1, 10)


def test_the_report_says_when_what_lay_beside_the_graph_became_part_of_it(tmp_path, capsys):
    shop = shop_of(60)
    index(shop, tmp_path, index_type="hnsw")
    said = []
    for first, count in ((60, 3), (63, 9)):
        changes = [{"id": f"item{number:03}", "image": f"{number}.png"} for number in range(first, first + count)]
        shop.files |= {f"{number}.png": image(number) for number in range(first, first + count)}
        report = update(changes, tmp_path, encoder=FakeEncoder(), images=shop, progress=said.append)
        print_merged(report)
    assert report.merged_in_index == 3
    assert capsys.readouterr().out == "index: the 3 vectors that lay beside it are part of it now\n"
    details = [each.detail for each in said if each.stage == "building the index" and each.done]
    assert details == ["", "the 3 vectors beside it are part of it now"]


def test_the_last_of_several_changes_of_an_item_counts(store):
    report = update([{"id": "item003", "price": price} for price in (1, 7, 4)], store)
    assert (report.changes, report.changed, prices(store)["item003"]) == (3, 1, 4)


def test_a_deleted_item_is_gone_and_may_come_back(shop, store):
    report = update([{"id": "item003", "deleted": True}], store)
    assert (report.removed, report.items, report.images) == (1, 8, 8)
    assert "item003" not in {match.id for match in vision_recs.open(store).similar("item004", k=9)}
    report = update([{"id": "item003", "image": "3.png", "price": 3}], store, encoder=FakeEncoder(), images=shop)
    assert (report.added, report.items) == (1, 9)
    assert content(store) == wanted(shop)


def test_a_new_item_is_embedded_and_found(shop, store):
    shop.put("new", 77, price=5)
    report = update([{"sku": "new", "picture": "77.png", "price": 5}], store, encoder=FakeEncoder(), images=shop)
    assert (report.added, report.embedded, report.changed) == (1, 1, 0)
    assert content(store) == wanted(shop)
    assert "new" in {match.id for match in vision_recs.open(store).similar("item000", k=9)}


def test_an_image_takes_the_place_of_those_before(shop, store):
    shop.put("item003", 88, price=3)
    report = update([{"id": "item003", "image": "88.png"}], store, encoder=FakeEncoder(), images=shop)
    assert (report.changed, report.embedded) == (1, 1)
    assert content(store) == wanted(shop)


def test_an_image_that_cannot_be_read_is_skipped_with_its_reason(shop, store):
    report = update([{"id": "new", "image": "lost.png"}], store, encoder=FakeEncoder(), images=shop)
    assert (report.added, report.skipped, report.skipped_reasons) == (0, 1, {"missing": 1})
    assert content(store).skipped == {("new", "lost.png"): "missing"}
    shop.put("new", 99)
    shop.files["lost.png"] = shop.files["99.png"]
    update([{"id": "new", "price": 4}], store)
    report = update([{"id": "new", "image": "lost.png"}], store, encoder=FakeEncoder(), images=shop)
    assert (report.added, report.skipped, prices(store)["new"]) == (1, 0, 4)


def test_a_late_message_does_not_undo_a_newer_one(store):
    update([{"id": "item003", "price": 30, "version": 7}, {"id": "item004", "deleted": True, "version": 7}], store)
    late = [
        {"id": "item003", "price": 20, "version": 6},
        {"id": "item003", "price": 30, "version": 7},
        {"id": "item004", "image": "4.png", "version": 5},
    ]
    report = update(late, store)
    assert (report.changes, report.stale, report.changed, report.generation) == (3, 3, 0, 2)
    assert prices(store)["item003"] == 30
    assert update([{"id": "item003", "price": 31, "version": 8}], store).changed == 1
    assert update([{"id": "item003", "price": 32}], store).changed == 1  # without a version: as it comes
    assert update([{"id": "item003", "price": 1, "version": 8}], store).stale == 1


@pytest.mark.usefixtures("_deltas")
def test_versions_outlive_reruns_other_encoders_and_merged_files(shop, store):
    update([{"id": "item003", "price": 30, "version": 7}, {"id": "gone", "deleted": True, "version": 9}], store)
    index(shop, store)
    index(shop, store, FakeEncoder(turn=1))
    for price in range(6):
        update([{"id": "item004", "price": price}], store)
    assert prices(store)["item003"] == 3
    late = [{"id": "item003", "price": 1, "version": 7}, {"id": "gone", "image": "4.png", "version": 9}]
    assert update(late, store).stale == 2


@pytest.mark.parametrize(
    ("early", "late"),
    [
        (1, 2),
        ("9", "10"),
        ("2026-01-01", "2026-01-01T00:00:01Z"),
        ("2026-01-01T12:00:00+02:00", "2026-01-01T11:00:00Z"),
    ],
)
def test_versions_are_numbers_or_times(store, early, late):
    update([{"id": "item003", "price": 30, "version": late}], store)
    assert update([{"id": "item003", "price": 20, "version": early}], store).stale == 1


def test_what_the_store_does_not_have_is_counted_and_harms_nothing(store):
    before = snapshot(store)
    report = update([{"id": "nobody", "price": 1}, {"id": "nothing", "deleted": True}], store)
    assert (report.unknown, report.unchanged, report.generation) == (2, 0, 1)
    assert snapshot(store) == before


def test_a_change_that_changes_nothing_publishes_nothing(store):
    before = snapshot(store)
    assert update([{"id": "item003", "price": 3}], store).unchanged == 1
    assert update([], store).generation == 1
    assert snapshot(store) == before


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"price": 3}, "no known key of an id among 'price'"),
        ({"id": ""}, "the id is empty"),
        ({"id": "item001", "deleted": "perhaps"}, "deleted is true or false, not 'perhaps'"),
        ({"id": "item001", "version": 1.5}, "a version is a whole number or a time"),
        ({"id": "item001", "version": "--5"}, "a version is a whole number or a time"),
        ({"id": "item001", "version": "yesterday"}, "a version is a whole number or a time"),
        ({"id": "item001", "image": 7}, "an image is a path or a list of paths"),
        ({"id": "item001", "price": math.inf}, "'price' is larger than any number can be"),
        ({"id": "item001", "title": b"\xff"}, r"'title' is b'.xff', which cannot be kept"),
        ({"id": "item001", 5: 1}, "the key 5 is not text"),
        (
            {"id": "item001", "image": []},
            "the list of images is empty; leave it out to keep the images of the item, or",
        ),
        ({"id": "item001", "image": ["", None]}, "the list of images is empty"),
        ({"id": "item001", "image": "[]"}, "the list of images is empty"),
    ],
)
def test_a_bad_change_is_named_and_none_is_made(store, bad, words):
    before = snapshot(store)
    with pytest.raises(CatalogError, match=f"the changes:2: {words}"):
        update([{"id": "item003", "price": 9}, bad], store)
    assert snapshot(store) == before


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_an_image_that_says_nothing_leaves_those_that_there_are(store, nothing):
    report = update([{"id": "item003", "image": nothing, "version": nothing and "", "deleted": None}], store)
    assert (report.unchanged, report.images) == (1, 9)


def test_values_of_another_type_than_the_store_has_are_kept_and_said(store, tmp_path):
    update([{"id": "item001", "sale": True, "title": "x"}], store)
    changes = [
        {"id": "item003", "price": "on request", "sale": 1, "title": "y"},
        {"id": "item002", "price": "ask", "sale": False},
        {"id": "nobody", "price": "cheap"},
        {"id": "item004", "price": "12.50 EUR", "size": 4},
        {"id": "item005", "size": "XL"},
    ]
    notes = update(changes, store).notes
    assert prices(store)["item003"] == "on request"
    assert notes == (
        f"the attribute 'price' holds numbers, and text in 2 changes, the first 'ask' of the item 'item002'{ONE}",
        f"the attribute 'sale' holds true or false, and numbers in 1 change, the first 1 of the item 'item003'{ONE}",
        f"the attribute 'size' holds numbers, and text in 1 change, the first 'XL' of the item 'item005'{ONE}",
    )
    (tmp_path / "more.csv").write_text("id,price,sale\nitem006,cheap,2\n")
    (again,) = update(tmp_path / "more.csv", store).notes  # text in prices is said each time
    assert again.startswith("the attribute 'price' holds numbers, and text in 1 change, the first 'cheap'")
    assert update([{"id": "item006", "price": 5, "sale": True}], store).notes == ()


def test_the_currency_of_a_price_and_the_stock_are_derived_as_from_a_catalog(shop, store, tmp_path):
    shop.items["item003"].attributes.update(currency="EUR", in_stock=True)
    index(shop, store, FakeEncoder())
    (tmp_path / "changes.csv").write_text('id,price,availability\nitem003,"12,50 USD",out of stock\n')
    update(tmp_path / "changes.csv", store)
    with Store.open(store) as opened:
        shown = opened.attributes("item003")
    assert shown == {"price": 12.5, "currency": "USD", "in_stock": False, "availability": "out of stock"}
    changes = [{"id": "item003", "price": "$13", "availability": "soon"}, {"id": "item004", "in_stock": "perhaps"}]
    report = update(changes, store)
    assert sorted(report.notes) == [
        "'perhaps' of the item 'item004' in the attribute 'in_stock' does not say whether an item is in stock",
        "'soon' of the item 'item003' in the attribute 'availability' does not say whether an item is in stock",
    ]
    update([{"id": "item003", "price": "14 EUR", "currency": None}], store)
    with Store.open(store) as opened:
        shown = opened.attributes("item003")
    assert shown == {"price": 14, "currency": None, "in_stock": False, "availability": "soon"}


def test_a_new_attribute_that_is_nearly_an_old_one_is_said(store):
    report = update([{"id": "item003", "pirce": 5}, {"id": "item004", "pirce": 6, "weight": 7}], store)
    assert report.notes == ("2 changes have the attribute 'pirce', which no item had; items have 'price'",)
    assert update([{"id": "item005", "pirce": 5}], store).notes == ()


def test_of_many_new_names_a_few_are_compared_with_those_that_are_known():
    for many, compared in ((10, 20), (1_000, 2), (5_000, 0)):
        types = ValueTypes()
        types.know({f"material {number:04}": AttributeType.TEXT for number in range(many)})
        types.see("item", {f"materail {number:04}": "wood" for number in range(60)})
        assert len(list(types.notes("attribute", "change"))) == compared


def test_what_a_table_of_changes_shows_is_said(store, tmp_path):
    rows = "".join(f"item00{number},{number},{number},{number}\n" for number in range(8))
    (tmp_path / "changes.csv").write_text(f"id,width,height,width\n{rows}item008,wide,x,3\n")
    assert update(tmp_path / "changes.csv", store).notes == (
        "the header names the column 'width' twice; the first one is used",
    )


def test_a_cell_that_makes_a_new_column_text_is_said(store, tmp_path):
    rows = "".join(f"item00{number % 9},{number}\n" for number in range(30))
    (tmp_path / "changes.csv").write_text(f"id,width\n{rows}item008,wide\n")
    why = "1 cell, 'wide'; to compare it, write numbers"
    assert update(tmp_path / "changes.csv", store).notes == (f"the column 'width' is text because of {why}",)


def test_nan_in_a_table_says_nothing(store, tmp_path):
    columns = {"id": ["item003", "item004"], "price": [math.nan, 9.5]}
    pq.write_table(pa.table(columns), tmp_path / "changes.parquet")
    report = update(tmp_path / "changes.parquet", store)
    assert (report.changed, prices(store)["item003"], prices(store)["item004"]) == (1, 3, 9.5)


def test_columns_that_options_name_and_no_change_has_are_named(store, tmp_path):
    table = tmp_path / "changes.csv"
    table.write_text("id,image,price\nitem003,3.png,5\n")
    for name, why in (("id_column", "no key 'nosuch'"), ("image_column", "no column 'nosuch'")):
        options = vision_recs.IndexOptions(catalog=CatalogOptions(**{name: "nosuch"}))
        sentence = f"{why} among 'id', 'image', 'price'; correct --{name.replace('_', '-')}"
        with pytest.raises(CatalogError, match=sentence):
            update(table, store, options=options)
    assert update([{"id": "item003", "price": 5}], store, options=options).notes == (
        "no change has the key 'nosuch' of the images; correct --image-column",
    )
    assert update([], store, options=options).notes == ()


def test_damaged_attribute_columns_are_mended_by_an_update(store):
    (columns,) = (store / "attributes").iterdir()
    columns.write_bytes(columns.read_bytes()[:-3])
    assert update([{"id": "item003", "price": "ask"}], store).changed == 1
    garbage_collect(store)
    assert list(verify(store)) == []


def test_an_item_that_is_gone_needs_no_image(store):
    assert update([{"id": "item003", "image": [], "deleted": True}], store).removed == 1


def test_nothing_is_left_of_a_shop_without_items(store):
    before = snapshot(store)
    with pytest.raises(EmptyCatalog, match="leave no item with an image; the store is as it was"):
        update([{"id": f"item00{number}", "deleted": True} for number in range(9)], store)
    assert snapshot(store) == before


def test_another_encoder_and_no_store_are_refused(shop, store, tmp_path):
    with pytest.raises(SpaceMismatch, match="give the same encoder"):
        update([{"id": "new", "image": "3.jpg"}], store, encoder=FakeEncoder(turn=1), images=shop)
    with pytest.raises(StoreNotFound):
        update([], tmp_path / "nowhere")


@pytest.mark.usefixtures("_deltas")
def test_a_delta_holds_what_changed_and_the_base_stays(store):
    base = (store / "items/000001.sqlite").read_bytes()
    update([{"id": "item003", "price": 30}, {"id": "item005", "deleted": True}], store)
    assert files_of(store) == [(1, 0), (2, 2)]
    assert (store / "items/000001.sqlite").read_bytes() == base
    with closing(sqlite3.connect(store / "items/000002.sqlite")) as delta:
        assert delta.execute("SELECT item_id FROM items").fetchall() == [("item003",)]
        assert delta.execute("SELECT item_id FROM changed").fetchall() == [("item003",), ("item005",)]
    assert list(verify(store)) == []


@pytest.mark.usefixtures("_deltas")
def test_a_change_of_attributes_touches_neither_vectors_nor_index(store):
    before = {path: digest for path, digest in snapshot(store).items() if path.startswith(("shards", "indexes"))}
    update([{"id": "item003", "price": 30}], store)
    assert {
        path: digest for path, digest in snapshot(store).items() if path.startswith(("shards", "indexes"))
    } == before


@pytest.mark.usefixtures("_deltas")
def test_small_deltas_are_merged_and_few_files_are_read(store):
    for number in range(30):
        update([{"id": f"item00{number % 9}", "price": 100 + number}], store)
    assert len(files_of(store)) <= 5
    assert prices(store) == {f"item00{number % 9}": 100 + number for number in range(21, 30)}
    garbage_collect(store)
    assert sorted(path.name for path in (store / "items").iterdir()) == [
        f"{generation:06d}.sqlite" for generation, _ in files_of(store)
    ]
    assert prices(store) == {f"item00{number % 9}": 100 + number for number in range(21, 30)}
    assert list(verify(store)) == []


def test_many_changes_make_a_new_base(store, monkeypatch):
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 0.25)
    update([{"id": "item001", "price": 10}, {"id": "item002", "price": 10}], store)
    assert files_of(store) == [(1, 0), (2, 2)]
    update([{"id": "item003", "price": 10}], store)
    assert files_of(store) == [(3, 0)]
    assert [prices(store)[f"item00{number}"] for number in range(5)] == [0, 10, 10, 10, 4]


@pytest.mark.usefixtures("_deltas")
def test_a_rerun_over_the_catalog_brings_back_what_the_catalog_says(shop, store):
    update([{"id": "item003", "price": 30}, {"id": "item005", "deleted": True}], store)
    report = index(shop, store, FakeEncoder())
    assert (report.generation, report.removed) == (3, 0)
    assert content(store) == wanted(shop)
    assert index(shop, store, Unused()).generation == 3


@pytest.mark.parametrize("deltas", [False, True])
def test_what_the_catalog_left_out_stays_in_the_list(tmp_path, deltas, request):
    if deltas:
        request.getfixturevalue("_deltas")
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(image(number))
    (tmp_path / "shop.csv").write_text("id,image,price\na,0.png,1\n,1.png,1\nb,2.png,1\n")
    store = tmp_path / "store"
    report = vision_recs.index(tmp_path / "shop.csv", store, encoder=FakeEncoder())
    assert report.skipped_reasons == {"no-id": 1}
    report = update([{"id": "a", "price": 2}], store)
    assert (report.skipped, report.skipped_reasons, report.skipped_in_store) == (0, {}, 1)
    report = update([{"id": "b", "image": "lost.png"}], store, encoder=FakeEncoder())
    assert (report.skipped, report.skipped_reasons, report.skipped_in_store) == (1, {"missing": 1}, 2)
    with Store.open(store) as opened:
        assert opened.items.skipped_reasons() == {"missing": 1, "no-id": 1}
    assert vision_recs.index(tmp_path / "shop.csv", store, encoder=FakeEncoder()).skipped == 1
    assert list(verify(store)) == []


@pytest.mark.usefixtures("_deltas")
def test_a_reader_keeps_the_generation_that_it_opened(store):
    with vision_recs.open(store) as before:
        update([{"id": "item003", "price": 30}, {"id": "item005", "deleted": True}], store)
        garbage_collect(store)
        assert before.items.attributes("item003") == {"price": 3}
        assert len(before.similar("item000", k=9)) == 8
    assert len(vision_recs.open(store).similar("item000", k=9)) == 7


def test_the_images_of_rows_add_up_and_those_of_messages_do_not(shop, store, tmp_path):
    shop.put("new", 50, 51)
    rows = [{"id": "new", "image": "50.png"}, {"id": "new", "image": "51.png"}]
    (tmp_path / "rows.csv").write_text("id,image\nnew,50.png\nnew,51.png\nitem003,51.png\n")
    update(tmp_path / "rows.csv", store, encoder=FakeEncoder(), images=shop)
    with Store.open(store) as opened:
        assert [each.image for each in opened.images("new")] == ["50.png", "51.png"]
        assert [each.image for each in opened.images("item003")] == ["51.png"]
    update(rows, store, encoder=FakeEncoder(), images=shop)
    with Store.open(store) as opened:
        assert [each.image for each in opened.images("new")] == ["51.png"]


@pytest.mark.parametrize("deltas", [False, True])
def test_an_image_that_fails_is_told_each_time_it_is_sent_and_only_then(shop, store, deltas, request):
    if deltas:
        request.getfixturevalue("_deltas")

    def told(change):
        return update([change], store, encoder=FakeEncoder(), images=shop).skipped_reasons

    shop.put("half", 60, "lost.png")
    assert told({"id": "half", "images": ["60.png", "lost.png"]}) == {"missing": 1}
    assert told({"id": "half", "price": 3}) == {}
    assert told({"id": "item003", "price": 4}) == {}
    assert told({"id": "half", "images": ["60.png", "lost.png"]}) == {"missing": 1}


def test_what_was_sent_again_counts_as_unchanged(shop, store):
    report = update([{"id": "item003", "image": "3.png", "price": 3}], store, encoder=FakeEncoder(), images=shop)
    assert (report.changed, report.unchanged, report.generation) == (0, 1, 1)


@pytest.mark.usefixtures("_deltas")
def test_many_small_shards_are_joined_and_one_deletion_writes_no_new_base(shop, store, monkeypatch):
    monkeypatch.setattr(shard_use, "_MANY_SHARDS", 12)
    monkeypatch.setattr(shard_use, "_FEW_SHARDS", 4)
    for number in range(100, 109):
        shop.put(f"new{number}", number)
        update([{"id": f"new{number}", "image": f"{number}.png"}], store, encoder=FakeEncoder(), images=shop)
    assert files_of(store)[0] == (1, 0)
    with Store.open(store) as opened:
        assert len(opened.manifest.shards) == 12
    update([{"id": "new100", "deleted": True}], store)
    del shop.items["new100"]
    assert files_of(store)[0] == (1, 0)
    for number in (120, 121):
        shop.put(f"new{number}", number)
        update([{"id": f"new{number}", "image": f"{number}.png"}], store, encoder=FakeEncoder(), images=shop)
    with Store.open(store) as opened:
        assert len(opened.manifest.shards) == 1
    assert content(store) == wanted(shop)
    assert list(verify(store)) == []
    found = vision_recs.open(store).similar("new121", k=20)
    assert {match.id for match in found} == shop.items.keys() - {"new121"}


@pytest.mark.usefixtures("_deltas")
def test_a_new_signature_is_kept_with_the_next_change(shop, store):
    bulk = BulkShop(shop.items, shop.files, touched={"3.png": 1})
    index(bulk, store, Unused())
    assert bulk.reads == ["3.png"]
    bulk.items["item005"].attributes["price"] = 77
    index(bulk, store, Unused())
    bulk.reads.clear()
    assert index(bulk, store, Unused()).generation == 2
    assert bulk.reads == []


def test_what_an_update_copies_is_compared_first(store, monkeypatch):
    items = store / "items/000001.sqlite"
    items.write_bytes(items.read_bytes().replace(b'{"price":7}', b'{"price":6}'))
    with pytest.raises(StoreDamaged, match=rf"{items} was altered.*run `visrec index`"):
        update([{"id": "item003", "price": 4}], store)
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 50)
    assert update([{"id": "item003", "price": 4}], store).changed == 1
    assert any(f"{items} was altered" in problem for problem in verify(store))


@pytest.mark.parametrize("change", [{"id": "a\ud800"}, {"id": "item003", "x": "\udfff"}, {"id": "a", 5: 3}, 7, {}])
def test_what_python_may_pass_is_refused_with_a_sentence(store, change):
    with pytest.raises(CatalogError, match="the changes:1: "):
        update([change], store)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_changes_are_read_from_tables(store, tmp_path, suffix):
    file = tmp_path / f"changes{suffix}"
    rows = [
        {"id": "item003", "price": 12.5, "deleted": None, "version": 3},
        {"id": "item004", "price": None, "deleted": True, "version": None},
    ]
    if suffix == ".jsonl":
        lines = [{name: value for name, value in row.items() if value is not None} for row in rows]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        between = "," if suffix == ".csv" else "\t"
        table = [rows[0].keys(), *(["" if value is None else str(value) for value in row.values()] for row in rows)]
        file.write_text("".join(between.join(row) + "\n" for row in table))
    report = update(file, store)
    assert (report.changed, report.removed) == (1, 1)
    assert "item004" not in prices(store)
    assert prices(store)["item003"] == 12.5


def test_the_text_of_csv_becomes_what_the_store_has(shop, tmp_path):
    shop.put("item009", 9, price=9, code="0012", code2="x7")
    index(shop, tmp_path / "store")
    file = tmp_path / "changes.csv"
    file.write_text("id,price,code2,new\nitem009,12,15,3\n")
    update(file, tmp_path / "store")
    with Store.open(tmp_path / "store") as opened:
        assert opened.attributes("item009") == {"price": 12, "code": "0012", "code2": "15", "new": 3}


def test_all_cells_of_a_new_column_of_csv_decide_what_they_are(store, tmp_path):
    file = tmp_path / "changes.csv"
    file.write_text("id,code,size,sale,price\nitem003,12,1,true,5\nitem004,x9,2.5,false,6.5\nitem005,7,,,tbd\n")
    update(file, store)
    with Store.open(store) as opened:
        assert [opened.attributes(f"item00{number}") for number in (3, 4, 5)] == [
            {"code": "12", "size": 1.0, "sale": True, "price": 5},
            {"code": "x9", "size": 2.5, "sale": False, "price": 6.5},
            {"code": "7", "price": "tbd"},
        ]


def test_ids_of_csv_are_text_in_the_column_that_the_header_names(store, tmp_path):
    file = tmp_path / "changes.csv"
    file.write_text("id,sku,image\n1.10,a,0.png\n2.50,b,1.png\n")
    update(file, store, encoder=FakeEncoder(), images=shop_of(9))
    assert {"1.10", "2.50"} < prices(store).keys()
    file.write_text("id,sku,price\n,item003,5\n")
    with pytest.raises(CatalogError, match=r"changes\.csv:2: the id is empty"):
        update(file, store)
    file.write_text("name,price\nmug,5\n")
    with pytest.raises(CatalogError, match=r"changes\.csv: no known key of an id among 'name', 'price'"):
        update(file, store)


@pytest.mark.parametrize("text", ["1e999", "-1e999"])
def test_a_number_that_is_too_large_is_refused(store, tmp_path, text):
    file = tmp_path / "changes.jsonl"
    file.write_text(f'{{"id": "item003", "price": {text}}}\n')
    with pytest.raises(CatalogError, match=r"changes\.jsonl:1: 'price' is larger than any number can be"):
        update(file, store)
    with pytest.raises(CatalogError, match="the changes:1: 'price' is larger than any number can be"):
        update([{"id": "item003", "price": float(text)}], store)
    assert prices(store)["item003"] == 3


def test_a_table_of_another_kind_is_refused(store, tmp_path):
    with pytest.raises(CatalogError, match="changes are read from"):
        update(tmp_path / "changes.xls", store)


def test_a_bad_line_of_a_table_is_named_and_none_is_made(store, tmp_path):
    file = tmp_path / "changes.jsonl"
    file.write_text('{"id": "item003", "price": 9}\n{"id": "item004", "price": \n')
    with pytest.raises(CatalogError, match=r"changes\.jsonl:2: malformed JSON"):
        update(file, store)
    assert prices(store)["item003"] == 3


@pytest.mark.usefixtures("_deltas")
def test_attribute_columns_that_were_deleted_are_written_again(store):
    update([{"id": "item003", "price": 30}], store)
    for file in (store / "attributes").iterdir():
        file.unlink()
    update([{"id": "item004", "price": 40}], store)
    assert sorted(path.name for path in (store / "attributes").iterdir()) == [
        f"{generation:06d}.bin" for generation, _ in files_of(store)
    ]

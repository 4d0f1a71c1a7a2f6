"""Exports of shop systems, as they are exported: which items they have, with which images and attributes."""

import gzip
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shop_exports
from shop_exports import EXPORTS, NUMBERS, handle, images, price

from vision_recs.catalog import CatalogOptions, open_catalog, readers
from vision_recs.catalog.exports.feed import FeedReader
from vision_recs.catalog.image_files import image_bytes
from vision_recs.errors import CatalogError

SHOPIFY_ADDRESS = "https://cdn.shopify.com/s/files/1/0001/products/{}?v=1700000{}"
EVERY = pytest.mark.parametrize("kind", EXPORTS)
COLORED = [f"{handle(number)}-{color}" for number in (1, 2, 3) for color in ("red", "blue")]
PLAIN = [handle(number) for number in NUMBERS if number > 4 and number != 6]
IDS = {
    "shopify": [*COLORED, handle(4), *PLAIN],
    "google-text": [*COLORED, f"{handle(4)}-S", f"{handle(4)}-L", *PLAIN],
    "google-xml": [*COLORED, f"{handle(4)}-S", f"{handle(4)}-L", *PLAIN],
    "woocommerce": [*map(handle, (1, 2, 3, 4)), *PLAIN, *COLORED],
    "magento": [*COLORED, *map(handle, (1, 2, 3, 4)), *PLAIN],
    "prestashop": [str(number) for number in NUMBERS if number != 6],
}
GROUPED = {
    "shopify": COLORED,
    "google-text": [*COLORED, "mug-04-S", "mug-04-L"],
    "google-xml": [*COLORED, "mug-04-S", "mug-04-L"],
    "woocommerce": [*COLORED, *map(handle, (1, 2, 3, 4))],
    "magento": [*COLORED, *map(handle, (1, 2, 3, 4))],
    "prestashop": [],
}


def read(path, **options):
    """Return the items at *path* by id, what was left out, and the catalog."""
    catalog = open_catalog(path, CatalogOptions(**options))
    left_out = []
    items = {item.id: item for item in catalog.read_items(left_out.append)}
    return items, [(each.reason, each.id) for each in left_out], catalog


def number_of(item):
    return int(item[4:6] if item.startswith("mug") else item)


@EVERY
def test_an_export_has_its_items_and_the_one_without_an_image_is_told(tmp_path, kind):
    items, left_out, catalog = read(shop_exports.write(kind, tmp_path))
    assert sorted(items) == sorted(IDS[kind])
    assert left_out == [("no-image", "6" if kind == "prestashop" else "mug-06")]
    assert catalog.contradictory_columns == catalog.image_attributes == ()
    assert catalog.notes[0].startswith("read as ")


@EVERY
def test_every_image_of_an_export_is_found_beside_it_by_its_name(tmp_path, kind):
    items, _, catalog = read(shop_exports.write(kind, tmp_path))
    found = {image.rpartition("/")[2].partition("?")[0]: image for item in items.values() for image in item.images}
    assert sorted(found) == sorted(name for number in NUMBERS for name in images(number))
    for name, image in found.items():
        assert image_bytes(catalog.images, image) == (tmp_path / "images" / name).read_bytes()


@EVERY
def test_images_may_lie_in_a_folder_of_their_own(tmp_path, kind):
    path = shop_exports.write(kind, tmp_path)
    (tmp_path / "images").rename(tmp_path / "shot")
    items, _, catalog = read(path, images=str(tmp_path / "shot"))
    image = items[IDS[kind][-1]].images[0]
    name = image.rpartition("/")[2].partition("?")[0]
    assert image_bytes(catalog.images, image) == (tmp_path / "shot" / name).read_bytes()


@EVERY
def test_prices_are_numbers_stock_is_true_or_false_and_variants_have_their_group(tmp_path, kind):
    items, _, _ = read(shop_exports.write(kind, tmp_path))
    for name, item in items.items():
        attributes = item.attributes
        number = number_of(name)
        assert attributes["price"] == float(price(number)), name
        assert attributes["title"].startswith(f"Mug {number}")
        assert attributes["brand"] == "T\u00f8nder" if kind not in {"woocommerce", "magento"} else True
        assert attributes["in_stock"] is (number != 5 and name != "mug-04-S"), name
        assert attributes.get("variant_group") == (handle(number) if name in GROUPED[kind] else None), name
        if name in COLORED:
            assert attributes["color"] == name.rpartition("-")[2]
            assert [image.partition("?")[0].endswith(f"{name}.png") for image in item.images] == [True]


@EVERY
def test_a_packed_export_is_read_like_the_plain_one(tmp_path, kind):
    path = shop_exports.write(kind, tmp_path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed)[0] == read(path)[0]


def test_a_product_of_shopify_has_the_values_of_its_variants(tmp_path):
    items, _, _ = read(shop_exports.write("shopify", tmp_path))
    item = items["mug-04"]
    assert item.images == (SHOPIFY_ADDRESS.format("mug-04-0.png", 4),)
    assert item.attributes["size"] == '["S", "L"]'
    assert item.attributes["tags"] == '["clay", "gift"]'
    assert item.attributes["sku"] == '["mug-04-S", "mug-04-L"]'
    assert (item.attributes["published"], item.attributes["status"], item.attributes["category"]) == (
        *(True, "active"),
        "Mugs",
    )
    assert items["mug-07"].images == tuple(SHOPIFY_ADDRESS.format(f"mug-07-{view}.png", 7) for view in (0, 1))


def test_the_later_header_of_shopify_is_read_as_the_earlier_one(tmp_path):
    new = {
        "Handle": "URL handle",
        "Body (HTML)": "Description",
        "Product Category": "Product category",
        "Option1 Name": "Option1 name",
        "Option1 Value": "Option1 value",
        "Variant SKU": "SKU",
        "Variant Inventory Tracker": "Inventory tracker",
        "Variant Inventory Qty": "Inventory quantity",
        "Variant Price": "Price",
        "Image Src": "Product image URL",
        "Image Position": "Image position",
        "Variant Image": "Variant image URL",
    }
    path = shop_exports.write("shopify", tmp_path)
    header, rest = path.read_text("utf-8").split("\n", 1)
    later = ",".join(new.get(name, name) for name in header.split(","))
    (tmp_path / "later.csv").write_text(f"{later}\n{rest}", encoding="utf-8")
    assert read(tmp_path / "later.csv")[0] == read(path)[0]


@pytest.mark.parametrize(
    ("tracker", "count", "policy", "is_in_stock"),
    [
        ("shopify", "3", "deny", True),
        ("shopify", "0", "deny", False),
        ("shopify", "-2", "deny", False),
        ("shopify", "0", "continue", True),
        ("", "0", "deny", True),
        ("shopify", "", "deny", None),
    ],
)
def test_the_stock_of_shopify_knows_what_is_not_counted_or_sold_anyway(tmp_path, tracker, count, policy, is_in_stock):
    (tmp_path / "p.csv").write_text(
        "Handle,Title,Option1 Name,Option1 Value,Variant Inventory Tracker,Variant Inventory Qty,"
        f"Variant Inventory Policy,Image Src\nmug,Mug,Title,Default Title,{tracker},{count},{policy},a.jpg\n"
    )
    assert read(tmp_path / "p.csv")[0]["mug"].attributes.get("in_stock") is is_in_stock


def test_a_feed_keeps_availability_currency_and_sale_price(tmp_path):
    for kind in ("google-text", "google-xml"):
        items, _, _ = read(shop_exports.write(kind, tmp_path))
        attributes = items["mug-07"].attributes
        assert attributes["availability"] == "in_stock"
        assert (attributes["currency"], attributes["sale_price"], attributes["category"]) == ("EUR", 8.0, "Home > Mugs")
        assert items["mug-05"].attributes["availability"] == "out_of_stock"
        assert [image.rpartition("/")[2] for image in items["mug-07"].images] == ["mug-07-0.png", "mug-07-1.png"]


def test_a_damaged_feed_and_one_without_products_are_refused(tmp_path):
    path = tmp_path / "f.xml"
    path.write_text("<rss><channel><item><id>1</id><image_link>a.jpg</image_link></item>")
    with pytest.raises(CatalogError, match="malformed XML"):
        read(path)
    path.write_text("<urlset><url><loc>x</loc></url></urlset>")
    with pytest.raises(CatalogError, match="has no <item> and no <entry>"):
        read(path)


def test_a_feed_is_read_alike_whatever_pieces_it_comes_in():
    text = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><id>of the feed</id>\n'
        "<entry><g:id> m\u00fc1<!-- of a mug -->2 </g:id>\n <link href='https://shop.example/1'/>\n<g:color/>"
        "<g:shipping>fast <g:price>3 EUR</g:price> or slow</g:shipping><g:price>14 &amp; 15</g:price>"
        "<g:additional_image_link>b.png</g:additional_image_link>"
        "<g:additional_image_link><![CDATA[c.png]]></g:additional_image_link></entry>"
        "<entry><g:price>7</g:price></entry></feed>"
    )
    data = text.encode()
    expected = [
        {
            "id": "m\u00fc12",
            "link": "https://shop.example/1",
            "price": "14 & 15",
            "additional_image_link": "b.png\nc.png",
        },
        {"price": "7"},
    ]
    for size in (1, 7, len(data)):
        reader = FeedReader()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        found = [item for piece in pieces for item in reader.items(piece)] + reader.items(b"", is_end=True)
        assert found == expected


@pytest.mark.parametrize("declared", ["", '<!DOCTYPE rss SYSTEM "http://127.0.0.1:1/rss.dtd">'])
def test_an_entity_that_nobody_declares_is_told_not_left_out(tmp_path, declared):
    path = tmp_path / "f.xml"
    path.write_text(f"{declared}<rss><item><id>a&nbsp;b</id><image_link>a.jpg</image_link></item></rss>")
    with pytest.raises(CatalogError, match="malformed XML: undefined entity"):
        read(path)


def test_an_option_of_shopify_never_takes_the_place_of_the_id_the_image_or_the_price(tmp_path):
    (tmp_path / "p.csv").write_text(
        "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,Variant Price,"
        "Image Src\nmug,Mug,ID,9,Price,cheap,Brand,Own,5,a.jpg\n"
    )
    (item,) = read(tmp_path / "p.csv")[0].values()
    assert (item.id, item.images) == ("mug", ("a.jpg",))
    assert (item.attributes["price"], item.attributes["brand"]) == (5.0, "Own")


def test_a_feed_whose_entities_grow_without_end_is_refused(tmp_path):
    path = tmp_path / "f.xml"
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<!DOCTYPE rss [<!ENTITY e0 "{"x" * 10}">{entities}]><rss><item><id>&e11;</id></item></rss>'
    path.write_text(text)
    with pytest.raises(CatalogError, match="malformed XML"):
        read(path)


def test_a_variable_product_of_woocommerce_has_the_lowest_price_of_its_variations(tmp_path):
    (tmp_path / "p.csv").write_text(
        "ID,Type,SKU,Name,In stock?,Regular price,Sale price,Images,Parent\n"
        "1,variable,,Mug,1,,,a.jpg,\n2,variation,,Mug - S,1,12.5,9,,id:1\n3,variation,L,Mug - L,1,10,,,id:1\n"
    )
    items, left_out, catalog = read(tmp_path / "p.csv")
    assert {name: (item.attributes["price"], item.attributes["sale_price"]) for name, item in items.items()} == {
        "id:1": (10.0, 9.0)
    }
    assert (left_out, catalog.contradictory_columns) == ([], ())


def test_values_of_magento_may_hold_commas_and_store_views_are_no_items(tmp_path):
    items, _, catalog = read(shop_exports.write("magento", tmp_path))
    assert items["mug-01-red"].attributes["note"] == "light, firm"
    assert items["mug-01-red"].attributes["category"] == '["Home", "Home/Mugs"]'
    assert items["mug-01"].attributes["title"] == "Mug 1"
    assert "rows of single store views are left out" in catalog.notes[1]


@EVERY
@pytest.mark.parametrize("rows", [1, 3])
def test_an_export_is_read_alike_however_many_rows_are_read_at_once(tmp_path, kind, rows, monkeypatch):
    path = shop_exports.write(kind, tmp_path)
    whole, left_out, catalog = read(path)
    monkeypatch.setattr(readers, "_BATCH", rows)
    items, left_out_too, catalog_too = read(path)
    assert (items, left_out_too) == (whole, left_out)
    assert (catalog_too.contradictory_columns, catalog_too.image_attributes) == ((), ())
    assert catalog.contradictory_columns == ()


def test_numbers_lists_and_zero_in_a_typed_table_are_kept(tmp_path):
    rows = [
        {"id": 7, "image_link": "a.jpg", "link": "x", "stars": 4.5, "sold": 0, "color": ["red", "blue"]},
        {"id": 8, "image_link": "b.jpg", "link": "x", "additional_image_link": ["c.jpg", "d.jpg"], "size": 3},
    ]
    (tmp_path / "feed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items, left_out, _ = read(tmp_path / "feed.jsonl")
    assert left_out == []
    assert (items["7"].attributes["stars"], items["7"].attributes["sold"]) == (4.5, 0)
    assert items["7"].attributes["color"] == '["red", "blue"]'
    assert (items["8"].images, items["8"].attributes["size"]) == (("b.jpg", "c.jpg", "d.jpg"), 3)


@pytest.mark.parametrize("files", [5, ["a.jpg", 5], ".", True])
def test_a_file_of_hugging_face_that_is_none_costs_its_row_alone(tmp_path, files):
    rows = [{"file_name": files, "label": 0}, {"file_name": "b/c.tar.jpg", "label": 0}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items, left_out, _ = read(tmp_path)
    assert items["b/c.tar"].attributes == {"label": 0}
    assert [reason for reason, _ in left_out] == ([] if files == "." else ["bad-address"])


def test_an_attribute_of_woocommerce_never_takes_the_place_of_the_id_or_the_image(tmp_path):
    (tmp_path / "p.csv").write_text(
        "ID,Type,SKU,Name,In stock?,Regular price,Images,Parent,Attribute 1 name,Attribute 1 value(s),"
        "Attribute 2 name,Attribute 2 value(s)\n1,simple,mug,Mug,1,9,a.jpg,,ID,9,Image,b.jpg\n"
    )
    (item,) = read(tmp_path / "p.csv")[0].values()
    assert (item.id, item.images) == ("mug", ("a.jpg",))


def test_a_variant_of_magento_without_an_image_is_told_unless_it_is_hidden(tmp_path):
    (tmp_path / "p.csv").write_text(
        "sku,product_type,name,visibility,base_image,configurable_variations\n"
        'red,simple,Red,"Catalog, Search",,\nblue,simple,Blue,Not Visible Individually,,\n'
        'mug,configurable,Mug,"Catalog, Search",a.jpg,"sku=red,color=red|sku=blue,color=blue"\n'
    )
    items, left_out, _ = read(tmp_path / "p.csv")
    assert (list(items), left_out) == (["mug"], [("no-image", "red")])


def test_a_format_can_be_named_or_denied(tmp_path):
    path = shop_exports.write("shopify", tmp_path)
    items, _, catalog = read(path, format="table")
    assert all("Vendor" in item.attributes for item in items.values())
    assert not any(note.startswith("read as") for note in catalog.notes)
    items, _, _ = read(path, format="shopify")
    assert len(items) == len(IDS["shopify"])
    with pytest.raises(CatalogError, match="there is no format 'shop'; name one of shopify, woocommerce, "):
        read(path, format="shop")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
@pytest.mark.parametrize("split", ["", "train"])
def test_an_image_folder_of_hugging_face_has_the_columns_of_its_metadata(tmp_path, name, split):
    folder = tmp_path / split
    shop_exports.paint(folder)
    rows = [json.loads(line) for line in shop_exports.huggingface().splitlines()]
    match name.rpartition(".")[2]:
        case "jsonl":
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "csv":
            (folder / name).write_text(shop_exports.table(rows, "file_name,text,price"))
        case _:
            pq.write_table(pa.Table.from_pylist(rows), folder / name)
    items, left_out, catalog = read(tmp_path)
    prefix = f"{split}/" if split else ""
    assert sorted(items) == sorted(f"{prefix}{row['file_name'].removesuffix('.png')}" for row in rows)
    item = items[f"{prefix}mug-07-1"]
    assert (item.attributes["text"], item.attributes["price"]) == ("a mug, number 7", 0.5)
    assert image_bytes(catalog.images, item.images[0]) == (folder / "mug-07-1.png").read_bytes()
    assert left_out == []


@pytest.mark.nightly
def test_a_million_rows_of_an_export_are_read_in_bounded_memory(tmp_path):
    header, first, *_ = shop_exports.shopify().splitlines()
    with (tmp_path / "p.csv").open("w", encoding="utf-8") as file:
        file.write(header + "\n")
        file.writelines(first.replace("mug-01", f"mug-{number // 3}") + "\n" for number in range(1_000_000))
    count = "sum(1 for _ in vision_recs.open_catalog(sys.argv[1]))"
    # ru_maxrss would begin with that of the process of the tests
    used = "open('/proc/self/status').read().split('VmHWM:')[1].split()[0]"
    code = f"import sys, vision_recs; print({count}, {used})"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "p.csv"], capture_output=True, text=True, check=True)
    items, kilobytes = map(int, done.stdout.split())
    assert items == 333_334
    assert kilobytes < 400_000

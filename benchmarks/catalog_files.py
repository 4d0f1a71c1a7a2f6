"""The files that `catalog.py` reads: the same products as tables, and as shop systems export them."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Write: TypeAlias = Callable[[Path, int], None]

_COLORS = ("red", "blue", "green", "black")
_VARIANTS = 4  # rows of a product, where a product has several
_GROUP = 50_000  # rows of a Parquet file that are written at once


def product(number: int) -> dict[str, str]:
    """Return the product of that *number*."""
    return {
        "id": f"P{number:08}",
        "image": f"img/{number % 1000:03}/{number}.jpg",
        "title": f"Product {number} of the shop",
        "brand": f"Brand {number % 500}",
        "category": f"Category {number % 40}",
        "color": _COLORS[number % 4],
        "price": f"{number % 900 + 0.99:.2f}",
        "quantity": str(number % 7),
        "tags": "gift, new" if number % 3 else "sale",
    }


def shopify(number: int) -> dict[str, str]:
    """Return the product as a row of Shopify's export."""
    row = product(number)
    return {
        "Handle": row["id"].lower(),
        "Title": row["title"],
        "Body (HTML)": "<p>Text</p>",
        "Vendor": row["brand"],
        "Type": row["category"],
        "Tags": row["tags"],
        "Published": "TRUE",
        "Option1 Name": "Color",
        "Option1 Value": row["color"],
        "Variant SKU": row["id"],
        "Variant Price": row["price"],
        "Variant Inventory Qty": row["quantity"],
        "Variant Inventory Policy": "deny",
        "Image Src": f"https://cdn.shop.example/{row['image']}?v=1700000000",
        "Image Position": "1",
        "Status": "active",
    }


def shopify_variant(number: int) -> dict[str, str]:
    """Return a row of a product that has several: blanks after the first one, each with a variant and an image."""
    first, place = divmod(number, _VARIANTS)
    row = shopify(number) | {"Handle": f"p{first:08}", "Image Position": str(place + 1)}
    of_product = ("Title", "Body (HTML)", "Vendor", "Type", "Tags", "Published", "Option1 Name", "Status")
    return row | dict.fromkeys(of_product if place else (), "")


def google(number: int) -> dict[str, str]:
    """Return the product as an item of a feed of Google Merchant Center."""
    row = product(number)
    return {
        "id": row["id"],
        "title": row["title"],
        "image_link": f"https://shop.example/{row['image']}",
        "price": f"{row['price']} EUR",
        "brand": row["brand"],
        "product_type": row["category"],
        "availability": "in_stock" if number % 7 else "out_of_stock",
        "color": row["color"],
        "item_group_id": f"G{number // 4}",
    }


def woocommerce(number: int) -> dict[str, str]:
    """Return the product as a row of WooCommerce: of five rows, one is a product with variations, which follow it."""
    row, place = product(number), number % 5
    of_variation = {"Parent": product(number - place)["id"], "Categories": "", "Tags": ""} if place else {}
    return {
        "ID": str(number),
        "Type": "variation" if place else "variable",
        "SKU": row["id"],
        "Name": row["title"],
        "Published": "1",
        "Is featured?": "0",
        "Short description": "Text",
        "In stock?": "1" if number % 7 else "0",
        "Stock": row["quantity"],
        "Sale price": "",
        "Regular price": row["price"] if place else "",
        "Categories": f"Home > {row['category']}, Gifts",
        "Tags": row["tags"],
        "Images": f"https://shop.example/wp-content/{row['image']}",
        "Parent": "",
        "Position": "0",
        "Attribute 1 name": "Color",
        "Attribute 1 value(s)": row["color"],
    } | of_variation


def magento(number: int) -> dict[str, str]:
    """Return the product as a row of Magento 2: four simple products, then the configurable one that they belong to."""
    row, place = product(number), number % 5
    variations = [f"sku={product(number - 4 + each)['id']},color={_COLORS[each]}" for each in range(4)]
    return {
        "sku": row["id"],
        "store_view_code": "",
        "attribute_set_code": "Default",
        "product_type": "simple" if place < _VARIANTS else "configurable",
        "categories": f"Default Category/Home,Default Category/Home/{row['category']}",
        "product_websites": "base",
        "name": row["title"],
        "description": "Text",
        "product_online": "1",
        "visibility": "Catalog, Search",
        "price": f"{row['price']}0000" if place < _VARIANTS else "",
        "url_key": row["id"].lower(),
        "base_image": f"/{row['image']}",
        "additional_attributes": f"manufacturer={row['brand']},color={row['color']},note=light, firm,code={number}",
        "qty": f"{row['quantity']}.0000",
        "is_in_stock": "1" if number % 7 else "0",
        "additional_images": f"/{row['image']}",
        "configurable_variations": "" if place < _VARIANTS else "|".join(variations),
    }


def prestashop(number: int) -> dict[str, str]:
    """Return the product as a row of PrestaShop."""
    row = product(number)
    return {
        "Product ID": str(number),
        "Active (0/1)": "1",
        "Name *": row["title"],
        "Categories (x,y,z...)": f"Home,{row['category']}",
        "Price tax included": row["price"].replace(".", ","),
        "Reference #": row["id"],
        "Quantity": row["quantity"],
        "Tags (x,y,z...)": row["tags"],
        "Image URLs (x,y,z...)": f"https://shop.example/{row['image']}",
        "Manufacturer": row["brand"],
        "Feature (Name:Value:Position:Customized)": f"Color:{row['color']}:1",
    }


def huggingface(number: int) -> dict[str, str]:
    """Return the product as a row of the metadata of an image folder of Hugging Face."""
    row = product(number)
    return {"file_name": row.pop("image"), **row}


Make: TypeAlias = Callable[[int], dict[str, str]]


def _csv(make: Make, path: Path, rows: int, *, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
        writer.writerow(make(0))
        writer.writerows(make(number).values() for number in range(rows))


def _jsonl(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(product(number)) + "\n" for number in range(rows))


def _parquet(path: Path, numbers: Iterable[int], *, but: str = "") -> None:
    numbers = list(numbers)
    schema = pa.schema([(name, pa.string()) for name in product(0) if name != but])
    with pq.ParquetWriter(path, schema) as file:
        for first in range(0, len(numbers), _GROUP):
            some = [product(number) for number in numbers[first : first + _GROUP]]
            file.write_table(pa.Table.from_pylist(some, schema))


def _partitions(path: Path, rows: int) -> None:
    for place, color in enumerate(_COLORS):
        folder = path / f"color={color}"
        folder.mkdir(parents=True)
        _parquet(folder / "part-00000.parquet", range(place, rows, len(_COLORS)), but="color")


def _feed(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n')
        for number in range(rows):
            cells = "".join(f"<g:{name}>{value}</g:{name}>" for name, value in google(number).items())
            file.write(f"<item>{cells}</item>\n")
        file.write("</channel></rss>")


def _metadata(path: Path, rows: int) -> None:
    path.mkdir()
    _csv(huggingface, path / "metadata.csv", rows)


def _packed(write: Write, path: Path, rows: int) -> None:
    plain = path.with_suffix("")
    write(plain, rows)
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(source, packed)
    plain.unlink()


_TABLE, _SHOPIFY = partial(_csv, product), partial(_csv, shopify)
FILES: dict[str, Write] = {
    "table.csv": _TABLE,
    "packed.csv.gz": partial(_packed, _TABLE),
    "table.jsonl": _jsonl,
    "table.parquet": lambda path, rows: _parquet(path, range(rows)),
    "partitions": _partitions,
    "shopify.csv": _SHOPIFY,
    "shopify-variants.csv": partial(_csv, shopify_variant),
    "shopify-packed.csv.gz": partial(_packed, _SHOPIFY),
    "google.txt": partial(_csv, google, delimiter="\t"),
    "google.xml": _feed,
    "google-packed.xml.gz": partial(_packed, _feed),
    "woocommerce.csv": partial(_csv, woocommerce),
    "magento.csv": partial(_csv, magento),
    "prestashop.csv": partial(_csv, prestashop, delimiter=";", quoting=csv.QUOTE_ALL),
    "huggingface": _metadata,
}
"""What writes each file, or folder, with a number of rows."""

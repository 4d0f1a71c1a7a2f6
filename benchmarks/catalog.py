"""How long a catalog takes to be read, by its format, and how much memory.

python benchmarks/catalog.py [--rows 1000000] [--work DIR]     (half a minute for 100,000 rows, five for a million)

The same products are written as a plain table (CSV, JSON Lines, Parquet), as exports of Shopify and Google Merchant
Center (text and XML), and packed by gzip. Each is read to its end in a process of its own: seconds of the processor,
and the memory at its peak. The ratio is to the plain CSV. Nothing reads the images. Prints the table and writes
catalog.json beside this file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from machine import provenance

from vision_recs.catalog import open_catalog

COLORS = ("red", "blue", "green", "black")


def product(number: int) -> dict[str, str]:
    """Return the product of that *number*."""
    return {
        "id": f"P{number:08}",
        "image": f"img/{number % 1000:03}/{number}.jpg",
        "title": f"Product {number} of the shop",
        "brand": f"Brand {number % 500}",
        "category": f"Category {number % 40}",
        "color": COLORS[number % 4],
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


def write_table(path: Path, rows: Iterator[dict[str, str]], *, header: list[str], delimiter: str = ",") -> None:
    """Write *rows* to *path*."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, delimiter=delimiter, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_csv(path: Path, rows: int) -> None:
    """Write a plain table."""
    write_table(path, map(product, range(rows)), header=list(product(0)))


def write_jsonl(path: Path, rows: int) -> None:
    """Write a plain table as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(product(number)) + "\n" for number in range(rows))


def write_parquet(path: Path, rows: int) -> None:
    """Write a plain table as Parquet."""
    schema = pa.schema([(name, pa.string()) for name in product(0)])
    with pq.ParquetWriter(path, schema) as file:
        for first in range(0, rows, 50_000):
            some = [product(number) for number in range(first, min(rows, first + 50_000))]
            file.write_table(pa.Table.from_pylist(some, schema))


def write_shopify(path: Path, rows: int) -> None:
    """Write an export of Shopify."""
    write_table(path, map(shopify, range(rows)), header=list(shopify(0)))


def write_google(path: Path, rows: int) -> None:
    """Write a feed of Google as text."""
    write_table(path, map(google, range(rows)), header=list(google(0)), delimiter="\t")


def write_feed(path: Path, rows: int) -> None:
    """Write a feed of Google as XML."""
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n')
        for number in range(rows):
            cells = "".join(f"<g:{name}>{value}</g:{name}>" for name, value in google(number).items())
            file.write(f"<item>{cells}</item>\n")
        file.write("</channel></rss>")


def write_packed(path: Path, rows: int) -> None:
    """Write a plain table, packed by gzip."""
    plain = path.with_name("packed.csv")
    write_csv(plain, rows)
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(source, packed)
    plain.unlink()


FORMATS: dict[str, Callable[[Path, int], None]] = {
    "table.csv": write_csv,
    "table.csv.gz": write_packed,
    "table.jsonl": write_jsonl,
    "table.parquet": write_parquet,
    "shopify.csv": write_shopify,
    "google.txt": write_google,
    "google.xml": write_feed,
}


def read(path: str) -> dict[str, Any]:
    """Read the catalog at *path*, and return how many items it has and what that took."""
    catalog = open_catalog(path)
    started = process_time()
    items = sum(1 for _ in catalog)
    seconds = process_time() - started
    peak = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("utf-8"))  # of this program alone
    return {"items": items, "cpu_s": round(seconds, 2), "peak_mb": int(peak[0]) >> 10 if peak else None}


def measure(rows: int, work: Path) -> dict[str, Any]:
    """Return the results of every format."""
    found: dict[str, Any] = {}
    for name, write in FORMATS.items():
        path = work / name
        write(path, rows)
        command = [sys.executable, __file__, "--read", str(path)]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found[name] |= {
            "items_per_cpu_s": round(found[name]["items"] / found[name]["cpu_s"]),
            "cpu_of_csv": round(found[name]["cpu_s"] / found["table.csv"]["cpu_s"], 2),
            "file_mb": path.stat().st_size >> 20,
        }
        print(f"{name:14} {found[name]}", flush=True)
        path.unlink()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, help="a folder for the files [default: a temporary one]")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        result = {"rows": options.rows, "formats": measure(options.rows, Path(work)), **provenance()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

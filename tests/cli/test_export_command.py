"""Exports of shop systems, and tables that are not perfect, indexed as a person does it."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import shop_exports
from PIL import Image

FILTERS = {
    "shopify": ('"gift" in tags and in_stock and color == "red"', ["mug-02-red", "mug-03-red"]),
    "google-text": ('currency == "EUR" and color == "red" and price > 9', ["mug-02-red"]),
    "google-xml": ('sale_price == 8 and color == "red"', ["mug-02-red", "mug-03-red"]),
    "woocommerce": ('"Gifts" in category and color == "red"', ["mug-02-red", "mug-03-red"]),
    "magento": ('brand == "T\u00f8nder" and color == "red" and in_stock', ["mug-02-red", "mug-03-red"]),
    "prestashop": ('in_stock and "clay" in tags and price > 1000', ["10", "14", "18", "2"]),
}


@pytest.fixture(scope="module")
def painted(visrec, tmp_path_factory) -> Path:
    """A store of the images of the exports, which have the same in each format."""
    folder = tmp_path_factory.mktemp("painted")
    shop_exports.write("shopify", folder)
    assert visrec("index", "images", cwd=folder).returncode == 0
    return folder / ".visrec"


@pytest.mark.parametrize("kind", shop_exports.EXPORTS)
def test_an_export_is_indexed_by_its_name_alone(visrec, tmp_path: Path, painted: Path, kind: str):
    export = shop_exports.write(kind, tmp_path)
    if kind != "shopify":  # which begins without a store
        shutil.copytree(painted, tmp_path / ".visrec")
    done = visrec("index", export.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: read as " in done.stderr
    assert "skipped 1 (1 no-image) beside " in done.stderr
    where, expected = FILTERS[kind]
    query = "1" if kind == "prestashop" else "mug-01-red"
    found = visrec("similar", query, "--where", where, "--json", cwd=tmp_path)
    assert sorted(json.loads(line)["id"] for line in found.stdout.splitlines()) == expected, found.stderr


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with a fault of each kind, in Windows-1252."""
    for name in ("1", "2", "3"):
        Image.new("RGB", (32, 32), (int(name) * 60, 90, 30)).save(tmp_path / f"{name}.png")
    (tmp_path / "my shop.csv").write_bytes(
        "id;image;price;v w;size\nm\u00fc;1.png;14,90 \u20ac;front;1\n"
        "m\u00fc;2.png;;back;2\nb;3.png;1.299,00 \u20ac;x;3\n"
        ";3.png;;;\n4.00638E+12;3.png;;;\nc;;;;\nd;ftp://x/y.png;;;\ne;gone.png;;;\nf;3.png\n".encode("cp1252")
    )
    return tmp_path / "my shop.csv"


def test_all_faults_of_a_table_are_told_at_once_and_strict_fails_at_the_end(visrec, table):
    done = visrec("index", table.name, "--strict", "--json", cwd=table.parent)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    reasons = {"bad-address", "malformed", "missing", "no-id", "no-image", "rounded-id"}
    assert report["skipped_reasons"] == dict.fromkeys(reasons, 1) | {"contradiction": 2}
    assert (report["items"], report["images"], report["skipped"]) == (2, 3, 8)
    assert report["contradictory_columns"] == ["v w", "size"]
    assert "the text is not UTF-8 and was read as Windows-1252" in report["notes"][0]
    lines = (table.parent / ".visrec" / "skipped" / "000001.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {*reasons, "contradiction"}
    assert "my shop.csv:5, column 'id': the id is empty; give every row one" in "\n".join(lines)


def test_the_command_that_is_printed_for_contradictory_columns_accepts_them(visrec, table):
    done = visrec("index", table.name, "--quiet", cwd=table.parent)
    assert done.stderr == ""
    done = visrec("index", table.name, cwd=table.parent)
    (command,) = [line.strip() for line in done.stderr.splitlines() if line.startswith("  visrec ")]
    assert command == "visrec index 'my shop.csv' '--image-attribute=v w' --image-attribute=size"
    again = visrec(*shlex.split(command)[1:], cwd=table.parent)
    assert again.returncode == 0
    assert "attributes of the image, not of the item: v w, size" in again.stdout
    assert "contradiction" not in again.stderr
    found = visrec("similar", "mu\u0308", "--json", "--where", 'currency == "EUR" and price > 1000', cwd=table.parent)
    assert [json.loads(line)["id"] for line in found.stdout.splitlines()] == ["b"]
    wrong = visrec("similar", "b", "--where", 'currency == "EURO"', cwd=table.parent)
    assert "note: no item has 'EURO' as currency; the nearest is 'EUR'" in wrong.stderr

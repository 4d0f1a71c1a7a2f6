from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def shop(visrec, sample_images, sample_store, tmp_path_factory) -> Path:
    """The sample shop with a chair twice, a lamp and a small mug saved anew, and an image that says nothing."""
    folder = tmp_path_factory.mktemp("shop")
    with (sample_images / "catalog.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for image in sample_images.glob("*.jpg"):
        (folder / image.name).symlink_to(image)
    shutil.copy(sample_images / "chair-03-1.jpg", folder / "seat.jpg")
    with Image.open(sample_images / "lamp-02-2.jpg") as image:
        image.resize((400, 400)).save(folder / "lamp.jpg", quality=70)
    with Image.open(sample_images / "mug-04-1.jpg") as image:
        image.resize((240, 240)).save(folder / "cup.jpg", quality=40)  # nearer to other mugs than to this one
    Image.new("RGB", (64, 64), (230, 230, 230)).save(folder / "none.jpg")
    rows.append({**rows[0], "id": "seat", "image": "seat.jpg", "title": "<b>Seat</b>", "variant_group": "x"})
    rows.append({**rows[0], "id": "light", "image": "lamp.jpg", "title": "Light", "variant_group": "y"})
    rows.append({**rows[0], "id": "cup", "image": "cup.jpg", "title": "Cup", "variant_group": "z"})
    rows += [
        {**rows[0], "id": f"new-{number}", "image": "none.jpg", "variant_group": f"n{number}"} for number in range(4)
    ]
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.copytree(sample_store, folder / "index")  # which knows all but four images
    done = visrec("index", folder / "catalog.csv", "--store", folder / "index")
    assert done.returncode == 0, done.stderr
    return folder


def test_copies_are_found_and_variants_are_not(visrec, shop):
    done = visrec("duplicates", "--placeholder", "4", "--store", shop / "index")
    assert done.returncode == 0, done.stderr
    said, _, *rows = done.stdout.splitlines()
    assert said.startswith("3 groups of duplicates and 1 placeholder among 67 items; threshold 0.9")
    assert ", measured on the data; " in said
    assert said.endswith(" images compared by pixels")
    assert [row.split() for row in rows[:1]] == [["exact", "1.000", "2", "chair-03", "seat"]]
    assert rows[1].split()[0] == "near"
    assert rows[1].split()[-2:] == ["lamp-02", "light"]
    assert [rows[2].split()[0], *rows[2].split()[-2:]] == ["near", "cup", "mug-04"]
    assert rows[3].split() == ["placeholder", "4", "none.jpg:", "new-0", "new-1", "new-2", "..."]


def test_json_is_a_line_a_group(visrec, shop):
    done = visrec("duplicates", "--placeholder", "4", "--store", shop / "index", "--json", "-q")
    assert done.stderr == ""
    exact, near, copy, placeholder = map(json.loads, done.stdout.splitlines())
    assert exact == {
        "kind": "exact",
        "score": 1.0,
        "items": ["chair-03", "seat"],
        "images": ["chair-03-1.jpg", "seat.jpg"],
        "threshold": near["threshold"],
    }
    assert (near["kind"], near["items"], near["images"]) == (
        "near",
        ["lamp-02", "light"],
        ["lamp-02-2.jpg", "lamp.jpg"],
    )
    assert near["threshold"] <= near["score"] < 1
    assert copy["items"] == ["cup", "mug-04"]
    assert copy["score"] < copy["threshold"]
    assert placeholder == {
        "kind": "placeholder",
        "image": "none.jpg",
        "items": ["new-0", "new-1", "new-2", "new-3"],
    }


def test_a_lower_threshold_finds_more_and_a_higher_one_less(visrec, shop):
    def groups(*options: str) -> list[list[str]]:
        done = visrec("duplicates", "--placeholder", "4", *options, "--store", shop / "index", "--json")
        assert done.returncode == 0, done.stderr
        return [line["items"] for line in map(json.loads, done.stdout.splitlines()) if "score" in line]

    assert groups("--threshold", "1") == [["chair-03", "seat"]]
    assert len(groups("--threshold", "0.85", "--one-per", "item")) > len(groups("--threshold", "0.95")) == 2


def test_csv_has_a_row_an_item(visrec, shop, tmp_path):
    out = tmp_path / "duplicates.csv"
    done = visrec("duplicates", "--placeholder", "4", "--csv", out, "--store", shop / "index", "-q")
    assert done.stderr == f"wrote {out}\n"
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["group"], row["kind"], row["item_id"]) for row in rows] == [
        ("1", "exact", "chair-03"),
        ("1", "exact", "seat"),
        ("2", "near", "lamp-02"),
        ("2", "near", "light"),
        ("3", "near", "cup"),
        ("3", "near", "mug-04"),
        *[("4", "placeholder", f"new-{number}") for number in range(4)],
    ]


def test_a_placeholder_of_few_items_names_them_all(visrec, shop):
    done = visrec("duplicates", "--placeholder", "2", "--store", shop / "index", "-q")
    rows = [row.split() for row in done.stdout.splitlines() if row.startswith("placeholder")]
    assert ["placeholder", "2", "chair-03-1.jpg:", "chair-03", "seat"] in rows
    assert rows[0][-1] == "..."  # of four, three are named


def test_images_that_cannot_be_looked_at_are_told(visrec, shop, tmp_path):
    page = tmp_path / "page.html"
    hidden = (shop / "cup.jpg").rename(tmp_path / "cup.jpg")
    try:
        done = visrec("duplicates", "--placeholder", "4", "--html", page, "--store", shop / "index", "-q")
    finally:
        hidden.rename(shop / "cup.jpg")
    assert "; 1 image of other machines, lost or changed, by vectors alone" in done.stdout
    assert "cup" not in done.stdout
    assert " 1 image of other machines, lost or changed, could not be looked at" in page.read_text("utf-8")


def test_the_page_shows_every_item_and_needs_no_other_file(visrec, shop, tmp_path):
    page = tmp_path / "page.html"
    done = visrec("duplicates", "--placeholder", "4", "--html", page, "--store", shop / "index", "-q")
    assert done.returncode == 0, done.stderr
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 2 + 2 + 2 + 1
    assert "http" not in text.replace("data:", "")
    assert "3 groups of duplicates" in text
    assert "&lt;b&gt;Seat&lt;/b&gt;" in text
    assert "<b>Seat" not in text
    assert "4 items show none.jpg" in text


def test_a_shop_without_duplicates_says_so(visrec, sample_store, tmp_path):
    done = visrec("duplicates", "--html", tmp_path / "page.html", "--store", sample_store)
    assert done.stdout.startswith("0 groups of duplicates and 0 placeholders among 60 items; threshold 0.9")
    assert done.stdout.count("\n") == 1
    assert "No duplicates" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (["--threshold", "1.5"], 2, "1.5 is not above 0 and at most 1"),
        (["--placeholder", "1"], 2, "--placeholder"),
        (["--one-per", "brandt"], 1, "no item has the attribute 'brandt'"),
    ],
)
def test_a_mistake_is_said(visrec, sample_store, options, status, sentence):
    done = visrec("duplicates", *options, "--store", sample_store)
    assert done.returncode == status
    assert sentence in done.stderr

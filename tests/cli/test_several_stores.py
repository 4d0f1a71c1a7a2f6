"""The commands over a catalog that is split into four stores: what they say is what they say of one store."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

ITEMS, IMAGES = 15, 24


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def catalog(sample_images, tmp_path_factory):
    """The mugs, vases and lamps of the samples: of the first mugs two images, of all others one."""
    folder = tmp_path_factory.mktemp("catalog")
    with (sample_images / "catalog.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in {"mug", "vase", "lamp"}]
    rows = [row for row in rows if row["image"].endswith("-1.jpg") or row["id"] in {"mug-01", "mug-02", "lamp-03"}]
    for row in rows:
        (folder / row["image"]).symlink_to(sample_images / row["image"])
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "catalog.csv"


@pytest.fixture(scope="module")
def one_store(visrec, catalog, tmp_path_factory):
    """The catalog in one store; not to be changed."""
    folder = tmp_path_factory.mktemp("one") / "shop"
    done = visrec("index", catalog, "--store", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def split_store(visrec, catalog, tmp_path_factory):
    """The catalog in four stores; not to be changed."""
    folder = tmp_path_factory.mktemp("split") / "shop"
    done = visrec("index", catalog, "--store", folder, "--partitions", "4", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["items"], report["images"], report["embedded"], report["generation"]) == (
        ITEMS,
        IMAGES,
        IMAGES,
        4,
    )
    return folder


def test_similar_over_four_stores_answers_as_one_store_does(visrec, one_store, split_store, sample_images, tmp_path):
    image = sample_images / "lamp-03-2.jpg"
    asked = [
        ["mug-01", "vase-02:2", "--negative", "mug-03", "--explain", "--json"],
        ["--image", image, "mug-01", "--where", 'category == "mug" and price < 20', "--one-per", "item", "--json"],
        ["mug-01", "-k", "4"],
    ]
    partitions = [split_store / f"partition-{number}-of-4" for number in range(4)]
    named = [[split_store], [split_store / "STORES"], partitions]
    for arguments, stores in zip(asked, named, strict=True):
        one = visrec("similar", *arguments, "--store", one_store)
        several = visrec("similar", *arguments, *(part for store in stores for part in ("--store", store)))
        assert several.returncode == 0, several.stderr
        assert several.stdout == one.stdout
        assert several.stdout
    page = tmp_path / "page.html"
    done = visrec(
        "similar", "mug-01", "-k", "3", "--where", 'category == "mgu"', "--html", page, VISREC_STORE=str(split_store)
    )
    assert "note: no item has 'mgu' as category; the nearest is 'mug'" in done.stderr
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") == 4
    assert f"{ITEMS} items, encoder" in page.read_text("utf-8")


def test_neighbors_of_four_stores_are_those_of_one_store(visrec, one_store, split_store, tmp_path):
    for name, store in (("one", one_store), ("several", split_store)):
        done = visrec("neighbors", tmp_path / f"{name}.csv", "-k", "5", "--store", store)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "several.csv").read_text()
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 1 + 5 * ITEMS


def test_info_verify_and_evaluate_tell_of_all_stores(visrec, split_store):
    info = json.loads(visrec("info", "--store", split_store, "--json").stdout)
    assert (info["items"], info["images"], info["generation"], info["recall_at_10"]) == (ITEMS, IMAGES, 4, 1.0)
    assert [each["store"] for each in info["stores"]] == [str(split_store / f"partition-{n}-of-4") for n in range(4)]
    assert sum(each["items"] for each in info["stores"]) == ITEMS
    assert "partition-3-of-4" in visrec("info", "--store", split_store).stdout
    assert visrec("verify", "--store", split_store).stdout == f"{split_store} is sound\n"
    found = json.loads(visrec("evaluate", "--store", split_store, "--json").stdout)
    assert [each["recall_at_10"] for each in found["indexes"]] == [1.0]
    labels = json.loads(visrec("evaluate", "--labels", "category", "--store", split_store, "--json").stdout)
    assert labels["queries"] == ITEMS
    done = visrec("evaluate", "--labels", "category", "--encoder", "clip", "--store", split_store)
    assert done.returncode == 2
    assert "only one store is compared with another" in done.stderr


def test_one_partition_is_made_by_itself_and_updates_find_their_store(visrec, catalog, split_store, tmp_path):
    shop = shutil.copytree(split_store, tmp_path / "shop")
    shutil.rmtree(shop / "partition-3-of-4" / "items")
    (shop / "partition-3-of-4" / "CURRENT").unlink()
    assert "partition-3-of-4" in visrec("similar", "mug-01", "--store", shop).stderr
    shutil.copytree(split_store / "partition-3-of-4", shop / "partition-3-of-4", dirs_exist_ok=True)
    done = visrec("index", catalog, "--store", shop, "--partition", "3/4", "--json")
    assert (done.returncode, json.loads(done.stdout)["embedded"]) == (0, 0), done.stderr
    (tmp_path / "changes.jsonl").write_text('{"id": "mug-02", "price": 900}\n{"id": "lamp-03", "deleted": true}\n')
    done = visrec("update", tmp_path / "changes.jsonl", "--store", shop)
    assert "changed 1, removed 1" in done.stdout
    assert f"has {ITEMS - 1} items" in done.stdout
    asked = ("--where", "price > 800", "--one-per", "item", "--store", shop, "--json")
    (match,) = lines(visrec("similar", "mug-01", *asked).stdout)
    assert match["id"] == "mug-02"
    assert "2 older generation(s)" in visrec("gc", "--store", shop).stdout
    for arguments, sentence in (
        (["index", catalog, "--partition", "2/2"], "0/2 to 1/2"),
        (["index", catalog, "--partition", "0/2", "--partitions", "3"], "but --partitions is 3"),
        (["index", catalog, "--partition", "0/4", "--partitions", "4"], "leave out --partitions"),
        (["index", catalog, "--partitions", "5"], "has 4 partitions, not 5"),
        (["duplicates"], "is a list of several stores"),
    ):
        done = visrec(*arguments, "--store", shop)
        assert done.returncode in {1, 2}
        assert sentence in " ".join(done.stderr.split()).replace("│ ", "")

"""A store that was moved together with its images still shows them."""

import csv
import shutil

import pytest
from fake_shop import FakeEncoder, image
from starlette.testclient import TestClient

import vision_recs
from vision_recs.serve import ServeOptions, create_app


@pytest.fixture
def moved(tmp_path):
    """A shop with its store, in another place than where it was indexed."""
    shop = tmp_path / "before" / "shop"
    (shop / "data" / "images").mkdir(parents=True)
    with (shop / "data" / "catalog.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image"])
        for number in range(3):
            (shop / f"data/images/{number}.png").write_bytes(image(number))
            table.writerow([f"item{number}", f"images/{number}.png"])
    vision_recs.index(shop / "data" / "catalog.csv", shop / "store", encoder=FakeEncoder())
    (tmp_path / "after").mkdir()
    return shutil.move(shop, tmp_path / "after" / "shop")


def test_its_pages_show_the_images(moved, visrec):
    done = visrec("similar", "item0", "--store", "store", "--html", "page.html", cwd=moved)
    assert done.returncode == 0, done.stderr
    assert (moved / "page.html").read_text().count("data:image/jpeg;base64,") == 3


def test_its_server_shows_thumbnails(moved):
    with TestClient(create_app(ServeOptions(moved / "store"))) as client:
        digest = client.get("/v1/items/item1").json()["images"][0]["digest"]
        assert client.get(f"/v1/thumbnails/{digest}").headers["content-type"] == "image/jpeg"


def test_images_that_stayed_are_shown_from_where_they_are(moved, tmp_path):
    shutil.move(moved / "store", tmp_path / "store")
    shutil.move(moved, tmp_path / "before" / "shop")
    assert vision_recs.Store.open(tmp_path / "store").image_root == str(tmp_path / "before" / "shop" / "data")


def test_images_that_are_nowhere_are_looked_for_where_they_were(moved, tmp_path):
    shutil.move(moved / "store", tmp_path / "elsewhere")
    assert vision_recs.Store.open(tmp_path / "elsewhere").image_root == str(tmp_path / "before" / "shop" / "data")

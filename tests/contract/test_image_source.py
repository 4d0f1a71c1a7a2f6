"""What `ImageSource` promises, tested on files and on a source from outside the package; and who reads through it."""

import base64
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fake_shop import FakeEncoder, Unused, image, png
from memory_catalog import MemoryCatalog, MemoryImages
from PIL import Image
from starlette.testclient import TestClient
from visrec_cli.html import duplicates_page, similar_page
from visrec_cli.output import QueryPart

import vision_recs
from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import ImageError
from vision_recs.jobs import store_of_encoder
from vision_recs.serve import ServeOptions, create_app
from vision_recs.types import Unchanged

IMAGES = {
    number: png(np.full((8, 8, 3), color)) for number, color in enumerate([(200, 20, 20), (20, 200, 20), (20, 20, 200)])
}


def files(folder):
    for number, data in IMAGES.items():
        path = Path(folder, str(number))
        path.write_bytes(data)
        path.chmod(0o644)
        os.utime(path, (0, 0))
    return ImageFiles(str(folder)), "{}".format


def memory(_):
    return MemoryImages(IMAGES), "db:{}".format


@pytest.fixture(params=[files, memory], ids=["files", "memory"])
def source(request, tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.catalog.image_files._RACY_NS", 0)
    return request.param(tmp_path)


def test_an_image_is_returned_unless_its_signature_is_known(source):
    images, name = source
    for number, data in IMAGES.items():
        found = images.read(name(number))
        assert found.data == data
        assert found.signature
        assert images.read(name(number), known="another") == found
        assert isinstance(images.read(name(number), known=found.signature), Unchanged)


def test_an_image_that_is_not_there_is_missing(source):
    images, name = source
    for known in (None, images.read(name(0)).signature):
        with pytest.raises(ImageError) as caught:
            images.read(name(99), known=known)
        assert caught.value.reason == "missing"


def test_threads_get_the_images_that_they_name(source):
    images, name = source
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda number: images.read(name(number)).data, [0, 1, 2] * 20)
    assert list(found) == [IMAGES[number] for number in [0, 1, 2] * 20]


# A catalog in memory, from end to end


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    return MemoryCatalog(dict(IMAGES))


@pytest.fixture
def store(catalog, tmp_path):
    vision_recs.index(catalog, tmp_path / "store", encoder=FakeEncoder())
    return tmp_path / "store"


def test_only_what_changed_is_embedded_again(catalog, store):
    assert vision_recs.index(catalog, store, encoder=Unused()).generation == 1
    catalog.images.images[1] = image(11)
    assert vision_recs.index(catalog, store, encoder=FakeEncoder()).embedded == 1


def pictures_of(page):
    """Return the numbers of the images inside of a page."""
    found = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", page.read_text())
    return [color_of(base64.b64decode(each)) for each in found]


def color_of(data):
    """Return which channel of a picture is the brightest: the number of the image that it shows."""
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (8, 8)
        return int(np.argmax(picture.convert("RGB").getpixel((4, 4))))


def test_the_server_shows_its_thumbnails(catalog, store):
    with TestClient(create_app(ServeOptions(store, images=catalog.images))) as client:
        for number in IMAGES:
            url = client.get(f"/v1/items/item{number}").json()["images"][0]["thumbnail"]
            answer = client.get(url)
            assert answer.headers["content-type"] == "image/jpeg"
            assert color_of(answer.content) == number


def test_the_page_of_similar_items_shows_the_images(catalog, store, tmp_path):
    recommender = vision_recs.open(store, images=catalog.images)
    matches = recommender.similar("item0", k=2)
    similar_page.write_page(tmp_path / "page.html", recommender.items, [QueryPart(item="item0")], matches)
    assert pictures_of(tmp_path / "page.html") == [0, *(int(match.id.removeprefix("item")) for match in matches)]


def test_the_page_of_duplicates_shows_the_images(catalog, tmp_path):
    catalog.images.images[3] = IMAGES[0]
    vision_recs.index(catalog, tmp_path / "store", encoder=FakeEncoder())
    with vision_recs.Store.open(tmp_path / "store", images=catalog.images) as opened:
        duplicates_page.write_page(
            tmp_path / "page.html", opened, find_duplicates(opened, DuplicateOptions(threshold=0.999))
        )
    assert pictures_of(tmp_path / "page.html") == [0, 0]


def test_another_encoder_reads_the_images_from_there(catalog, store, monkeypatch):
    monkeypatch.setattr("vision_recs.jobs.reencode.canonical_name", lambda name: name)
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name, turn=5))
    with vision_recs.Store.open(store, images=catalog.images) as opened:
        other = store_of_encoder(opened, "another")
    assert (other.manifest.encoder.name, other.item_count) == ("another", 3)


def test_without_its_source_the_images_are_missing_and_the_answers_are_not(store, tmp_path):
    recommender = vision_recs.open(store)
    matches = recommender.similar("item0", k=2)
    assert len(matches) == 2
    similar_page.write_page(tmp_path / "page.html", recommender.items, [QueryPart(item="item0")], matches)
    assert pictures_of(tmp_path / "page.html") == []
    with TestClient(create_app(ServeOptions(store))) as client:
        url = client.get("/v1/items/item0").json()["images"][0]["thumbnail"]
        answer = client.get(url)
        assert (answer.status_code, answer.json()["reason"]) == (404, "missing")

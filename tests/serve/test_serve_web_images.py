"""Images at addresses in a server: thumbnails of them, changes that bring them, and hosts that are slow or private."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import pytest
import web_site
from fake_shop import FakeEncoder, image
from PIL import Image
from web_site import status

import vision_recs
from vision_recs.catalog import CatalogOptions
from vision_recs.jobs import IndexOptions
from vision_recs.recommend import Recommender
from vision_recs.remote.options import RemoteOptions
from vision_recs.serve import ServeOptions
from vision_recs.serve.reloader import Reloader

TOKEN = "a token for the tests of images on the web"


@pytest.fixture
def store(tmp_path, site, monkeypatch):
    """A store of six images at addresses, with another cache of thumbnails than that of other tests."""
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    site.files = {f"/{number}.png": image(number) for number in range(6)}
    (tmp_path / "shop.csv").write_text(
        "id,image\n" + "".join(f"item{number},{site.url}/{number}.png\n" for number in range(6))
    )
    options = IndexOptions(CatalogOptions(remote=RemoteOptions(allow_private=True, own_images=True, pace=1e6)))
    vision_recs.index(tmp_path / "shop.csv", tmp_path / "store", encoder=FakeEncoder(), options=options)
    site.requests.clear()
    return tmp_path / "store"


def thumbnail_of(client, number):
    return client.get(f"/v1/items/item{number}").json()["images"][0]["thumbnail"]


def test_a_thumbnail_of_an_image_at_an_address_is_fetched_once(connect, store, site):
    with connect(store, allow_private_addresses=True) as client:
        for _ in range(3):
            found = client.get(thumbnail_of(client, 1))
            assert found.status_code == 200
            assert Image.open(BytesIO(found.content)).size == (8, 8)
    assert site.bodies() == ["/1.png"]


def test_that_the_catalog_allowed_private_addresses_does_not_allow_them_to_clients(connect, store, site):
    with connect(store) as client:
        found = client.get(thumbnail_of(client, 1))
        assert (found.status_code, found.json()["reason"]) == (422, "private-address")
        assert site.url not in found.text
        assert "127.0.0.1" not in found.json()["detail"]
    assert site.requests == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(404), (404, "http-404")),
        (status(503), (422, "http-5xx")),
        (web_site.a_page, (422, "wrong-type")),
        (web_site.huge, (413, "too-large")),
        (lambda handler: handler.give(200, image(99), {"content-type": "image/png"}), (404, "changed")),
    ],
)
def test_an_image_that_cannot_be_had_has_no_thumbnail_and_says_why(connect, store, site, answer, expected):
    site.answers["/1.png"] = answer
    with connect(store, allow_private_addresses=True) as client:
        url = thumbnail_of(client, 1)
        found = client.get(url)
        assert (found.status_code, found.json()["reason"]) == expected
        assert len(site.requests) == 1
        site.answers = {}
        assert client.get(url).status_code == 200


def test_a_host_that_does_not_answer_holds_up_nothing_but_its_own_images(connect, store, site):
    asked = threading.Event()

    def silent(handler):
        asked.set()
        web_site.silent(handler)

    with connect(store, allow_private_addresses=True) as client:
        first = thumbnail_of(client, 1)
        assert client.get(first).status_code == 200
        urls = [thumbnail_of(client, number) for number in (2, 3, 4)]
        site.answers = dict.fromkeys(("/2.png", "/3.png"), silent)
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(client.get, url) for url in urls[:2]]
            assert asked.wait(120)
            assert client.get("/v1/similar?id=item0&k=3").status_code == 200
            assert client.get(first).status_code == 200  # from the cache
            assert client.get(urls[2]).status_code == 200  # fetched, beside those that wait
            assert not any(each.done() for each in waiting)
            site.stopped.set()
            assert {each.result().status_code for each in waiting} == {422}


def test_a_change_that_brings_an_image_at_an_address_is_made_within_the_same_guard(connect, store, site, monkeypatch):
    monkeypatch.setattr(Recommender, "image_encoder", lambda _: FakeEncoder())
    site.files["/new.png"] = image(50)
    change = {"changes": [{"id": "new", "image": f"{site.url}/new.png"}]}
    headers = {"authorization": f"Bearer {TOKEN}"}
    for allowed, skipped in (
        (False, [{"id": "new", "image": f"{site.url}/new.png", "reason": "private-address"}]),
        (True, []),
    ):
        with connect(store, token=TOKEN, allow_private_addresses=allowed) as client:
            answer = client.post("/v1/items:update", json=change, headers=headers)
            assert answer.status_code == 202, answer.text
            assert answer.json()["skipped_images"] == skipped
    with vision_recs.Store.open(store) as opened:
        assert "new" in opened.ids()
        assert opened.remote_options == RemoteOptions(allow_private=True, own_images=True, pace=1e6)


def test_a_server_is_in_a_hurry(store):
    options = ServeOptions(store, allow_private_addresses=True)
    reloader = Reloader(options)
    remote = reloader.snapshot.opened.images.remote.options
    reloader.close()
    stored = RemoteOptions(allow_private=True, own_images=True, pace=1e6)
    assert remote == replace(stored.hurried(), max_bytes=20 << 20)
    assert (remote.tries, remote.max_rest_s) == (1, 0)

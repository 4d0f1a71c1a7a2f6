"""A server over an engine, without the store: the same answers, and new generations while requests go on."""

import time

import httpx
import pytest
from fake_shop import FakeEncoder, image, index, png, shop_of
from starlette.testclient import TestClient

from vision_recs.engines import publish, rollback
from vision_recs.errors import NothingPublished
from vision_recs.serve import ServeOptions, create_app

pytest.importorskip("lancedb")


@pytest.fixture
def shop():
    shop = shop_of(12)
    shop.put("mug-01", 20, 21, color="blue mug", in_stock=True, image_attributes=[{"view": 1}, {"view": 2}])
    return shop


@pytest.fixture
def published(shop, tmp_path, monkeypatch):
    """The folder of a store and the URI of an engine to which it is published."""
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    monkeypatch.setattr("vision_recs.serve.engine_source._POLL_S", 0.0)
    index(shop, tmp_path / "store")
    uri = f"lance:{tmp_path / 'engine'}"
    publish(uri, tmp_path / "store")
    return tmp_path / "store", uri


def client_of(**options):
    return TestClient(create_app(ServeOptions(poll_interval_s=3600, **options)), raise_server_exceptions=False)


ASKED = [
    ("GET", "/v1/similar?id=mug-01&k=5&explain=true", None),
    ("GET", "/v1/similar?id=item003&where=price>4", None),
    ("GET", "/v1/similar?id=nobody", None),
    ("GET", "/v1/similar?id=item003&where=prize>4", None),
    ("POST", "/v1/similar", {"history": [{"id": "item001"}, {"id": "mug-01"}], "negatives": ["item002"], "k": 4}),
    ("GET", "/v1/items?limit=5&offset=3", None),
    ("GET", "/v1/items?where=price<4", None),
    ("GET", "/v1/items?q=mug", None),
    ("GET", "/v1/items/mug-01", None),
    ("GET", "/v1/facets", None),
]


def test_answers_are_those_of_a_server_over_the_store(published, tmp_path):
    store, uri = published
    with client_of(store=store) as local, client_of(store=tmp_path / "none", engine=uri) as engine:
        for method, path, body in ASKED:
            expected, found = (client.request(method, path, json=body) for client in (local, engine))
            assert found.status_code == expected.status_code, (path, found.text)
            assert without_request(found.json()) == without_request(expected.json()), path
        photo = {"content": image(20), "headers": {"content-type": "image/png"}}
        expected, found = (each.post("/v1/similar/image?k=3", **photo) for each in (local, engine))
        assert found.json() == expected.json()
        assert found.json()["matches"][0]["id"] == "mug-01"


def without_request(body):
    return {name: value for name, value in body.items() if name not in {"instance", "request_id"}}


def test_it_tells_what_it_serves_and_changes_nothing(published, tmp_path):
    _, uri = published
    with client_of(store=tmp_path / "none", engine=uri, token="secret") as client:
        bearer = {"authorization": "Bearer secret"}
        info = client.get("/v1/info", headers=bearer).json()
        assert {name: info[name] for name in ("generation", "items", "images", "encoder", "index_type")} == {
            "generation": 1,
            "items": 13,
            "images": 14,
            "encoder": "fake",
            "index_type": "engine",
        }
        refused = client.post("/v1/items:update", json={"changes": [{"id": "mug-01", "deleted": True}]}, headers=bearer)
        assert refused.status_code == 403
        assert "answers from an engine" in refused.json()["detail"]
        assert "visrec_items 13.0" in client.get("/metrics", headers=bearer).text


def test_thumbnails_come_from_a_folder_of_images_or_are_refused(published, shop, tmp_path):
    _, uri = published
    (tmp_path / "images").mkdir()
    digest = None
    with client_of(store=tmp_path / "none", engine=uri) as client:
        digest = client.get("/v1/items/mug-01").json()["images"][0]["digest"]
        assert client.get(f"/v1/thumbnails/{digest}").status_code == 404
        assert client.get(f"/v1/thumbnails/{'0' * 64}").status_code == 404
    (tmp_path / "images" / "20.png").write_bytes(shop.files["20.png"])
    with client_of(store=tmp_path / "none", engine=uri, images_below=tmp_path / "images") as client:
        shown = client.get(f"/v1/thumbnails/{digest}")
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    (tmp_path / "images" / "20.png").write_bytes(png([[[1, 2, 3]]]))
    with client_of(store=tmp_path / "none", engine=uri, images_below=tmp_path / "images") as client:
        refused = client.get(f"/v1/thumbnails/{digest}?side=160")
        assert (refused.status_code, refused.json()["reason"]) == (404, "changed")
        assert refused.json()["detail"] == "the image cannot be shown: it is another image than when it was indexed"


def test_another_generation_takes_over_and_a_rollback_too(published, shop, tmp_path):
    store, uri = published
    app = create_app(ServeOptions(store=tmp_path / "none", engine=uri, poll_interval_s=0.05))
    with TestClient(app, raise_server_exceptions=False) as client:
        first = client.get("/v1/items/item003")
        assert first.json()["attributes"] == {"price": 3}
        shop.put("item003", 3, price=99)
        index(shop, store)
        publish(uri, store)
        assert until(client, lambda: client.get("/v1/items/item003").json()["attributes"] == {"price": 99})
        assert client.get("/readyz").json() == {"status": "ready", "generation": 2}
        second = client.get("/v1/items/item003")
        assert second.headers["etag"] != first.headers["etag"]
        rollback(uri)
        assert until(client, lambda: client.get("/v1/items/item003").json()["attributes"] == {"price": 3})
        etag = first.headers["etag"]  # once the words are those of that generation, too
        assert until(client, lambda: client.get("/v1/items/item003").headers["etag"] == etag) is True


def until(client, holds):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return client.get("/readyz").json()


def test_an_engine_that_fails_leaves_the_generation_that_is_served(published, tmp_path):
    _, uri = published
    app = create_app(ServeOptions(store=tmp_path / "none", engine=uri, poll_interval_s=0.05))
    with TestClient(app, raise_server_exceptions=False) as client:
        (tmp_path / "engine").rename(tmp_path / "away")
        assert until(client, lambda: "reload_error" in client.get("/readyz").json())
        assert client.get("/readyz").json()["generation"] == 1
        (tmp_path / "away").rename(tmp_path / "engine")
        assert until(client, lambda: "reload_error" not in client.get("/readyz").json())
        assert client.get("/v1/similar?id=item003&k=2").status_code == 200


def test_an_engine_without_a_generation_is_no_server(tmp_path):
    with pytest.raises(NothingPublished):
        create_app(ServeOptions(store=tmp_path / "none", engine=f"lance:{tmp_path / 'engine'}"))


def test_the_program_serves_an_engine_with_two_workers(published, serve, tmp_path):
    _, uri = published
    with serve(tmp_path / "none", tmp_path / "log", "--engine", uri, "--workers", "2") as server:
        answers = [httpx.get(f"{server.url}/v1/similar?id=mug-01&k=3", timeout=60).json() for _ in range(6)]
        assert all(answer == answers[0] for answer in answers)
        assert len(answers[0]["matches"]) == 3
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_the_program_says_that_there_is_nothing_to_serve(visrec, tmp_path):
    uri = f"lance:{tmp_path / 'engine'}"
    done = visrec("serve", "--engine", uri, "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"visrec: nothing is published in {uri}; run `visrec publish {uri}`\n"

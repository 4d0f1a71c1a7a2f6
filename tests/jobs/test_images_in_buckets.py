"""Stores of catalogs whose images lie in a bucket of a real S3 server: what each run reads, and what outages cost."""

import re
from pathlib import Path

import pytest
import shop_exports
from fake_shop import FakeEncoder, Unused, content, image
from shop_exports import EXPORTS, NUMBERS, images, paint
from starlette.testclient import TestClient

import vision_recs
from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.errors import CatalogError
from vision_recs.jobs import IndexOptions, update
from vision_recs.jobs import index as run_index
from vision_recs.recommend import Policy
from vision_recs.remote.options import RemoteOptions
from vision_recs.serve import ServeOptions, create_app
from vision_recs.store import Store

LOOSE = Policy(one_per=None)
HASTY = RemoteOptions(tries=1, connect_s=10, total_s=60)
ADDRESS = re.compile(r"""https?://[^\s,"<|]*/(mug-[\w-]+\.png)(\?v=\d+)?""")


def index(catalog, store, encoder=None, *, keep_stale=2, **columns):
    options = IndexOptions(
        catalog=CatalogOptions(remote=HASTY, **columns), shard_size=8, batch_size=4, workers=2, keep_stale=keep_stale
    )
    return run_index(catalog, store, encoder=encoder or FakeEncoder(), options=options)


def attributes(items):
    return {item.id: dict(item.attributes) for item in items}


def gets(s3):
    """Return the keys whose bytes were sent since the last call."""
    found = [request.key for request in s3.requests if request.kind == "GET" and request.size]
    s3.requests.clear()
    return found


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_in_a_bucket_with_its_images_there_is_indexed_and_a_second_run_reads_no_image(s3, tmp_path, kind):
    path = shop_exports.write(kind, tmp_path / "here")
    text = ADDRESS.sub(rf"{s3.address}/media/\1", path.read_text("utf-8"))
    paint(tmp_path / "media")
    s3.put_folder(tmp_path / "media", "m/u/" if kind == "magento" else "media/")
    s3.put(path.name, text.encode())
    address = f"{s3.address}/{path.name}"

    report = index(address, tmp_path / "store")
    shown = {name for number in NUMBERS for name in images(number)}
    assert report.skipped_reasons == {"no-image": 1}
    assert report.embedded == len(shown)
    assert {key.rpartition("/")[2] for key in gets(s3) if key != path.name} == shown
    expected = {item.id: item for item in open_catalog(path)}
    held = content(tmp_path / "store").items
    assert {name: item[0] for name, item in held.items()} == attributes(expected.values())
    with vision_recs.open(tmp_path / "store") as recommender:
        found = recommender.similar(min(expected), k=30, where="not in_stock", policy=LOOSE)
        sold_out = {item.id for item in expected.values() if item.attributes["in_stock"] is False}
        assert {match.id for match in found} == sold_out - {min(expected)}
        cheap = recommender.similar(min(expected), k=30, where="price < 10", policy=LOOSE)
        assert {match.id for match in cheap} <= {
            name for name, item in expected.items() if item.attributes["price"] < 10
        }
        assert cheap

    report = index(address, tmp_path / "store", Unused())
    assert (report.generation, report.embedded) == (1, 0)
    assert [request for request in s3.requests if request.kind == "GET" and request.key != path.name] == []
    assert sum(request.kind == "LIST" for request in s3.requests) == 1


@pytest.fixture
def folder(s3, tmp_path):
    """The address of a folder with three images, and a store of it."""
    for number in range(3):
        s3.put(f"photos/{number}.png", image(number))
    index(f"{s3.address}/photos/", tmp_path / "store")
    s3.counted()
    return f"{s3.address}/photos/", tmp_path / "store"


def stale(store):
    with Store.open(store) as opened:
        return {each.image: each.reason for each in opened.items.skipped() if each.stale}


def items_of(store):
    return sorted(content(store).items)


def test_a_second_run_over_a_folder_is_one_request(s3, folder):
    address, store = folder
    assert index(address, store, Unused()).generation == 1
    assert s3.counted() == {"LIST": 1}


def test_only_an_image_that_has_changed_is_read(s3, folder):
    address, store = folder
    s3.put("photos/1.png", image(7))
    s3.put("photos/3.png", image(8))
    report = index(address, store)
    assert (report.embedded, report.items) == (2, 4)
    assert sorted(gets(s3)) == ["photos/1.png", "photos/3.png"]


def test_the_same_bytes_written_anew_are_read_and_not_embedded(s3, folder):
    address, store = folder
    s3.put("photos/1.png", image(1) + b"")
    assert index(address, store, Unused()).embedded == 0


def test_a_missing_image_leaves_and_one_that_may_come_back_keeps_its_vector(s3, tmp_path):
    table = "id,image\n" + "".join(f"{n},photos/{n}.png\n" for n in range(3))
    s3.put("t.csv", table.encode())
    for number in range(3):
        s3.put(f"photos/{number}.png", image(number))
    address, store = f"{s3.address}/t.csv", tmp_path / "store"
    index(address, store)
    s3.delete("photos/0.png")
    s3.put("photos/1.png", image(9))
    s3.fails = lambda kind, key: 403 if (kind, key) == ("GET", "photos/1.png") else None
    report = index(address, store, Unused())
    assert items_of(store) == ["1", "2"]
    assert report.skipped_reasons == {"http-404": 1}
    assert stale(store) == {"photos/1.png": "http-403"}
    s3.fails = None
    report = index(address, store)
    assert report.embedded == 1
    assert stale(store) == {}


def test_a_server_that_is_gone_half_way_leaves_every_old_vector(s3, tmp_path):
    names = [f"photos/{n}.png" for n in range(12)]
    s3.put("t.csv", ("id,image\n" + "".join(f"{n},{name}\n" for n, name in enumerate(names))).encode())
    for number, name in enumerate(names):
        s3.put(name, image(number))
    address, store = f"{s3.address}/t.csv", tmp_path / "store"
    index(address, store)
    before = content(store).items
    for number, name in enumerate(names):
        s3.put(name, image(100 + number))
    read = []

    def fail(kind, key):
        if kind == "GET" and key in names:
            read.append(key)
            return "close" if len(read) > 4 else None
        return None

    s3.fails = fail
    report = index(address, store)
    after = content(store).items
    assert sorted(after) == sorted(before)
    kept = [name for name in after if after[name][1] == before[name][1]]
    assert len(kept) == len(stale(store)) == 12 - report.embedded
    assert set(stale(store).values()) == {"refused"}
    assert 0 < report.embedded <= 4
    s3.fails = lambda *_: 503
    with pytest.raises(CatalogError, match="cannot be reached"):
        index(address, store, Unused())
    assert content(store).items == after


def test_a_bucket_that_cannot_be_listed_leaves_the_store_as_it_was(s3, folder):
    address, store = folder
    s3.fails = lambda *_: 500
    with pytest.raises(CatalogError, match=rf"{address.rstrip('/')}.*cannot be reached"):
        index(address, store, Unused())
    assert items_of(store) == ["0", "1", "2"]


def test_thumbnails_come_from_the_bucket(s3, folder, tmp_path, monkeypatch):
    _, store = folder
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))  # other tests may have kept a thumbnail of these bytes
    with TestClient(create_app(ServeOptions(store))) as client:
        url = client.get("/v1/items/1").json()["images"][0]["thumbnail"]
        answer = client.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert gets(s3) == ["photos/1.png"]
        url = client.get("/v1/items/2").json()["images"][0]["thumbnail"]
        s3.fails = lambda *_: 503
        answer = client.get(url)
        assert (answer.status_code, answer.json()["reason"]) == (422, "http-5xx")
        assert s3.address not in answer.text


def test_an_update_reads_images_of_the_bucket(s3, folder, tmp_path):
    _, store = folder
    s3.put("photos/new.png", image(5))
    (tmp_path / "changes.jsonl").write_text('{"id": "new", "image": "new.png", "price": 3}\n')
    report = update(Path(tmp_path / "changes.jsonl"), store, encoder=FakeEncoder())
    assert report.added == 1
    assert gets(s3) == ["photos/new.png"]


def test_a_client_of_the_server_names_images_only_below_the_folder_of_the_catalog(s3, folder, monkeypatch):
    _, store = folder
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    s3.put("photos/new.png", image(5))
    s3.put("private/secret.png", image(6))
    changes = [
        {"id": "new", "image": "new.png"},
        {"id": "secret", "image": f"{s3.address}/private/secret.png"},
        {"id": "sly", "image": "../private/secret.png"},
    ]

    def change(**options):
        with TestClient(create_app(ServeOptions(store, token="t", **options))) as client:
            answer = client.post("/v1/items:update", json={"changes": changes}, headers={"authorization": "Bearer t"})
            assert answer.status_code == 202, answer.text
            return {(each["id"], each["reason"]) for each in answer.json()["skipped_images"]}

    assert change() == {("secret", "outside"), ("sly", "outside")}
    assert gets(s3) == ["photos/new.png"]
    assert items_of(store) == ["0", "1", "2", "new"]
    assert change(images_below=s3.address) == set()
    assert items_of(store) == ["0", "1", "2", "new", "secret", "sly"]

"""A server over a catalog that is split into stores: its answers are those of one store, also while these change."""

import asyncio
import json
import urllib.request
from contextlib import closing
from types import SimpleNamespace

import pytest
from fake_shop import BulkShop, FakeEncoder, image
from starlette.testclient import TestClient

from vision_recs.errors import StoreError
from vision_recs.jobs import IndexOptions, index, update
from vision_recs.serve import ServeOptions, create_app, store_source
from vision_recs.serve.reloader import Reloader
from vision_recs.store import Layout, Store, writer
from vision_recs.store.partitions import number_of

TOKEN = "several"
ASKED = [
    ("GET", "/v1/similar?id=item07&k=5&explain=true", None),
    ("GET", "/v1/similar?id=item03&where=price>4&one_per=item", None),
    ("GET", "/v1/similar?id=nobody", None),
    ("GET", "/v1/similar?id=item03&where=prize>4", None),
    ("GET", "/v1/similar?id=item03&where=title==%22mgu%22", None),
    ("POST", "/v1/similar", {"history": [{"id": "item01"}, {"id": "item20"}], "negatives": ["item02"], "k": 4}),
    ("GET", "/v1/items?limit=5&offset=3", None),
    ("GET", "/v1/items?q=mug&limit=30", None),
    ("GET", "/v1/items?q=red&where=price>4", None),
    ("GET", "/v1/items/item05", None),
    ("GET", "/v1/facets", None),
]


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)  # small stores have deltas, too
    monkeypatch.setattr(writer, "_MOST_CHANGED", 2.0)


def a_shop():
    shop = BulkShop()
    for number in range(30):
        group = f"group {number % 7}" if number % 4 else None
        title = f"{('red', 'blue')[number % 2]} {('mug', 'vase', 'lamp')[number % 3]}"
        shop.put(f"item{number:02}", number, price=number, title=title, variant_group=group)
    return shop


@pytest.fixture
def served(tmp_path):
    """A shop, a client of a server over one store of it, and one of a server over three, which reload when told to."""
    shop = a_shop()
    index(shop, tmp_path / "one", encoder=FakeEncoder())
    index(shop, tmp_path / "several", encoder=FakeEncoder(), options=IndexOptions(partitions=3))
    folders = tmp_path / "one", tmp_path / "several"
    apps = [create_app(ServeOptions(each, poll_interval_s=3600, token=TOKEN, images=shop)) for each in folders]
    with TestClient(apps[0]) as one, TestClient(apps[1]) as several:
        for client in (one, several):
            client.headers["authorization"] = f"Bearer {TOKEN}"
        yield SimpleNamespace(shop=shop, one=one, several=several, folder=folders[1])


def told(answer):
    apart = {"instance", "request_id", "generation"}
    return answer.status_code, {name: value for name, value in answer.json().items() if name not in apart}


def require_equal_answers(served):
    for method, path, body in ASKED:
        one, several = (told(client.request(method, path, json=body)) for client in (served.one, served.several))
        assert several == one, path
    photo = {"content": image(20), "headers": {"content-type": "image/png"}}
    one, several = (told(client.post("/v1/similar/image?k=3", **photo)) for client in (served.one, served.several))
    assert one == several
    assert one[1]["matches"][0]["id"] == "item20"


def test_answers_are_those_of_a_server_over_one_store(served):
    require_equal_answers(served)
    info = served.several.get("/v1/info").json()
    assert (info["items"], info["images"], info["generation"], info["index_type"]) == (30, 30, 3, "flat")
    shown = served.several.get("/v1/items/item09").json()["images"][0]["thumbnail"]
    assert served.several.get("/" + shown.lstrip("/")).headers["content-type"] == "image/jpeg"


def test_changes_go_to_the_stores_of_their_items_and_are_live(served):
    changes = [
        {"id": "item05", "price": 500},
        {"id": "item06", "deleted": True},
        {"id": "item07", "title": "a plum", "price": 4},
        {"id": "new", "image": "99.png", "title": "red mug"},
        {"id": "unheard of", "price": 3},
        {"id": "broken", "image": "broken.png"},
    ]
    served.shop.files |= {"99.png": image(99), "broken.png": b"nothing"}
    for client in (served.one, served.several):
        answer = client.post("/v1/items:update", json={"changes": changes})
        assert answer.status_code == 202, answer.text
        found = answer.json()
        assert (found["made"], found["unknown"]) == (5, 1)
        assert found["skipped_images"] == [{"id": "broken", "image": "broken.png", "reason": "not-an-image"}]
        client.portal.call(state_of(client).reload)
    require_equal_answers(served)
    assert served.several.get("/v1/items?q=plum").json()["items"][0]["id"] == "item07"
    touched = {number_of(each["id"], 3) for each in changes if each["id"] != "unheard of"}
    generations = [Store.open(served.folder / f"partition-{number}-of-3").generation for number in range(3)]
    assert generations == [2 if number in touched else 1 for number in range(3)]


def state_of(client):
    return client.app.__closure__[0].cell_contents._state


def reload(reloader):
    return asyncio.run(reloader.reload())


@pytest.fixture
def reloader(tmp_path):
    index(a_shop(), tmp_path / "shop", encoder=FakeEncoder(), options=IndexOptions(partitions=3))
    with closing(Reloader(ServeOptions(tmp_path / "shop"))) as reloader:
        yield reloader


def test_a_store_with_a_new_generation_alone_is_opened_again(reloader, tmp_path):
    before = reloader.snapshot
    reloader.snapshot.load_item_search()
    before.acquire()  # as a request does
    assert reload(reloader) is None
    number = number_of("item05", 3)
    update([{"id": "item05", "price": 500, "title": "a plum"}], tmp_path / "shop")
    assert reload(reloader) is True
    parts = [mine is other for mine, other in zip(reloader.snapshot.opened.parts, before.opened.parts, strict=True)]
    assert parts == [each != number for each in range(3)]
    assert reloader.snapshot.facts.generation == reloader.snapshot.search_generation == 4
    assert reloader.snapshot.version != before.version
    assert reloader.snapshot.item_search.search("plum", 3) == ["item05"]
    assert reloader.snapshot.items.attributes_of(["item05"])["item05"]["price"] == 500
    assert before.items.attributes_of(["item05"])["item05"]["price"] == 5
    stores = [part.store for part in before.opened.parts]
    before.release()
    with pytest.raises(StoreError, match="closed"):
        stores[number].items.ids()
    assert stores[number - 1].items.ids()  # which the new generation of all has, too


def test_a_damaged_store_leaves_all_as_they_were(reloader, tmp_path):
    update([{"id": "item05", "price": 500}, {"id": "item06", "price": 500}], tmp_path / "shop")
    layout = Layout(tmp_path / "shop" / f"partition-{number_of('item05', 3)}-of-3")
    sound = layout.items(2).read_bytes()
    layout.items(2).write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert reload(reloader) is False
    assert reloader.snapshot.facts.generation == 3
    assert reloader.snapshot.items.attributes_of(["item06"])["item06"]["price"] == 6
    layout.items(2).write_bytes(sound)
    reloader._failed_at = 0.0  # half a minute later
    assert reload(reloader) is True
    assert reloader.snapshot.recommender.similar("item00", k=30, where="price == 500")


def test_a_search_of_many_items_is_built_by_a_process_from_all_stores(reloader, monkeypatch):
    monkeypatch.setattr(store_source, "_FEW_ITEMS", 10)
    monkeypatch.setenv("VISREC_CACHE", str(reloader._source._layouts[0].root / "cache"))
    monkeypatch.setattr("vision_recs.serve.search_files._build", lambda *_: pytest.fail("it was built here"))
    reloader.snapshot.load_item_search(reloader._builder)
    assert reloader.snapshot.item_search_error is None
    assert len(reloader.snapshot.item_search.search("vase", 30)) == 10


def test_the_program_serves_stores_that_are_named_one_by_one(tmp_path, serve):
    index(a_shop(), tmp_path / "shop", encoder=FakeEncoder(), options=IndexOptions(partitions=2))
    first, second = (tmp_path / "shop" / f"partition-{number}-of-2" for number in range(2))
    with (
        serve(first, tmp_path / "log", "--store", second, "--workers", "2") as server,
        urllib.request.urlopen(f"{server.url}/v1/similar?id=item07&k=29&one_per=item", timeout=60) as answer,
    ):
        assert len(json.loads(answer.read())["matches"]) == 29


def test_a_store_that_is_missing_ends_the_server_before_it_begins(tmp_path, visrec):
    index(a_shop(), tmp_path / "shop", encoder=FakeEncoder(), options=IndexOptions(partitions=2))
    done = visrec("serve", "--store", tmp_path / "shop" / "partition-0-of-2", "--store", tmp_path / "none")
    assert (done.returncode, "there is no store in" in done.stderr) == (1, True)

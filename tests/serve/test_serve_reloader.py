"""A new generation replaces the old one without losing a request; a damaged one does not."""

import asyncio
import dataclasses
import gc
import json
import logging
import re
import shutil
import socket
import threading
import weakref
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from fake_shop import index, shop_of

from vision_recs import indexes
from vision_recs.errors import StoreDamaged, StoreUnavailable
from vision_recs.recommend import Recommender
from vision_recs.serve import ServeOptions, store_source
from vision_recs.serve import reloader as reloader_module
from vision_recs.serve.reloader import Reloader
from vision_recs.store import Layout, Store


@pytest.fixture
def store(tmp_path):
    index(shop_of(12), tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def reloader(store):
    reloader = Reloader(ServeOptions(store))
    yield reloader
    reloader.close()


def store_of(snapshot):
    """Return the one store of a generation that is served."""
    (part,) = snapshot.opened.parts
    return part.store


def reload(reloader):
    return asyncio.run(reloader.reload())


def test_a_generation_has_its_arrays_before_the_first_query(reloader, store):
    asyncio.run(reloader.start())
    assert "_by_position" in vars(reloader.snapshot.items.lookup())
    index(shop_of(13), store)
    assert reload(reloader) is True
    assert "_by_position" in vars(reloader.snapshot.items.lookup())
    assert "by_id" in vars(reloader.snapshot.opened.table)


def test_a_new_generation_takes_over_and_the_old_one_stays_open_for_requests_that_have_begun(reloader, store):
    old = reloader.snapshot
    old.acquire()  # as a request does
    assert reload(reloader) is None
    index(shop_of(13), store)
    assert reload(reloader) is True
    assert (store_of(old).generation, store_of(reloader.snapshot).generation) == (1, 2)
    assert len(store_of(reloader.snapshot).items.ids()) == 13
    assert len(old.recommender.similar("item000", k=20)) == 11
    old.release()
    with pytest.raises(StoreDamaged, match="closed"):
        store_of(old).items.ids()
    assert reload(reloader) is None


@pytest.mark.parametrize("part", ["manifest", "items", "shard", "index", "current"])
def test_a_damaged_generation_is_not_served_and_the_old_one_goes_on(reloader, store, part, caplog):
    index(shop_of(20), store)
    layout, new = Layout(store), Store.open(store)
    known = {shard.name for shard in store_of(reloader.snapshot).manifest.shards}
    added = next(shard.name for shard in new.manifest.shards if shard.name not in known)
    path = {
        "manifest": layout.manifest(2),
        "items": layout.items(2),
        "shard": layout.shard(added) / "vectors.npy",
        "index": layout.index_dir(new.manifest.index_type, 2) / "flat.faiss",
        "current": layout.current,
    }[part]
    sound = path.read_bytes()
    place = -1 if part == "shard" else len(sound) // 2  # the middle of a few vectors is their header
    altered = bytearray(sound)
    altered[place] ^= 1
    path.write_bytes(altered)
    with caplog.at_level(logging.ERROR, "vision_recs.serve"):
        assert reload(reloader) is False
        assert reload(reloader) is None
    assert [record.event for record in caplog.records] == ["reload_failed"]
    assert reloader.reload_error in caplog.text
    assert store_of(reloader.snapshot).generation == 1
    assert len(reloader.snapshot.recommender.similar("item000", k=20)) == 11
    path.write_bytes(sound)
    reloader._failed_at = 0.0  # half a minute later
    assert reload(reloader) is True
    assert (reloader.reload_error, store_of(reloader.snapshot).generation) == (None, 2)


def test_the_index_that_two_generations_share_is_verified_once(reloader, store, monkeypatch):
    verified = []
    monkeypatch.setattr(indexes, "verify", lambda folder, **_: verified.append(folder.name) or [])
    shop = shop_of(12)
    shop.items["item003"] = dataclasses.replace(shop.items["item003"], attributes={"price": 99})
    index(shop, store)
    verified.clear()
    assert reload(reloader) is True
    assert verified == []
    (match,) = reloader.snapshot.recommender.similar("item000", where="price == 99")
    assert match.id == "item003"
    index(shop_of(20), store)
    assert reload(reloader) is True
    assert verified == ["flat-000003"]


def test_a_change_of_attributes_is_served_without_a_query_that_compares_all_vectors(reloader, store, monkeypatch):
    asked, similar = [], Recommender.similar
    monkeypatch.setattr(Recommender, "similar", lambda *given, **more: asked.append(given) or similar(*given, **more))
    shop = shop_of(12)
    shop.items["item003"] = dataclasses.replace(shop.items["item003"], attributes={"price": 99})
    index(shop, store)
    assert reload(reloader) is True
    assert asked == []
    index(shop_of(14), store)
    assert reload(reloader) is True
    assert len(asked) == 1


def test_a_generation_whose_index_lags_behind_is_served_with_all_that_is_new(reloader, store, monkeypatch):
    monkeypatch.setattr("vision_recs.jobs.publish._LARGEST_SHARE", 0.5)
    shop = shop_of(12)
    del shop.items["item003"]
    shop.put("new", 40, 41)
    index(shop, store)
    assert reload(reloader) is True
    found = [match.id for match in reloader.snapshot.recommender.similar("item000", k=20)]
    assert sorted(found) == sorted({*shop.items} - {"item000"})
    assert Store.open(store).manifest.index_pending.added_count == 2


def test_readiness_and_metrics_show_a_failed_reload(connect, store):
    with connect(store) as client:
        state = client.app.__closure__[0].cell_contents._state
        assert client.get("/readyz").json() == {"status": "ready", "generation": 1}
        etag = client.get("/v1/similar?id=item000").headers["etag"]
        sound = (store / "CURRENT").read_bytes()
        (store / "CURRENT").write_bytes(b"nonsense")
        client.portal.call(state.reload)
        assert "is damaged" in client.get("/readyz").json()["reload_error"]
        assert 'visrec_reloads_total{result="failure"} 1.0' in client.get("/metrics").text
        (store / "CURRENT").write_bytes(sound)
        index(shop_of(14), store)
        client.portal.call(state.reload)
        assert client.get("/readyz").json() == {"status": "ready", "generation": 2}
        text = client.get("/metrics").text
        assert 'visrec_reloads_total{result="success"} 1.0' in text
        assert "visrec_generation 2.0" in text
        assert "visrec_items 14.0" in text
        assert 'visrec_http_requests_total{route="readyz",status="200"} 3.0' in text
        response = client.get("/v1/similar?id=item000", headers={"if-none-match": etag})
        assert response.status_code == 200
        assert response.headers["etag"] != etag


def open_files(folder):
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link.readlink()) for link in links if link.exists() and str(folder) in str(link.readlink())]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted by /proc, which is of Linux")
@pytest.mark.parametrize("keeps_answers", [False, True])
def test_an_old_generation_is_closed_without_the_garbage_collector(store, tmp_path, keeps_answers):
    reloader = Reloader(ServeOptions(store, events=tmp_path / "events" if keeps_answers else None))
    assert (reloader.snapshot.kept is not None) == keeps_answers
    gc.disable()
    try:
        for count in (13, 14, 15):
            recommender = reloader.snapshot.recommender
            assert len(recommender.similar("item000", k=3, where="price < 9")) == 3
            index(shop_of(count), store)
            parts = reloader.snapshot, recommender, recommender.items, recommender.index
            old = list(map(weakref.ref, parts))
            del recommender, parts
            assert reload(reloader) is True
            assert [part() for part in old] == [None] * 4
        generations = {
            re.search(r"\d{6}", path.removeprefix(str(store)))[0] for path in open_files(store) if "shards" not in path
        }
        assert generations == {"000004"}
    finally:
        gc.enable()
        reloader.close()


def test_another_store_in_the_same_place_is_another_generation(reloader, store):
    etag = reloader.snapshot.version
    shutil.rmtree(store)
    index(shop_of(9), store)
    assert reload(reloader) is True
    assert store_of(reloader.snapshot).generation == 1
    assert reloader.snapshot.version != etag


def test_a_body_that_arrives_slowly_is_answered_by_the_generation_that_it_was_sent_to(serve, store, tmp_path):
    body = b'{"items": ["item000"], "k": 20}'
    head = "POST /v1/similar HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with serve(store, tmp_path / "log") as server, socket.create_connection(("127.0.0.1", server.port), 30) as slow:
        slow.sendall(head.encode() + body[:5])
        index(shop_of(13), store)
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            generation = 1
            while generation == 1:
                connection.request("GET", "/readyz")
                generation = json.loads(connection.getresponse().read())["generation"]
        slow.sendall(body[5:])
        response = HTTPResponse(slow)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["generation"] == 1


def ask_until(port, done, answers):
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        while not done.is_set():
            connection.request("GET", "/v1/similar?id=item000&k=3")
            response = connection.getresponse()
            response.read()
            answers.append((response.status, response.headers["etag"].split("-")[0]))


def test_a_reload_under_load_loses_no_request(serve, store, tmp_path):
    with serve(store, tmp_path / "log") as server:
        done, answers = threading.Event(), [[] for _ in range(4)]
        threads = [threading.Thread(target=ask_until, args=(server.port, done, each)) for each in answers]
        for thread in threads:
            thread.start()
        for count in (13, 14, 15):
            index(shop_of(count), store)
            newest = f'"{count - 11}'
            while not all(each and each[-1][1] == newest for each in answers):
                assert all(thread.is_alive() for thread in threads), server.log.read_text()
        done.set()
        for thread in threads:
            thread.join()
    every = [answer for each in answers for answer in each]
    assert {status for status, _ in every} == {200}
    assert {generation for _, generation in every} == {'"1', '"2', '"3', '"4'}
    assert all(each == sorted(each) for each in answers)
    assert "reload" in Path(server.log).read_text()


def test_an_item_search_that_could_not_be_loaded_is_loaded_again(reloader, monkeypatch, caplog):
    opened = store_source.open_item_search

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reloader_module, "_RETRY_S", 0.0)
    monkeypatch.setattr(store_source, "open_item_search", fail)
    reloader.snapshot.load_item_search()
    assert isinstance(reloader.snapshot.item_search_error, StoreUnavailable)
    assert [record.exc_info for record in caplog.records if "item search" in record.message] == [None]
    monkeypatch.setattr(store_source, "open_item_search", opened)
    assert reload(reloader) is None
    reloader._searches.submit(int).result(30)  # after what waits there
    assert reloader.snapshot.item_search_error is None
    assert reloader.snapshot.search_generation == store_of(reloader.snapshot).generation

"""A server over a store in a bucket: it pulls new generations by itself, and goes on while the bucket is away."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest
from fake_shop import BulkShop, index, shop_of

pytest.importorskip("obstore")

from vision_recs.jobs import update
from vision_recs.remote.remote_folder import RemoteFolder

ADDRESS = "s3://shop/store"


def get(server, path):
    with urllib.request.urlopen(f"{server.url}{path}", timeout=60) as answer:
        return json.loads(answer.read())


def test_a_server_pulls_what_is_published_and_goes_on_without_the_bucket(serve, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    s3.put("else.txt", b"the bucket is there with its first object")
    index(shop_of(6, kind=BulkShop), ADDRESS)
    log = tmp_path / "log"
    with serve(ADDRESS, log, VISREC_CACHE=str(tmp_path / "server")) as server:
        assert get(server, "/v1/info")["generation"] == 1
        before = get(server, "/v1/similar?id=item001&k=3")
        update([{"id": "item001", "price": 99}], ADDRESS)
        until(lambda: get(server, "/v1/info")["generation"] == 2, log)
        assert get(server, "/v1/items/item001")["attributes"]["price"] == 99
        s3.fails = lambda *_: 403
        until(lambda: "what was pulled before is served" in log.read_text(), log)
        assert get(server, "/v1/similar?id=item001&k=3")["matches"] == before["matches"]
        s3.fails = None
        until(lambda: "is pulled again" in log.read_text(), log)
        (puller,) = [child for child in server.worker_ids() if "spawn" in command(child)]
    with pytest.raises(FileNotFoundError):
        command(puller)


def command(process):
    return Path(f"/proc/{process}/cmdline").read_text("utf-8")


def until(holds, log):
    end = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def test_a_server_without_a_store_in_the_bucket_says_so(visrec, s3, tmp_path):
    s3.put("else.txt", b"the bucket is there with its first object")
    done = visrec("serve", "--store", ADDRESS, "--port", "0", VISREC_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert f"there is no store in {ADDRESS}; make one with" in done.stderr
    assert list(RemoteFolder(ADDRESS).files()) == []

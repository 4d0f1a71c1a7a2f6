"""Item searches of many items are built by a process of its own."""

import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from fake_shop import index, shop_of

from vision_recs.errors import StoreUnavailable
from vision_recs.serve import search_builder, store_source
from vision_recs.serve.item_search import ItemSearch, Words
from vision_recs.serve.search_builder import SearchBuilder
from vision_recs.serve.search_files import open_item_search
from vision_recs.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    shop = shop_of(12)
    for number, item in enumerate(shop.items.values()):
        item.attributes.update(title=f"Mug {number}", color="red" if number % 3 else "blue")
    index(shop, tmp_path / "index")
    return tmp_path / "index"


def base_of(store):
    with Store.open(store) as opened:
        return opened.layout.items(opened.manifest.items_files[0].generation)


def test_a_process_builds_what_this_one_would(store, tmp_path):
    target = tmp_path / "target"
    target.touch()
    SearchBuilder().build([base_of(store)], target)
    built = ItemSearch(Words(sqlite3.connect(target)))
    with Store.open(store) as opened:
        own = open_item_search(opened.items, name="own")
    assert built.search("mug 1", 20) == own.search("mug 1", 20)
    assert len(built.search("mug", 20)) == 12


def test_a_server_with_many_items_builds_nothing_itself(store, connect, monkeypatch):
    monkeypatch.setattr(store_source, "_FEW_ITEMS", 11)
    monkeypatch.setattr("vision_recs.serve.search_files._build", lambda *_: pytest.fail("it was built here"))
    with connect(store) as client:
        answer = client.get("/v1/items?q=mug&limit=20").json()
    assert len(answer["items"]) == 12


def test_what_the_process_cannot_read_makes_the_search_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match="the process that builds the item search ended with status 1"):
        SearchBuilder().build([tmp_path / "missing.sqlite"], tmp_path / "target")


def test_closing_ends_the_process(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    code = f"import os, time; os.mkfifo({str(begun)!r} + '.x'); os.rename({str(begun)!r} + '.x', {str(begun)!r})"
    monkeypatch.setattr(search_builder, "_CODE", f"{code}; open({str(begun)!r}).read(); time.sleep(600)")
    builder, errors = SearchBuilder(), []

    def build():
        try:
            builder.build([tmp_path], tmp_path)
        except StoreUnavailable as error:
            errors.append(str(error))

    thread = threading.Thread(target=build)
    thread.start()
    while not begun.exists():
        thread.join(0.01)
    os.close(os.open(begun, os.O_WRONLY))  # which waits until the process reads
    builder.close()
    thread.join(60)
    assert errors == ["the server is stopping"]
    with pytest.raises(StoreUnavailable, match="the server is stopping"):
        builder.build([tmp_path], tmp_path)


def test_the_process_ends_when_the_server_does():
    code = "import vision_recs.serve.search_builder as builder; builder._end_with_server()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(60) == 1

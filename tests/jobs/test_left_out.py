"""What a catalog leaves out is in the ledger, and what cannot be read at the moment costs nothing that was there."""

import json
import os
from pathlib import Path

import pytest
from fake_shop import FakeEncoder, Unused, image

from vision_recs.catalog import open_catalog
from vision_recs.jobs import IndexOptions
from vision_recs.jobs import index as run_index
from vision_recs.store import Store

OPTIONS = IndexOptions(shard_size=4, batch_size=4, workers=2)


def index(path, store, encoder=None):
    return run_index(path, store, encoder=encoder or FakeEncoder(), options=OPTIONS)


def ledger(store, generation):
    text = (store / "skipped" / f"{generation:06d}.jsonl").read_text("utf-8")
    return [(line["reason"], line["item_id"], line["image"]) for line in map(json.loads, text.splitlines())]


@pytest.fixture
def shop(tmp_path):
    for number, name in enumerate(("a", "deep/b", "deep/down/c", "d")):
        path = tmp_path / "shop" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number))
    return tmp_path / "shop"


@pytest.fixture
def closed(monkeypatch, shop):
    """Let nothing below the folder `deep` be listed or read, as where its server is away."""

    def close():
        scandir, stat = os.scandir, Path.stat

        def guarded(path):
            if str(path).startswith(str(shop / "deep")):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        def guarded_stat(path, **how):
            if str(path).startswith(str(shop / "deep") + "/"):
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, **how)

        monkeypatch.setattr(os, "scandir", guarded)
        monkeypatch.setattr(Path, "stat", guarded_stat)

    return close


def test_the_items_of_a_folder_that_cannot_be_listed_stay_with_their_vectors(shop, tmp_path, closed):
    index(shop, tmp_path / "store")
    closed()
    (shop / "d.png").unlink()
    report = index(shop, tmp_path / "store", Unused())
    assert (report.items, report.removed, report.embedded) == (3, 1, 0)
    assert ("unreadable-folder", "", "deep") in ledger(tmp_path / "store", report.generation)
    with Store.open(tmp_path / "store") as store:
        assert store.ids() == ["a", "deep/b", "deep/down/c"]


def test_rows_that_are_left_out_are_no_new_generation_when_nothing_else_changes(shop, tmp_path):
    table = shop / "t.csv"
    table.write_text("id,image\na,a.png\n,d.png\nx,\n")
    first = index(table, tmp_path / "store")
    assert ledger(tmp_path / "store", 1) == [("no-id", "", ""), ("no-image", "x", "")]
    assert (first.skipped, first.skipped_reasons) == (2, {"no-id": 1, "no-image": 1})
    again = index(table, tmp_path / "store", Unused())
    assert (again.generation, again.skipped, again.skipped_reasons) == (1, 2, first.skipped_reasons)
    table.write_text("id,image\na,a.png\nx,\n")
    mended = index(table, tmp_path / "store", Unused())
    assert (mended.generation, mended.skipped_reasons) == (2, {"no-image": 1})


def test_what_the_catalog_notes_is_in_the_report(shop, tmp_path):
    table = shop / "t.csv"
    table.write_bytes("id;image;t;n\na;a.png;caf\u00e9;1\na;d.png;;2\n".encode("cp1252"))
    report = index(table, tmp_path / "store")
    assert report.contradictory_columns == ("n",)
    assert report.notes[0].startswith("the text is not UTF-8 and was read as Windows-1252")
    assert next(iter(open_catalog(table))).attributes == {"t": "caf\u00e9", "n": 1}

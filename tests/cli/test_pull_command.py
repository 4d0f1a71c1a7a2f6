"""Commands with the address of a store in a bucket, as a person types them."""

from __future__ import annotations

import json

import pytest
from fake_shop import BulkShop, index, shop_of

pytest.importorskip("obstore")

ADDRESS = "s3://shop/store"


@pytest.fixture
def run(visrec, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "indexer"))
    s3.put("else.txt", b"the bucket is there with its first object")
    index(shop_of(6, kind=BulkShop), ADDRESS)

    def run(*arguments):
        return visrec(*arguments, VISREC_CACHE=str(tmp_path / "reader"))

    return run


def test_commands_take_an_address(run, tmp_path):
    done = run("similar", "item001", "-k", "2", "--json", "--store", ADDRESS)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()]
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "item001", "price": 99}\n')
    assert run("update", changes, "--store", ADDRESS).returncode == 0
    info = json.loads(run("info", "--json", "--store", ADDRESS).stdout)
    assert (info["generation"], info["items"]) == (2, 6)
    done = run("gc", "--store", ADDRESS)
    assert "1 older generation(s)" in done.stdout
    assert "is sound" in run("verify", "--store", ADDRESS).stdout


def test_pull_makes_a_copy_that_is_a_store(run, s3, tmp_path):
    done = run("pull", ADDRESS, tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'copy'} has generation 1; fetched ")
    again = json.loads(run("pull", ADDRESS, tmp_path / "copy", "--json").stdout)
    assert again == {"generation": 1, "files": 0, "bytes": 0, "folder": str(tmp_path / "copy")}
    s3.fails = lambda *_: 403
    done = run("pull", ADDRESS, tmp_path / "copy")
    assert done.returncode == 1
    assert f"the store in {ADDRESS} cannot be reached" in done.stderr
    assert run("similar", "item001", "--store", tmp_path / "copy").returncode == 0
    s3.fails = None
    done = run("pull", "s3://shop/nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no store in s3://shop/nothing; make one with `visrec index CATALOG --store" in done.stderr

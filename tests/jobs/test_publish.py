"""Which index a new generation has: that of the generation before, or a new one; and that every answer is right."""

import dataclasses
import functools
import shutil
from pathlib import Path

import pytest
from fake_shop import FakeEncoder, Unused, index, shop_of, snapshot

import vision_recs
from vision_recs.indexes import ExactIndex, open_published
from vision_recs.jobs import IndexOptions, indexing, publish, verify
from vision_recs.jobs import index as run_index
from vision_recs.store import Store, garbage_collect
from vision_recs.types import SearchRequest


@pytest.fixture
def shop():
    return shop_of(40)


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


def change_price(shop, item="item003", price=99):
    shop.items[item] = dataclasses.replace(shop.items[item], attributes={"price": price})


def index_files(store):
    return {path: digest for path, digest in snapshot(store).items() if path.startswith("indexes")}


def made_from(store):
    return Store.open(store).manifest.index_generation


def assert_answers_are_exact(store):
    with Store.open(store) as opened:
        vectors = opened.vectors(opened.positions())
        for k in (1, 5, 100):
            request = SearchRequest(vectors, k)
            assert open_published(opened).search(request) == ExactIndex(opened).search(request)


def test_a_change_of_attributes_alone_touches_no_file_of_the_index(shop, store):
    before = index_files(store)
    for generation in (2, 3):
        change_price(shop, price=100 + generation)
        assert index(shop, store, Unused()).generation == generation
        manifest = Store.open(store).manifest
        assert (manifest.generation, manifest.index_generation, manifest.index_type) == (generation, 1, "flat")
        assert manifest.index_stats == vision_recs.open(store).items.manifest.index_stats
        assert index_files(store) == before
    assert_answers_are_exact(store)
    (match,) = vision_recs.open(store).similar("item000", where="price == 103")
    assert match.id == "item003"
    assert list(verify(store)) == []


def test_garbage_collection_keeps_the_index_that_the_published_generation_uses(shop, store):
    before = index_files(store)
    change_price(shop)
    index(shop, store)
    garbage_collect(store)
    assert index_files(store) == before
    assert_answers_are_exact(store)
    run_index(shop, store, encoder=FakeEncoder(turn=1))
    garbage_collect(store)
    assert {Path(path).parent.name for path in index_files(store)} == {"flat-000003"}


def test_a_store_without_an_index_has_no_folder_for_it(shop, store):
    change_price(shop)
    run_index(shop, store, encoder=Unused(), options=IndexOptions(index_type="exact"))
    assert made_from(store) is None
    garbage_collect(store)
    assert index_files(store) == {}
    assert_answers_are_exact(store)
    assert index(shop, store, Unused()).generation == 3  # an index is wanted again
    assert made_from(store) == 3


def test_another_configuration_builds_the_index_anew(shop, store):
    change_price(shop)
    run_index(shop, store, encoder=Unused(), options=IndexOptions(index_type="hnsw"))
    assert made_from(store) == 2
    assert_answers_are_exact(store)


def alter(path):
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [alter, cut, Path.unlink, lambda path: shutil.rmtree(path.parent)])
@pytest.mark.parametrize("name", ["flat.faiss", "index.json"])
def test_a_damaged_index_is_not_used_by_the_next_generation(shop, store, caplog, damage, name):
    damage(store / "indexes/flat-000001" / name)
    change_price(shop)
    index(shop, store, Unused())
    assert made_from(store) == 2
    assert_answers_are_exact(store)
    assert all(str(store / "indexes/flat-000001") in record.getMessage() for record in caplog.records)


def test_whoever_trusts_the_index_reads_none_of_it_and_still_sees_what_is_missing(shop, store, monkeypatch):
    monkeypatch.setattr(indexing, "publish", functools.partial(publish.publish, trust_index=True))
    change_price(shop)
    alter(store / "indexes/flat-000001/flat.faiss")
    index(shop, store, Unused())
    assert made_from(store) == 1
    cut(store / "indexes/flat-000001/flat.faiss")
    change_price(shop, price=1)
    index(shop, store, Unused())
    assert made_from(store) == 3


def test_an_index_of_several_generations_that_is_damaged_is_built_again_for_a_new_one(shop, store, caplog):
    change_price(shop)
    index(shop, store)
    alter(store / "indexes/flat-000001/flat.faiss")
    damaged = index_files(store)
    report = index(shop, store, Unused())
    assert (report.generation, report.embedded, made_from(store)) == (3, 0, 3)
    assert index_files(store).items() >= damaged.items()  # what older generations use stays as it is
    assert caplog.records[0].getMessage().startswith("the index of generation 2 is built again: ")
    assert_answers_are_exact(store)
    assert index(shop, store, Unused()).generation == 3
    garbage_collect(store)
    assert list(verify(store)) == []


def test_an_index_that_was_made_from_another_generation_is_not_used(shop, store):
    shop.put("more", *range(50, 80))
    index(shop, store)
    shutil.rmtree(store / "indexes/flat-000002")
    (store / "indexes/flat-000001").rename(store / "indexes/flat-000002")
    change_price(shop)
    index(shop, store)
    assert made_from(store) == 3
    assert_answers_are_exact(store)

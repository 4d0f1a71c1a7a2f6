"""Which index a new generation has: that of the generation before, or a new one; and that every answer is right."""

import dataclasses
import functools
import random
import shutil
from pathlib import Path

import pytest
from fake_shop import FakeEncoder, Unused, content, image, index, shop_of, snapshot, wanted

import vision_recs
from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors
from vision_recs.evaluate.index_quality import measure_index_quality
from vision_recs.indexes import ExactIndex, open_published
from vision_recs.jobs import IndexOptions, indexing, publish, verify
from vision_recs.jobs import index as run_index
from vision_recs.store import IndexPending, Store, garbage_collect
from vision_recs.store.layout import ShardEntry
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


def test_an_index_of_another_generation_in_its_place_is_found(shop, store):
    shop.put("more", *range(50, 80))
    index(shop, store)
    shutil.rmtree(store / "indexes/flat-000002")
    (store / "indexes/flat-000001").rename(store / "indexes/flat-000002")
    (problem,) = verify(store)
    assert problem.startswith(f"{store / 'indexes/flat-000002'} was not made from the generation that ")


# An index that lags behind


@pytest.fixture
def patient(monkeypatch):
    """Let a quarter of the vectors wait for the index: a store of a few dozen is too small for it otherwise."""
    monkeypatch.setattr(publish, "_LARGEST_SHARE", 0.25)


def pending(store):
    counted = Store.open(store).manifest.index_pending
    return counted.added_count, counted.removed_count


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf-pq"])
def test_a_few_vectors_wait_for_the_index_until_they_are_many(shop, tmp_path, index_type):
    options = IndexOptions(index_type=index_type, shard_size=8)
    store = tmp_path / "store"
    run_index(shop, store, encoder=FakeEncoder(), options=options)
    before = index_files(store)
    expected = []
    for turn in range(1, 4):
        del shop.items[f"item00{turn}"]
        shop.put(f"new{turn}", 50 + 2 * turn, 51 + 2 * turn, price=turn)
        run_index(shop, store, encoder=FakeEncoder(), options=options)
        garbage_collect(store)
        assert (made_from(store), pending(store)) == (1, (2 * turn, turn))
        assert index_files(store) == before
        assert_answers_are_exact(store)
        (match,) = vision_recs.open(store).similar("item000", where=f"price == {turn}")
        assert match.id == f"new{turn}"
        assert list(verify(store)) == []
        expected = vision_recs.open(store).similar("item000", k=60)
    shop.put("more", *range(70, 80))
    del shop.items["item010"]
    run_index(shop, store, encoder=FakeEncoder(), options=options)
    assert (made_from(store), pending(store)) == (5, (0, 0))
    assert_answers_are_exact(store)
    kept = [match for match in expected if match.id != "item010"]
    assert [match for match in vision_recs.open(store).similar("item000", k=60) if match.id != "more"] == kept


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.nightly] * (seed > 1)) for seed in range(8)])
def test_whatever_changes_from_generation_to_generation_the_answers_are_exact(shop, store, seed):
    draw = random.Random(seed)
    gone = []
    for turn in range(6):
        gone += [shop.items.pop(item) for item in draw.sample(sorted(shop.items), draw.randint(0, 4))]
        for item in draw.sample(gone, draw.randint(0, len(gone))):  # with the images that it had
            gone.remove(item)
            shop.items[item.id] = item
        for number in range(draw.randint(0, 3)):
            shop.put(f"new{turn}-{number}", 100 + 9 * turn + number, price=turn)
        index(shop, store)
        if draw.random() < 0.3:
            garbage_collect(store)
        assert_answers_are_exact(store)
        assert content(store) == wanted(shop)


def test_how_many_vectors_may_wait(store):
    def may_wait(added, removed, vectors):
        shards = (ShardEntry("", 0, vectors + 7, ((3, 10),)),)
        manifest = dataclasses.replace(Store.open(store).manifest, shards=shards)
        return publish._may_wait(IndexPending(((0, added),), ((0, removed),)), manifest)

    assert may_wait(256, 1_024, 1_000_000)
    assert not may_wait(257, 0, 1_000_000)
    assert not may_wait(0, 1_025, 1_000_000)
    assert may_wait(5, 5, 1_000)
    assert not may_wait(6, 0, 1_000)
    assert not may_wait(0, 6, 1_000)
    assert not may_wait(1, 0, 199)


@pytest.mark.usefixtures("patient")
def test_neighbors_and_measurements_see_what_waits_for_the_index(shop, store, tmp_path):
    shop.put("twin", "5.png", "new.png")
    shop.files["new.png"] = image(500)
    del shop.items["item007"]
    index(shop, store)
    assert pending(store) == (1, 1)
    found = []
    for method in ("index", "exact"):
        write_neighbors(store, tmp_path / f"{method}.csv", NeighborsOptions(k=5, method=method))
        found.append((tmp_path / f"{method}.csv").read_text())
    assert found[0] == found[1]
    assert "twin" in found[0]
    with Store.open(store) as opened:
        assert measure_index_quality(opened, ())[0].recall_at_10 == 1.0


@pytest.mark.usefixtures("patient")
def test_a_new_space_leaves_nothing_pending(shop, store):
    del shop.items["item007"]
    index(shop, store)
    assert pending(store) == (0, 1)
    run_index(shop, store, encoder=FakeEncoder(turn=1))
    assert (made_from(store), pending(store)) == (3, (0, 0))
    assert_answers_are_exact(store)

"""What a run copies or derives is compared with its digests first; damage is named, and embedded again."""

import hashlib
import logging
import shutil
import struct

import numpy as np
import pytest
from fake_shop import FakeEncoder, content, image, index, shop_of, snapshot, wanted

import vision_recs
from vision_recs.errors import EncoderError, StoreDamaged, StoreNotFound
from vision_recs.jobs import IndexOptions, retune, verify
from vision_recs.store import Projection, Store, garbage_collect

DIM = 12


def negate(store, position):
    """Alter the stored vector at *position* so that it still is a vector, and return the file."""
    manifest = Store.open(store).manifest
    shard = next(each for each in manifest.shards if each.first_position <= position < each.stop_position)
    path = store / "shards" / shard.name / "vectors.npy"
    vectors = np.load(path)
    vectors[position - shard.first_position] *= -1
    np.save(path, vectors)
    return path


def stop_after(store, shop, count):
    """Index *shop* into *store*, but stop after *count* new images: their shard is written and not published."""
    options = IndexOptions(shard_size=4, batch_size=4, workers=1, limit=count)
    assert not vision_recs.index(shop, store, encoder=FakeEncoder(), options=options).complete


@pytest.fixture
def store(tmp_path):
    """Eight items in two shards."""
    index(shop_of(8), tmp_path / "index")
    return tmp_path / "index"


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_damaged_shard_is_not_compacted_but_embedded_again(store, caplog):
    shop = shop_of(8)
    for gone in ("item005", "item006", "item007"):  # leaves one in four of the second shard
        del shop.items[gone]
    path = negate(store, 4)
    assert [str(path) in sentence for sentence in verify(store)] == [True]
    encoder = FakeEncoder()
    assert index(shop, store, encoder).embedded == 1
    assert content(store) == wanted(shop)
    assert len(warnings(caplog)) == 1
    assert f"{path} was altered" in warnings(caplog)[0]
    assert warnings(caplog)[0].endswith("; its images are embedded again")
    garbage_collect(store)
    assert list(verify(store)) == []
    assert content(store) == wanted(shop)


def test_a_damaged_shard_is_embedded_again_by_a_run_over_the_same_catalog(store):
    negate(store, 1)
    assert index(shop_of(8), store).embedded == 4
    assert content(store) == wanted(shop_of(8))
    assert list(verify(store)) == []  # the shard of the older generation was the same, and is mended
    assert vision_recs.open(store).similar("item001")


@pytest.mark.parametrize("remove", [shutil.rmtree, lambda folder: (folder / "vectors.npy").unlink()])
def test_a_missing_shard_is_embedded_again(store, remove, caplog):
    shop = shop_of(8)
    for gone in ("item005", "item006", "item007"):
        del shop.items[gone]
    folder = store / "shards" / Store.open(store).manifest.shards[1].name
    remove(folder)
    assert index(shop, store).embedded == 1
    assert content(store) == wanted(shop)
    assert f"{folder}" in warnings(caplog)[0]


@pytest.mark.parametrize("name", ["vectors.npy", "images.parquet", "shard.json"])
def test_a_damaged_shard_of_a_run_that_was_stopped_is_named_and_embedded_again(store, name, caplog):
    shop = shop_of(16)
    stop_after(store, shop, 4)
    used = {shard.name for shard in Store.open(store).manifest.shards}
    (folder,) = [path for path in (store / "shards").iterdir() if path.name not in used]
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 0x80
    (folder / name).write_bytes(data)
    assert [str(folder / name) in sentence for sentence in verify(store)] == [True]
    encoder = FakeEncoder()
    assert index(shop, store, encoder).embedded == 8
    assert content(store) == wanted(shop)
    assert list(verify(store)) == []
    assert [str(folder / name) in sentence for sentence in warnings(caplog)] == [True]


@pytest.mark.parametrize("name", ["vectors.npy", "images.parquet", "shard.json"])
def test_collecting_removes_a_damaged_shard_of_a_run_that_was_stopped_as_verify_says(store, name):
    stop_after(store, shop_of(16), 4)
    used = {shard.name for shard in Store.open(store).manifest.shards}
    (folder,) = [path for path in (store / "shards").iterdir() if path.name not in used]
    (folder / name).unlink()
    (problem,) = verify(store)
    assert str(folder / name) in problem
    assert problem.endswith("; no generation uses it, and `visrec gc` removes it")
    assert garbage_collect(store).shards == 1
    assert list(verify(store)) == []
    assert index(shop_of(16), store).embedded == 8


def test_a_sound_shard_of_a_run_that_was_stopped_is_used(store):
    shop = shop_of(16)
    stop_after(store, shop, 4)
    assert index(shop, store).embedded == 4
    assert content(store) == wanted(shop)


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize(("place", "bit"), [(104, 3), (101, 2), (110, 2)])
def test_items_whose_list_of_tables_is_damaged_are_read_from_the_catalog_again(store, place, bit, turn, caplog):
    """Nobody notices it who opens the file, not even where a table is missing (the first); for another encoder, too."""
    items = store / "items/000001.sqlite"
    data = bytearray(items.read_bytes())
    data[place] ^= 1 << bit
    items.write_bytes(data)
    index(shop_of(8), store, FakeEncoder(turn=turn))
    assert content(store) == wanted(shop_of(8), FakeEncoder(turn=turn))
    assert f"{items} was altered" in warnings(caplog)[0]
    garbage_collect(store)
    assert list(verify(store)) == []


def test_altered_items_are_not_used_and_nothing_is_embedded_again(store, caplog):
    """Two digests that changed places would give two items each other's vector."""
    items = store / "items/000001.sqlite"
    one, other = (hashlib.sha256(image(number)).digest() for number in (3, 4))
    marker = bytes(range(32))
    items.write_bytes(items.read_bytes().replace(one, marker).replace(other, one).replace(marker, other))
    shop = shop_of(9)
    assert index(shop, store).embedded == 1
    assert content(store) == wanted(shop)
    assert f"{items} was altered" in warnings(caplog)[0]
    garbage_collect(store)
    assert list(verify(store)) == []


def test_a_projection_is_not_published_over_damage(store):
    before = snapshot(store)
    projection = Projection(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32))
    path = negate(store, 2)
    with pytest.raises(StoreDamaged, match=rf"{path} was altered.*; run `visrec index` again"):
        retune(store, projection)
    items = store / "items/000001.sqlite"
    index(shop_of(8), store)
    items = store / "items/000002.sqlite"
    items.write_bytes(items.read_bytes().replace(b"item001", b"item00X"))
    with pytest.raises(StoreDamaged, match=rf"{items} was altered.*; run `visrec index` again"):
        retune(store, projection)
    assert snapshot(store).keys() >= before.keys()


def test_a_position_is_never_used_twice(store):
    """An index that is updated takes a position that it knows for the vector that it knows."""
    shop = shop_of(8)
    for gone in ("item004", "item005", "item006", "item007"):  # the whole second shard
        del shop.items[gone]
    index(shop, store)
    assert Store.open(store).positions().tolist() == [0, 1, 2, 3]
    for number in range(50, 54):
        shop.put(f"new{number}", number)
    index(shop, store)
    assert Store.open(store).positions().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_where_current_is_missing_a_run_goes_on_from_the_newest_generation_that_is_whole(store, caplog):
    retune(store, Projection(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32)[:, ::-1].copy()))
    expected = vision_recs.open(store).similar("item000", k=3)
    current = (store / "CURRENT").read_bytes()
    (store / "CURRENT").unlink()
    sentence = r"CURRENT is missing; run `visrec index CATALOG`, which goes on from the newest generation that is whole"
    for use in (Store.open, garbage_collect):
        with pytest.raises(StoreDamaged, match=sentence):
            use(store)
    (found,) = verify(store)
    assert "CURRENT is missing" in found
    report = index(shop_of(8), store)
    assert (report.generation, report.embedded) == (2, 0)
    assert (store / "CURRENT").read_bytes() == current
    assert warnings(caplog) == [f"{store / 'CURRENT'} was missing: going on from generation 2"]
    assert vision_recs.open(store).similar("item000", k=3) == expected


def test_a_generation_that_is_damaged_is_not_gone_on_from(store, caplog):
    index(shop_of(9), store)
    (store / "CURRENT").unlink()
    items = store / "items/000002.sqlite"
    items.write_bytes(items.read_bytes()[:-1])
    assert index(shop_of(8), store).generation == 1
    assert warnings(caplog) == [f"{store / 'CURRENT'} was missing: going on from generation 1"]
    (store / "CURRENT").unlink()
    for path in (store / "generations").iterdir():
        path.write_bytes(struct.pack("<q", 7))
    caplog.clear()
    report = index(shop_of(8), store)
    assert (report.generation, report.embedded) == (3, 0)  # no number is used twice; shards are
    assert warnings(caplog) == [f"{store / 'CURRENT'} was missing, and no generation is whole: starting over"]
    assert content(store) == wanted(shop_of(8))


def test_a_folder_without_any_generation_is_a_store_that_is_not_there(tmp_path):
    class Failing(FakeEncoder):
        def encode(self, pixels):
            raise EncoderError(f"unplugged before {len(pixels)} images")

    with pytest.raises(EncoderError):
        index(shop_of(3), tmp_path, Failing())
    with pytest.raises(StoreNotFound):
        Store.open(tmp_path)

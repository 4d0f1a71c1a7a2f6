"""What readers see while others write and garbage_collect garbage, and what `garbage_collect` takes and leaves."""

import os
import shutil
import threading

import pytest
from fake_shop import NO_IMAGE, FakeEncoder, content, image, index, shop_of, snapshot, wanted

import vision_recs
from vision_recs.errors import EncoderError, StoreNotFound, UnknownItem
from vision_recs.jobs import verify
from vision_recs.store import Layout, Store, garbage_collect, store_size


def answers(shop):
    return {item: shop.similar(item, k=5) for item in shop.items.ids()}


def test_a_reader_keeps_its_generation_while_others_are_published_and_after_they_are_collected(tmp_path):
    shop = shop_of(9)
    index(shop, tmp_path)
    old = vision_recs.open(tmp_path)
    held, answered = wanted(shop), answers(old)
    del shop.items["item003"]
    shop.files["4.png"] = image(99)
    index(shop, tmp_path)
    assert (content(old.items), answers(old)) == (held, answered)
    new = vision_recs.open(tmp_path)
    assert content(new.items) == wanted(shop)
    index(shop, tmp_path, FakeEncoder(turn=1))
    assert garbage_collect(tmp_path).generations == 2
    assert (content(old.items), answers(old)) == (held, answered)
    assert content(new.items) == wanted(shop)
    shutil.rmtree(tmp_path)
    assert (content(old.items), answers(old)) == (held, answered)


def test_a_reader_that_has_read_nothing_yet_keeps_its_generation_too(tmp_path):
    shop = shop_of(9)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    index(shop, tmp_path, FakeEncoder(turn=1))
    garbage_collect(tmp_path)
    assert content(opened.items) == wanted(shop)


def test_readers_in_threads_see_one_generation_each_while_it_is_replaced(tmp_path):
    shops = [shop_of(6 + turn) for turn in range(6)]
    index(shops[0], tmp_path)
    allowed = [wanted(shop) for shop in shops]
    seen, wrong, done = [], [], threading.Event()

    def read():
        while not done.is_set():
            found = content(tmp_path)
            seen.append(allowed.index(found) if found in allowed else wrong.append(found))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for shop in shops[1:]:
            index(shop, tmp_path)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert seen


def test_a_removed_item_is_gone_from_the_answers_at_once(tmp_path):
    shop = shop_of(5)
    index(shop, tmp_path)
    assert "item002" in {match.id for match in vision_recs.open(tmp_path).similar("item000")}
    del shop.items["item002"]
    assert index(shop, tmp_path).removed == 1
    opened = vision_recs.open(tmp_path)
    assert {match.id for match in opened.similar("item000")} == {"item001", "item003", "item004"}
    with pytest.raises(UnknownItem):
        opened.similar("item002")


def test_an_unknown_id_names_the_nearest_ones(tmp_path):
    shop = shop_of(2)
    shop.put("mug-red", 7)
    shop.put("mug-blue", 8)
    index(shop, tmp_path)
    with pytest.raises(
        UnknownItem, match="no item has the id 'mug-rad'; the nearest are mug-red, mug-blue, "
    ) as raised:
        Store.open(tmp_path).images("mug-rad")
    assert raised.value.item == "mug-rad"
    assert raised.value.nearest[:2] == ("mug-red", "mug-blue")


def test_among_many_ids_the_nearest_are_looked_for_by_their_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.store.store._NEAREST_AMONG", 3)
    index(shop_of(12), tmp_path)
    store = Store.open(tmp_path)
    with pytest.raises(UnknownItem) as raised:
        store.attributes("item01x")
    assert set(raised.value.nearest) == {"item010", "item011"}
    with pytest.raises(UnknownItem) as raised:
        store.attributes("nothing alike")
    assert len(raised.value.nearest) == 3


def test_an_id_that_was_skipped_says_why(tmp_path):
    shop = shop_of(2)
    shop.put("broken", "broken.jpg")
    shop.files["broken.jpg"] = NO_IMAGE
    index(shop, tmp_path)
    with pytest.raises(
        UnknownItem, match=r"'broken' is not in the store: its image broken\.jpg was skipped \(the file is"
    ):
        vision_recs.open(tmp_path).similar("broken")


def test_ids_are_found_by_their_beginning(tmp_path):
    shop = shop_of(3)
    shop.put("itemö", 7)
    shop.put("änderung", 8)
    index(shop, tmp_path)
    items = Store.open(tmp_path).items
    assert items.ids() == ["item000", "item001", "item002", "itemö", "änderung"]
    assert items.ids("item") == ["item000", "item001", "item002", "itemö"]
    assert items.ids("item0") == ["item000", "item001", "item002"]
    assert items.ids("item", 2) == ["item000", "item001"]
    assert items.ids("ä") == ["änderung"]


def test_collecting_keeps_what_the_published_generation_uses_and_frees_the_rest(tmp_path):
    shop = shop_of(9)
    index(shop, tmp_path)
    for number in range(4):  # the whole first shard
        del shop.items[f"item00{number}"]
    index(shop, tmp_path)
    before, bytes_before = snapshot(tmp_path), store_size(Layout(tmp_path))
    held = content(tmp_path)
    reclaimed = garbage_collect(tmp_path)
    after = snapshot(tmp_path)
    assert (reclaimed.generations, reclaimed.shards) == (1, 1)
    assert reclaimed.bytes == bytes_before - store_size(Layout(tmp_path)) > 0
    gone = {path for path in before if path not in after}
    assert {path for path in gone if "shards" not in path} == {
        *(f"indexes/flat-000001/{name}" for name in ("index.json", "flat.faiss", "positions.npy")),
        "attributes/000001.bin",
        "generations/000001.json",
        "items/000001.sqlite",
        "skipped/000001.jsonl",
    }
    assert after.items() <= before.items()
    assert content(tmp_path) == held
    assert list(verify(tmp_path)) == []
    again = garbage_collect(tmp_path)
    assert (again.generations, again.shards, again.bytes) == (0, 0, 0)


def test_collecting_keeps_the_unpublished_shards_of_a_run_that_was_stopped(tmp_path, encoder):
    index(shop_of(2), tmp_path, encoder)
    shop = shop_of(12)
    shop.put("last", "last.png")

    def stop(_reference):
        raise EncoderError("unplugged")

    shop.files["last.png"] = image(99)
    real = encoder.encode
    encoder.encode = lambda pixels: real(pixels) if encoder.encoded < 8 else stop(pixels)
    with pytest.raises(EncoderError):
        index(shop, tmp_path, encoder)
    encoder.encode = real
    assert garbage_collect(tmp_path).shards == 0
    resumed = FakeEncoder()
    report = index(shop, tmp_path, resumed)
    assert report.embedded == 13 - 2 - 4
    assert resumed.encoded == report.embedded + 1  # the canary


def test_collecting_frees_the_shards_of_a_stopped_run_that_a_later_one_had_no_use_for(tmp_path):
    index(shop_of(5), tmp_path)
    stray = tmp_path / "shards" / "stray"
    shutil.copytree(next((tmp_path / "shards").iterdir()), stray)
    os.utime(stray, (1, 1))
    assert garbage_collect(tmp_path).shards == 1
    assert not stray.exists()


def test_vectors_of_removed_items_serve_again_as_long_as_they_were_not_collected(tmp_path):
    shop = shop_of(8)
    index(shop, tmp_path)
    gone = [shop.items.pop(f"item00{number}") for number in range(4)]
    index(shop, tmp_path)
    shop.items |= {item.id: item for item in gone}
    assert index(shop, tmp_path).embedded == 0
    assert content(tmp_path) == wanted(shop)


def test_a_vector_that_two_forgotten_shards_hold_serves_again(tmp_path):
    shop = shop_of(4)
    index(shop, tmp_path)
    first = shop.items.pop("item000")
    index(shop, tmp_path)
    shop.items["item000"] = first
    assert index(shop, tmp_path).embedded == 1  # its vector lies in a shard that is in use, but is itself deleted
    index(shop_of(4, first=50), tmp_path)
    assert index(shop, tmp_path).embedded == 0
    assert content(tmp_path) == wanted(shop)


def test_there_is_nothing_to_collect_where_there_is_no_store(tmp_path):
    with pytest.raises(StoreNotFound, match="there is no store in"):
        garbage_collect(tmp_path)
    assert list(tmp_path.iterdir()) == []

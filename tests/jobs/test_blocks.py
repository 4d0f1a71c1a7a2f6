"""Blocks: what a worker embeds is found by name, read once, and settled by the driver without an image."""

from __future__ import annotations

import os
import pickle
import shutil
import sys

import numpy as np
import pytest
from cluster_shop import LocalPool, WatchedEncoder, noted, shop_of
from fake_shop import NO_IMAGE, TRUNCATED, FakeEncoder, Unused, content, image, index

from vision_recs.encoders import LoadOptions, StoreEncoder
from vision_recs.errors import ClusterError, MissingExtra, WorkerRefused
from vision_recs.jobs import ClusterOptions, IndexOptions, embed, update, verify
from vision_recs.jobs.cluster import BlockReport, Work, driver, embed_block, plan_blocks
from vision_recs.jobs.cluster.driver import Lost, Refused
from vision_recs.jobs.cluster.on_ray import require_cluster
from vision_recs.jobs.cluster.places import BucketPlace, FolderPlace
from vision_recs.remote.remote_folder import RemoteFolder
from vision_recs.store import Layout, Store, garbage_collect, open_writer
from vision_recs.store.bucket.mark import folder_of
from vision_recs.store.ledgers import Ledger, read_ledger

SIZE = 4


def on_cluster(shop, store, encoder=None, **options):
    chosen = IndexOptions(shard_size=SIZE, batch_size=2, workers=2, cluster=ClusterOptions(straggler_s=0), **options)
    return embed(shop, store, encoder=encoder or WatchedEncoder(shop.root), options=chosen)


def vectors_of(store, item):
    digests = [image.digest for image in store.images(item)]
    return store.stored_vectors(np.array([*store.positions_of(digests).values()]))


def shards(store):
    return sorted(path.name for path in (store / "shards").iterdir())


def left(store):
    """Return what lies in the store beside what every store has."""
    own = {path.name for path in Layout(store).folders()} | {"CURRENT", "LOCK"}
    return {path.name for path in store.iterdir()} - own


@pytest.mark.usefixtures("pools")
def test_a_cluster_makes_what_one_machine_makes(tmp_path):
    shop = shop_of(tmp_path, 10)
    report = on_cluster(shop, tmp_path / "many")
    index(shop, tmp_path / "one", WatchedEncoder(tmp_path))
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert (report.embedded, report.images, report.complete) == (10, 10, True)
    assert shop.reads == [f"{number}.png" for number in range(10)]  # those of the local run
    assert len(noted(tmp_path / "reads")) == 20
    assert left(tmp_path / "many") == set()
    with Store.open(tmp_path / "many") as many, Store.open(tmp_path / "one") as one:
        for item in many.ids():
            own = [vectors_of(store, item) for store in (many, one)]
            assert np.array_equal(*own)


@pytest.mark.usefixtures("pools")
def test_a_run_that_goes_on_reads_what_is_left_and_makes_the_same_shards(tmp_path):
    shop = shop_of(tmp_path, 14)
    shop.put("broken", "broken.png")
    shop.files["broken.png"] = TRUNCATED
    shop.put("missing", "missing.png")  # no signature, and no bytes
    undisturbed = tmp_path / "undisturbed"
    on_cluster(shop, undisturbed)
    (tmp_path / "reads").unlink()
    store = tmp_path / "store"
    assert not on_cluster(shop, store, limit=2 * SIZE).complete
    assert len(noted(tmp_path / "reads")) == 8
    assert left(store) == {"ledgers"}
    report = on_cluster(shop, store)
    assert shards(store) == shards(undisturbed)
    assert sorted(line.split()[1] for line in noted(tmp_path / "reads")) == sorted(
        [*(f"{number}.png" for number in range(14)), "broken.png"]
    )
    assert content(store) == content(undisturbed)
    assert report.skipped_reasons == {"missing": 1, "truncated": 1}
    assert shop.reads == []
    assert left(store) == set()


@pytest.mark.usefixtures("pools")
def test_what_changed_since_a_run_was_stopped_is_read_and_nothing_else(tmp_path):
    shop = shop_of(tmp_path, 12)
    on_cluster(shop, tmp_path / "store", limit=2 * SIZE)
    del shop.items["item-001"]
    shop.put("item-002", 102)
    (tmp_path / "reads").unlink()
    report = on_cluster(shop, tmp_path / "store")
    assert {line.split()[1] for line in noted(tmp_path / "reads")} == {"102.png", *(f"{n}.png" for n in range(8, 12))}
    assert (report.images, report.embedded) == (11, 11)


def test_one_machine_settles_what_workers_have_embedded(tmp_path):
    shop = shop_of(tmp_path, 10)
    with plan_blocks(shop, tmp_path / "store", encoder=WatchedEncoder(tmp_path), options=options_of()) as plan:
        work, blocks = pickle.loads(pickle.dumps((plan.work, list(plan.blocks))))
    assert [len(block.images) for block in blocks] == [4, 4, 2]
    reports = [work.embed(block) for block in blocks[:2]]
    assert [(report.images, report.embedded, report.skipped) for report in reports] == [(4, 4, 0)] * 2
    index(shop, tmp_path / "store", WatchedEncoder(tmp_path))
    assert shop.reads == ["8.png", "9.png"]
    assert left(tmp_path / "store") == set()
    with pytest.raises(WorkerRefused, match="the run is over"):
        work.embed(blocks[2])
    assert left(tmp_path / "store") == set()


def options_of(**others):
    return IndexOptions(shard_size=SIZE, batch_size=2, workers=2, **others)


@pytest.fixture
def planned(tmp_path):
    """A shop of one block, and what workers are told of it."""
    shop = shop_of(tmp_path, SIZE)
    with plan_blocks(shop, tmp_path / "store", encoder=WatchedEncoder(tmp_path), options=options_of()) as plan:
        return shop, plan.work, next(plan.blocks)


def test_a_block_that_is_done_is_not_read_again(tmp_path, planned):
    _, work, block = planned
    assert not work.embed(block).was_done
    report = work.embed(block)
    assert (report.was_done, report.embedded) == (True, SIZE)
    assert len(noted(tmp_path / "reads")) == SIZE


def test_of_two_twins_on_different_processors_one_shard_stays(tmp_path, planned):
    shop, work, block = planned

    class Late(FolderPlace):
        def put(self, ledger, shard):
            work.embed(block)  # the twin is faster, just now
            return super().put(ledger, shard)

    encoder = StoreEncoder(work.encoder.spec, LoadOptions(), Rounded(tmp_path), is_own=True)
    mine = embed_block(block, Late(work.place.root, work.place.run), encoder, shop)
    first = read_ledger(Layout(tmp_path / "store").ledger(block.name))
    assert mine.was_done
    assert shards(tmp_path / "store") == [first.shard] == [mine.shard]
    assert list(Layout(tmp_path / "store").runs.glob("*/*")) == []


class Rounded(WatchedEncoder):
    """The same encoder on a processor that rounds otherwise."""

    def encode(self, pixels):
        return super().encode(pixels) + np.float32(0.001)


class Mirrored(WatchedEncoder):
    """Claims to be the encoder of the store, and gives other vectors."""

    def encode(self, pixels):
        return super().encode(pixels)[:, ::-1].copy()


@pytest.mark.parametrize("encoder", [lambda folder: WatchedEncoder(folder, turn=1), Mirrored], ids=["spec", "canary"])
def test_a_worker_with_other_weights_is_refused_before_it_writes(tmp_path, planned, encoder):
    shop, work, block = planned
    other = work.encoder.with_resources()
    other._encoder = encoder(tmp_path)
    with pytest.raises(WorkerRefused, match=r"canary|weights on this machine"):
        Work("other", work.place, other, shop, work.root).embed(block)
    assert noted(tmp_path / "reads") == []
    assert not Layout(tmp_path / "store").ledgers.exists()


def test_a_worker_that_does_not_see_the_images_or_has_another_version_is_refused(tmp_path, planned):
    shop, work, block = planned
    with pytest.raises(WorkerRefused, match="does not see the folder of the images"):
        Work("a", work.place, work.encoder, shop, str(tmp_path / "nowhere")).embed(block)
    with pytest.raises(WorkerRefused, match=r"run is of visrec 0\.0\.1"):
        Work("b", work.place, work.encoder, shop, work.root, "0.0.1").embed(block)
    with pytest.raises(WorkerRefused, match="does not see the run"):
        Work("c", FolderPlace(tmp_path / "elsewhere", "c"), work.encoder, shop, work.root).embed(block)


@pytest.mark.usefixtures("pools")
def test_an_update_leaves_the_ledgers_of_a_run_that_was_stopped(tmp_path):
    shop = shop_of(tmp_path, SIZE)
    on_cluster(shop, tmp_path / "store")
    for number in range(SIZE, 3 * SIZE):
        shop.put(f"item-{number:03d}", number)
    on_cluster(shop, tmp_path / "store", limit=SIZE)
    shop.files["new.png"] = image(99)
    change = {"id": "new", "image": "new.png"}
    update([change], tmp_path / "store", encoder=WatchedEncoder(tmp_path), images=shop)
    assert left(tmp_path / "store") == {"ledgers"}
    (tmp_path / "reads").unlink()
    on_cluster(shop, tmp_path / "store")
    assert len(noted(tmp_path / "reads")) == SIZE
    assert left(tmp_path / "store") == set()


@pytest.mark.usefixtures("pools")
def test_a_block_of_broken_images_has_its_reasons_and_is_not_tried_again(tmp_path):
    shop = shop_of(tmp_path, SIZE)
    for number in range(SIZE):
        shop.put(f"broken-{number}", f"broken-{number}.png")
        shop.files[f"broken-{number}.png"] = NO_IMAGE + bytes([number])
    store = tmp_path / "store"
    assert not on_cluster(shop, store, limit=2 * SIZE - 1).complete
    report = on_cluster(shop, store)
    assert report.skipped_reasons == {"not-an-image": 4}
    (tmp_path / "reads").unlink()
    again = on_cluster(shop, store, Unused())
    assert (again.generation, again.embedded, noted(tmp_path / "reads")) == (1, 0, [])


@pytest.mark.usefixtures("pools")
def test_a_second_run_reads_what_changed_and_embeds_what_is_new(tmp_path):
    shop = shop_of(tmp_path, 8)
    store = tmp_path / "store"
    on_cluster(shop, store)
    (tmp_path / "reads").unlink()
    (tmp_path / "encoded").unlink()
    shop.put("item-000", 0, price=3)  # another price: nothing to read
    shop.touched["1.png"] = 1  # copied again: read, and not embedded
    shop.put("item-002", 102)
    report = on_cluster(shop, store)
    assert sorted(line.split()[1] for line in noted(tmp_path / "reads")) == ["1.png", "102.png"]
    assert (report.embedded, report.images) == (1, 8)
    index(shop, tmp_path / "one", FakeEncoder())
    assert content(store) == content(tmp_path / "one")


def test_lost_tasks_are_given_to_others_and_at_last_decoded_apart(tmp_path, pools):
    shop = shop_of(tmp_path, 10)
    on_cluster(shop, tmp_path / "undisturbed")
    opened, fates = pools
    fates += [Lost("gone"), Lost("gone"), None, Lost("gone")]
    on_cluster(shop, tmp_path / "store")
    assert shards(tmp_path / "store") == shards(tmp_path / "undisturbed")
    assert content(tmp_path / "store") == content(tmp_path / "undisturbed")
    assert [apart for _, apart, _ in opened[-1].submitted].count(True) == 1


def test_a_block_that_nobody_can_embed_ends_the_run_and_keeps_the_others(tmp_path, pools):
    shop = shop_of(tmp_path, 2 * SIZE)
    _, fates = pools
    fates += [None, *[Lost("out of memory")] * 6]
    with pytest.raises(ClusterError, match=r"6 workers in a row .* 4 images \(out of memory\)"):
        on_cluster(shop, tmp_path / "store")
    (tmp_path / "reads").unlink()
    assert on_cluster(shop, tmp_path / "store").images == 8
    assert len(noted(tmp_path / "reads")) == SIZE


def test_a_machine_that_refuses_is_avoided_and_without_another_one_the_run_ends(tmp_path, pools, caplog):
    shop = shop_of(tmp_path, 10)
    opened, fates = pools
    fates.append(Refused("node-1", "node-1: other weights"))
    assert on_cluster(shop, tmp_path / "store").embedded == 10
    assert caplog.messages == ["a machine of the cluster is not used: node-1: other weights"]
    names = [name for name, _, _ in opened[-1].submitted]
    assert len(names) == 4
    assert len(set(names)) == 3
    assert opened[-1].submitted[-1][2] == ("node-1",)
    fates += [Refused("node-1", "node-1: other weights"), Refused("node-2", "node-2: other weights")]
    with pytest.raises(ClusterError, match="no machine of the cluster can embed: node-2: other weights"):
        on_cluster(shop_of(tmp_path, 20), tmp_path / "other")


def test_a_straggler_gets_a_twin_and_one_of_them_counts(tmp_path, pools, monkeypatch):
    monkeypatch.setattr(LocalPool, "slots", 3)
    shop = shop_of(tmp_path, 10)
    opened, fates = pools
    fates.append("hangs")
    report = on_cluster(shop, tmp_path / "store")
    names = [name for name, _, _ in opened[-1].submitted]
    assert names == [*names[:3], names[0]]
    assert len(set(names)) == 3
    assert opened[-1].cancelled == [0]
    assert report.embedded == 10
    assert left(tmp_path / "store") == set()


@pytest.mark.parametrize("damage", ["ledger", "shard"])
@pytest.mark.usefixtures("pools")
def test_what_was_damaged_since_is_embedded_again(tmp_path, damage):
    shop = shop_of(tmp_path, 2 * SIZE)
    store = tmp_path / "store"
    on_cluster(shop, store, limit=SIZE)
    if damage == "ledger":
        next(Layout(store).ledgers.iterdir()).write_bytes(b"PAR1")
    else:
        next(Layout(store).shards.glob("*/vectors.npy")).write_bytes(b"")
    on_cluster(shop, store)
    assert list(verify(store)) == []
    assert len(noted(tmp_path / "reads")) == 3 * SIZE


@pytest.mark.usefixtures("pools")
def test_ledgers_of_another_space_wait_and_old_ones_are_garbage(tmp_path):
    shop = shop_of(tmp_path, 2 * SIZE)
    store = tmp_path / "store"
    on_cluster(shop, store, limit=SIZE)
    (ledger,) = Layout(store).ledgers.iterdir()
    kept = ledger.read_bytes()
    index(shop, store, FakeEncoder(turn=2))
    assert Ledger.from_bytes(kept, where="ledger").vectors == SIZE
    Layout(store).ledgers.mkdir(exist_ok=True)
    ledger.write_bytes(kept)
    os.utime(ledger, (1, 1))
    garbage_collect(store)
    assert left(store) <= {"ledgers"}
    assert not ledger.exists()


@pytest.mark.usefixtures("pools")
def test_a_cluster_without_a_machine_is_waited_for_with_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(driver, "_SILENT_S", 0.0)
    monkeypatch.setattr(LocalPool, "usable", lambda *_: False)
    waits = iter([[]] * 3)
    wait = LocalPool.wait
    monkeypatch.setattr(LocalPool, "wait", lambda pool, seconds: [] if next(waits, None) == [] else wait(pool, seconds))
    assert on_cluster(shop_of(tmp_path, SIZE), tmp_path / "store").embedded == SIZE
    assert "no machine of the cluster has room for a task" in caplog.text


def test_the_rates_of_machines_are_shown_fastest_first():
    rates = driver.Rates()
    for node in range(10):
        rates.add(f"node-{node}", BlockReport("b", "s", 100 * (node + 1), 100, 0, seconds=10.0))
    assert str(rates).startswith("node-9 100/s, node-8 90/s, node-7 80/s,")
    assert str(rates).endswith("node-2 30/s and 2 others")
    assert rates.images == 5_500


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'visrec\[ray\]'"):
        require_cluster(ClusterOptions())


def test_refuses_what_is_no_cluster():
    for address in ("spark", "ray:", "ray://", "ray//x"):
        with pytest.raises(ValueError, match="is no cluster"):
            ClusterOptions(address)
    with pytest.raises(ValueError, match="cpus_per_task is 0"):
        ClusterOptions(cpus_per_task=0)


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    s3.put("else.txt", b"the bucket is there with its first object")
    return "s3://shop/store"


def keys(address):
    return {file.path for file in RemoteFolder(address).files()}


@pytest.mark.usefixtures("pools")
def test_workers_put_shards_and_ledgers_into_a_bucket_and_the_driver_publishes(tmp_path, bucket, s3):
    shop = shop_of(tmp_path, 10)
    shop.put("broken", "broken.png")
    shop.files["broken.png"] = TRUNCATED
    undisturbed = tmp_path / "undisturbed"
    on_cluster(shop, undisturbed)
    (tmp_path / "reads").unlink()
    assert not on_cluster(shop, bucket, limit=2 * SIZE).complete
    assert sum(key.startswith("ledgers/") for key in keys(bucket)) == 2
    assert not any(key.startswith("runs/") for key in keys(bucket))
    shutil.rmtree(tmp_path / "cache")  # another machine goes on
    report = on_cluster(shop, bucket)
    assert (report.embedded, report.skipped_reasons) == (10, {"truncated": 1})
    assert len(noted(tmp_path / "reads")) == 11
    copy = folder_of(bucket)
    assert content(copy) == content(undisturbed)
    assert shards(copy) == shards(undisturbed)
    assert not any(key.startswith(("ledgers/", "runs/")) for key in keys(bucket))
    s3.counted()
    again = on_cluster(shop, bucket, Unused())
    assert (again.generation, again.embedded) == (1, 0)


@pytest.mark.usefixtures("pools")
def test_work_in_a_bucket_that_was_damaged_is_done_again(tmp_path, bucket):
    shop = shop_of(tmp_path, 2 * SIZE)
    on_cluster(shop, bucket, limit=SIZE)
    shutil.rmtree(tmp_path / "cache")
    remote = RemoteFolder(bucket)
    vectors = next(key for key in keys(bucket) if key.endswith("vectors.npy"))
    remote.put(vectors, remote.read(vectors)[0][:-1] + b"?")
    report = on_cluster(shop, bucket)
    assert (report.images, report.embedded) == (8, 8)
    assert list(verify(bucket)) == []
    assert len(noted(tmp_path / "reads")) == 3 * SIZE


@pytest.mark.usefixtures("pools")
@pytest.mark.parametrize("damage", ["shard", "both shards", "ledger"])
def test_a_damaged_copy_takes_nothing_from_the_bucket(tmp_path, bucket, damage):
    shop = shop_of(tmp_path, 3 * SIZE)
    on_cluster(shop, bucket, limit=SIZE)
    copy = Layout(folder_of(bucket, pulled=False))
    with open_writer(bucket) as writer:
        writer.bucket.fetch_work()
    (ledger,) = copy.ledgers.iterdir()
    (shard,) = (key.split("/")[1] for key in keys(bucket) if key.endswith("vectors.npy"))
    file = ledger if damage == "ledger" else copy.shard(shard) / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    if damage == "both shards":
        RemoteFolder(bucket).remove([f"shards/{shard}/vectors.npy"])
    report = on_cluster(shop, bucket)
    assert (report.images, report.embedded) == (3 * SIZE, 3 * SIZE)
    assert list(verify(bucket)) == []
    assert len(noted(tmp_path / "reads")) == (4 if damage == "both shards" else 3) * SIZE


@pytest.mark.usefixtures("pools")
def test_what_is_published_stays_in_the_bucket_whatever_a_ledger_says(tmp_path, bucket):
    """A run that ended before its ledgers were removed: the generation names the shards that they name."""
    shop = shop_of(tmp_path, 2 * SIZE)
    on_cluster(shop, bucket, limit=SIZE)
    remote = RemoteFolder(bucket)
    (key,) = (key for key in keys(bucket) if key.startswith("ledgers/"))
    ledger = remote.read(key)[0]
    on_cluster(shop, bucket)
    remote.put(key, ledger)
    shard = Ledger.from_bytes(ledger, where=key).shard
    vectors = f"shards/{shard}/vectors.npy"
    good = remote.read(vectors)[0]
    remote.put(vectors, good[:-1] + bytes([good[-1] ^ 1]))
    (folder_of(bucket) / vectors).write_bytes(good[:-1] + b"?")
    before = keys(bucket)
    with open_writer(bucket) as writer:
        writer.bucket.fetch_work()
    assert before - keys(bucket) == {key}
    copy = folder_of(bucket)
    (copy / vectors).write_bytes(good)  # as a worker makes it anew
    BucketPlace.begin(bucket).put(Ledger.from_bytes(ledger, where=key), Layout(copy).shard(shard))
    assert remote.read(vectors)[0] == good
    assert list(verify(bucket)) == []


def test_of_twins_in_a_bucket_one_shard_stays_and_who_is_too_late_leaves_nothing(tmp_path, bucket):
    shop = shop_of(tmp_path, SIZE)
    with plan_blocks(shop, bucket, encoder=WatchedEncoder(tmp_path), options=options_of()) as plan:
        work, block = plan.work, next(plan.blocks)

    class Late(BucketPlace):
        def put(self, ledger, shard):
            work.embed(block)  # the twin is faster, just now
            return super().put(ledger, shard)

    encoder = StoreEncoder(work.encoder.spec, LoadOptions(), Rounded(tmp_path), is_own=True)
    mine = embed_block(block, Late(bucket, work.place.run), encoder, shop)
    assert mine.was_done
    assert {key.split("/")[1] for key in keys(bucket) if key.startswith("shards/")} == {mine.shard}
    shop.reads.clear()  # of the workers, which are this process
    index(shop, bucket, WatchedEncoder(tmp_path))
    assert shop.reads == []
    before = keys(bucket)
    with pytest.raises(WorkerRefused, match=r"the run .* in s3://shop/store is over"):
        work.embed(block)
    assert keys(bucket) == before

"""A run on a real Ray cluster of two machines beside the head, as it is, and with all that can be lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cluster_shop import WaitingEncoder, WatchedEncoder, noted, shop_of
from fake_shop import content
from ray_cluster import ray_cluster

from vision_recs.jobs import ClusterOptions, IndexOptions, embed
from vision_recs.store import Layout, Store
from vision_recs.store.bucket.mark import folder_of

SIZE, BLOCKS = 4, 12


@pytest.fixture(scope="module")
def machines():
    pytest.importorskip("ray")
    with ray_cluster() as found:
        yield found


def run(shop, store, address, *, seconds=0.05, encoder=None, **options):
    cluster = ClusterOptions(address, **{"straggler_s": 0.5, **options})
    chosen = IndexOptions(shard_size=SIZE, workers=1, cluster=cluster)
    return embed(shop, store, encoder=encoder or WatchedEncoder(shop.root, seconds=seconds), options=chosen)


def shards(store):
    return sorted(path.name for path in (store / "shards").iterdir())


@pytest.fixture(scope="module")
def undisturbed(machines, tmp_path_factory):
    """A shop, the names of the shards that a run over it makes, and what the store holds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shop = shop_of(folder, SIZE * BLOCKS)
    report = run(shop, folder / "store", machines.address, straggler_s=600)  # on a busy machine all seem to straggle
    assert (report.embedded, report.complete) == (SIZE * BLOCKS, True)
    assert len(noted(folder / "reads")) == SIZE * BLOCKS
    assert shop.reads == []
    processes = {line.split()[0] for line in noted(folder / "reads")}
    assert os.getpid() not in processes
    assert len(processes) == 2
    return shards(folder / "store"), content(folder / "store")


def after(count, file, act):
    """Call *act* in a thread of its own when *file* has *count* lines."""

    def watch():
        while len(noted(file)) < count:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_run_that_loses_a_worker_makes_the_same_shards(machines, undisturbed, tmp_path):
    shop = shop_of(tmp_path, SIZE * BLOCKS)
    begun = tmp_path / "begun"
    killer = after(3, begun, lambda: os.kill(int(noted(begun)[-1].split()[0]), signal.SIGKILL))
    report = run(shop, tmp_path / "store", machines.address)
    killer.join()
    assert shards(tmp_path / "store") == undisturbed[0]
    assert content(tmp_path / "store") == undisturbed[1]
    assert report.embedded == SIZE * BLOCKS
    assert leftovers(tmp_path / "store") == set()


def leftovers(store):
    return (
        {path.name for path in store.iterdir()} - {path.name for path in Layout(store).folders()} - {"CURRENT", "LOCK"}
    )


def test_a_worker_that_hangs_gets_a_twin_and_leaves_nothing_when_it_wakes(machines, tmp_path):
    shop = shop_of(tmp_path, SIZE * 3)
    (tmp_path / "hold").touch()
    report = run(shop, tmp_path / "store", machines.address, seconds=0)
    (held,) = (path.name.removeprefix("held-") for path in tmp_path.glob("held-*"))
    assert report.embedded == SIZE * 3
    assert held not in {line.split()[0] for line in noted(tmp_path / "encoded")}
    before = shards(tmp_path / "store")
    (tmp_path / "release").touch()
    until(lambda: held in {line.split()[0] for line in noted(tmp_path / "encoded")})
    until(lambda: not is_at_work(held))
    assert len(before) == 3
    assert shards(tmp_path / "store") == before
    assert leftovers(tmp_path / "store") == set()


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_at_work(process):
    """Return whether the worker *process* has threads that embed."""
    try:
        names = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/stat")]
    except OSError:
        return False
    return any("ThreadPoolExec" in name for name in names)


def test_a_machine_with_other_weights_is_refused_and_its_blocks_go_elsewhere(machines, undisturbed, tmp_path, caplog):
    (other,) = machines.add(VISREC_TEST_WEIGHTS="other")
    try:
        shop = shop_of(tmp_path, SIZE * BLOCKS)
        encoder = WaitingEncoder(tmp_path, "weights", "other", seconds=0.2)
        run(shop, tmp_path / "store", machines.address, encoder=encoder, straggler_s=600)
    finally:
        machines.take_away(other)
    assert "does not reproduce the canary of the store" in caplog.text
    assert len(caplog.messages) == 1
    assert shards(tmp_path / "store") == undisturbed[0]
    assert content(tmp_path / "store") == undisturbed[1]


@pytest.mark.nightly
def test_machines_with_gpus_and_others_embed_side_by_side(machines, undisturbed, tmp_path, caplog):
    shop = shop_of(tmp_path, SIZE * BLOCKS)
    (machine,) = machines.add(gpus=1)
    try:
        run(
            shop,
            tmp_path / "store",
            machines.address,
            encoder=WaitingEncoder(tmp_path, "devices", "0"),
            gpus_per_task=1.0,
        )
    finally:
        machines.take_away(machine)
    assert set(noted(tmp_path / "devices")) == {"0", "none"}
    assert caplog.messages == []
    assert shards(tmp_path / "store") == undisturbed[0]
    (tmp_path / "none").mkdir()
    shop = shop_of(tmp_path / "none", SIZE)
    run(shop, tmp_path / "none" / "store", machines.address, gpus_per_task=1.0)
    assert caplog.messages == ["no machine of the cluster has 1 GPUs for a task now: cores embed"]
    assert set(noted(tmp_path / "none" / "devices")) == {"none"}


@pytest.mark.usefixtures("sample_store")  # for which the encoder was converted: workers find it in the cache
def test_a_person_embeds_on_a_cluster(machines, tmp_path, visrec, sample_images):
    folder = tmp_path / "shop"
    folder.mkdir()
    for image in sorted(sample_images.glob("*.jpg"))[:6]:
        (folder / image.name).write_bytes(image.read_bytes())
    options = ["--shard-size", "3", "--store", tmp_path / "store", "--colors"]
    done = visrec("embed", folder, "--on", machines.address, *options)
    assert done.returncode == 0, done.stderr
    assert "6 items with 6 images in generation 1" in done.stdout
    assert "embedding: 6 of 6 images" in done.stderr
    assert "/s)" in done.stderr  # of each machine
    with Store.open(tmp_path / "store") as store:
        assert all("image_colors" in store.attributes(item) for item in store.ids())
    again = visrec("embed", folder, *options, "--json")
    assert '"embedded": 0' in again.stdout


def test_what_is_no_cluster_is_one_sentence(tmp_path, visrec, sample_images):
    pytest.importorskip("ray")
    done = visrec("embed", sample_images, "--on", "spark", "--store", tmp_path / "store")
    assert done.returncode == 2
    assert "'spark' is no cluster" in done.stderr
    done = visrec("embed", sample_images, "--on", "ray://127.0.0.1:1", "--store", tmp_path / "store")
    assert done.returncode == 1
    assert "nobody answers at ray://127.0.0.1:1 (Connection refused)" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()


@pytest.mark.nightly
def test_a_run_that_loses_a_machine_makes_the_same_shards(machines, undisturbed, tmp_path):
    shop = shop_of(tmp_path, SIZE * BLOCKS)
    killer = after(3, tmp_path / "begun", machines.take_away)
    run(shop, tmp_path / "store", machines.address, seconds=0.2)
    killer.join()
    machines.add()
    assert shards(tmp_path / "store") == undisturbed[0]
    assert content(tmp_path / "store") == undisturbed[1]
    assert leftovers(tmp_path / "store") == set()


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cluster_shop import shop_of
sys.path.insert(0, sys.argv[2])
from test_ray import run
run(shop_of(Path(sys.argv[3]), int(sys.argv[4])), Path(sys.argv[3]) / "store", sys.argv[5], seconds=0.3)
"""


@pytest.mark.nightly
def test_a_run_whose_driver_was_killed_goes_on_and_reads_nothing_twice(machines, undisturbed, tmp_path):
    here = Path(__file__)
    arguments = [here.parents[1] / "support", here.parent, tmp_path, SIZE * BLOCKS, machines.address]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, arguments)])
    try:
        until(lambda: len(list((tmp_path / "store" / "ledgers").glob("*"))) >= 4)
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not any(is_at_work(line.split()[0]) for line in noted(tmp_path / "begun")))
    ledgers = len(list((tmp_path / "store" / "ledgers").glob("*")))
    (tmp_path / "reads").unlink()
    shop = shop_of(tmp_path, SIZE * BLOCKS)
    report = run(shop, tmp_path / "store", machines.address, straggler_s=600)
    assert len(noted(tmp_path / "reads")) == SIZE * (BLOCKS - ledgers)
    assert report.embedded == SIZE * BLOCKS
    assert shop.reads == []
    assert shards(tmp_path / "store") == undisturbed[0]
    assert content(tmp_path / "store") == undisturbed[1]
    assert leftovers(tmp_path / "store") == set()


@pytest.mark.nightly
def test_real_photos_through_buckets_get_the_vectors_of_a_local_run_bit_for_bit(
    machines, tmp_path, clothing, s3, monkeypatch
):
    pytest.importorskip("obstore")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    s3.put_folder(clothing.parent, "photos/")
    added = machines.add(2, **s3.environment)  # the other machines have no credentials, and are refused
    try:
        cluster = IndexOptions(shard_size=256, cluster=ClusterOptions(machines.address))
        report = embed(f"s3://shop/photos/{clothing.name}", "s3://shop/store", options=cluster)
    finally:
        for machine in added:
            machines.take_away(machine)
    assert report.embedded > 1_800
    embed(str(clothing), tmp_path / "one", options=IndexOptions(shard_size=256))
    assert vectors_of(folder_of("s3://shop/store")) == vectors_of(tmp_path / "one")


def vectors_of(store):
    """Return the vector of each image of *store* by its digest, as the shards have it."""
    with Store.open(store) as opened:
        digests = sorted({image.digest for item in opened.ids() for image in opened.images(item)})
        positions = opened.positions_of(digests)
        found = opened.stored_vectors(np.array([positions[digest] for digest in digests]))
        return dict(zip(digests, map(bytes, found), strict=True))

"""SIGKILL at random moments: whatever was published is whole, and what was finished is not done again."""

import json
import random
import shutil
import signal

import pyarrow.parquet as pq
import pytest
from fake_shop import FakeEncoder, content, index, wanted
from fork_server import SHARD_SIZE, ForkServer, states

from vision_recs.errors import StoreDamaged, StoreNotFound
from vision_recs.jobs import verify
from vision_recs.store import Store, garbage_collect

STATES = 12


def kills(few, many):
    """Let a test kill *few* processes, and *many* at night."""
    return pytest.mark.parametrize("kills", [pytest.param(few), pytest.param(many, marks=pytest.mark.nightly)])


@pytest.fixture(scope="module")
def fork_server():
    with ForkServer(STATES) as server:
        yield server


@pytest.fixture(scope="module")
def shops():
    return [(shop, turn, wanted(shop, FakeEncoder(turn=turn))) for shop, turn in states(STATES)]


def known(store, fingerprint):
    """Return the digests whose vectors a run over *store* need not make again."""
    digests, used = set(), set()
    if (store / "CURRENT").exists():
        opened = Store.open(store)
        used = {shard.name for shard in opened.manifest.shards}
        if opened.fingerprint == fingerprint:
            digests |= content(opened).digests
    for folder in (store / "shards").glob("*"):
        space = json.loads((folder / "shard.json").read_bytes())["space"]
        if space == fingerprint and folder.name not in used:
            images = pq.read_table(folder / "images.parquet").to_pylist()
            digests |= {row["digest"].hex() for row in images if row["row"] is not None}
    return digests


def finish(store, shop, turn, expected):
    """Run to the end what was killed, and return the digests whose vectors were there already."""
    encoder = FakeEncoder(turn=turn)
    there = expected.digests & known(store, encoder.spec.fingerprint)
    report = index(shop, store, encoder, shard_size=SHARD_SIZE)
    assert report.embedded == len(expected.digests - there)
    assert content(store) == expected
    assert list(verify(store)) == []
    return there


@kills(10, 24)
def test_a_killed_run_leaves_the_old_generation_or_the_new_one_and_the_next_goes_on(
    tmp_path, fork_server, shops, kills
):
    draw = random.Random(1)
    store = tmp_path / "index"
    duration = max(fork_server.run(store, state)[1] for state in (0, 1, 2))
    old, turn, killed, went_on = shops[2][2], 0, 0, 0
    while killed < kills or not went_on:  # on a busy machine many runs end before they are killed
        turn += 1
        state = (turn + 2) % STATES
        shop, weights, new = shops[state]
        status, _ = fork_server.run(store, state, kill_after_s=draw.uniform(0, duration))
        killed += status == -signal.SIGKILL
        assert content(store) in (old, new)
        assert list(verify(store)) == []
        published = content(store) == new
        there = finish(store, shop, weights, new)
        went_on += not published and bool(there - old.digests)
        old = new
        garbage_collect(store)


@kills(4, 8)
def test_a_killed_first_run_leaves_no_store_or_the_whole_one(tmp_path, fork_server, shops, kills):
    draw = random.Random(2)
    shop, turn, expected = shops[0]
    _, duration = fork_server.run(tmp_path / "index", 0)
    for _ in range(kills):
        shutil.rmtree(tmp_path / "index")
        fork_server.run(tmp_path / "index", 0, kill_after_s=draw.uniform(0, duration))
        if (tmp_path / "index" / "CURRENT").exists():
            assert content(tmp_path / "index") == expected
        else:
            with pytest.raises((StoreNotFound, StoreDamaged)):  # killed just before CURRENT, it is the latter
                Store.open(tmp_path / "index")
        finish(tmp_path / "index", shop, turn, expected)


@kills(4, 8)
def test_a_killed_collection_of_garbage_leaves_the_store_whole(tmp_path, fork_server, shops, kills):
    draw = random.Random(3)
    base, store = tmp_path / "base", tmp_path / "index"
    for state in range(4):
        fork_server.run(base, state)
    for _ in range(kills):
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(base, store)
        fork_server.run(store, None, kill_after_s=draw.uniform(0, 0.02))
        assert content(store) == shops[3][2]
        assert list(verify(store)) == []
        assert fork_server.run(store, None)[0] == 0
        finish(store, *shops[4])

"""SIGKILL amid updates, compactions, merging graphs and a server: nothing acknowledged is lost, nobody sees a half."""

import contextlib
import itertools
import json
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import pairwise

import pytest
from fake_shop import index, shop_of
from serving_forks import kill
from updating_forks import make, updating_forks

from vision_recs.indexes import open_published
from vision_recs.jobs import verify
from vision_recs.store import Store
from vision_recs.types import SearchRequest

ITEMS, SHARD = 1_050, 350  # a store of 1,000 items keeps deltas; a new base comes when 53 items have changed
PATIENCE_S = 120
REST_S = 0.01  # of a reader, which would otherwise take a core all the time
TOKEN = "secret"


@dataclass
class Group:
    """Items whose prices always change together; the last price that was sent, and the last one acknowledged."""

    items: list[str]
    sent: int = 1_000
    acknowledged: int = 0

    def dearer(self):
        """Return changes of all prices to the next one."""
        self.sent += 1
        return [{"id": item, "price": self.sent} for item in self.items]

    def price_in(self, store):
        """Return the price; it is the same for all items."""
        (price,) = {values["price"] for values in store.attributes_of(self.items).values()}
        return price

    def change_until_killed(self, port):
        """Send changes to the server at *port*, one after the other, and note what is acknowledged."""
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
            while True:
                connection.request("POST", "/v1/items:update", json.dumps({"changes": self.dearer()}), headers)
                response = connection.getresponse()
                body = response.read()
                assert response.status in (202, 503), body
                if response.status == 202:
                    self.acknowledged = self.sent


@dataclass
class World:
    """A store that is changed and killed; *extra* is the one item that each update replaces by a new one.

    *deltas* are how many vectors lay beside the graph of the index, each time when it was looked at.
    """

    store: object
    groups: list[Group] = field(default_factory=list)
    extra: int = 0
    kills: int = 0
    deltas: list[int] = field(default_factory=list)

    def begin(self):
        shop = shop_of(ITEMS)
        index(shop, self.store, shard_size=SHARD, index_type="hnsw")
        self.groups = [Group([f"item{4 * number + each:03}" for each in range(4)]) for number in range(3)]
        self.acknowledge(self.replacing())

    def acknowledge(self, changes):
        """Make *changes* to the end."""
        make(self.store, changes)
        for group in self.groups:
            group.acknowledged = group.sent
        self.extra += 1
        self.check()

    def replacing(self):
        """Return changes of all prices, with another extra item."""
        changes = [change for group in self.groups for change in group.dearer()]
        new, old = f"extra{self.extra + 1}", f"extra{self.extra}"
        return [*changes, {"id": new, "image": str(5_000 + self.extra), "price": 1}, {"id": old, "deleted": True}]

    def check(self):
        """Check that the store is whole, and go on from what it holds."""
        with Store.open(self.store) as opened:
            for group in self.groups:
                price = group.price_in(opened)
                assert group.acknowledged <= price <= group.sent
                group.sent = group.acknowledged = price
            (extra,) = opened.items.ids("extra")
            assert extra in (f"extra{self.extra}", f"extra{self.extra + 1}")
            self.extra = int(extra.removeprefix("extra"))
            assert opened.items.stored.count() == ITEMS + 1
            (shown,) = opened.images(extra)
            request = SearchRequest(opened.vectors_of([shown.digest]), 1)
            assert [match.id for match in open_published(opened).search(request)[0]] == [extra]
            self.deltas.append(opened.manifest.in_index_delta)
        assert not list(verify(self.store))


def undisturbed(world, forks, order):
    """Carry out *order* in a fork, which nobody kills, and return how many seconds it took."""
    ended = forks.run([str(world.store), order])
    assert ended.status == 0
    for group in world.groups if order else ():
        group.acknowledged = group.sent
    world.check()
    return ended.seconds


def kill_update(world, forks, chance, seconds):
    ended = forks.run([str(world.store), world.replacing()], kill_after_s=chance.uniform(0, seconds))
    world.kills += ended.status == -signal.SIGKILL
    if ended.status == 0:
        for group in world.groups:
            group.acknowledged = group.sent


def kill_collection(world, forks, chance, seconds):
    ended = forks.run([str(world.store), None], kill_after_s=chance.uniform(0, seconds))
    world.kills += ended.status == -signal.SIGKILL


def kill_server(world, serve, log, chance):
    """Kill a server and its workers while clients change items."""
    before = [group.acknowledged for group in world.groups]
    with serve(world.store, log, VISREC_TOKEN=TOKEN) as server, ThreadPoolExecutor(3) as pool:
        sending = [pool.submit(group.change_until_killed, server.port) for group in world.groups]
        try:
            until(lambda: [group.acknowledged for group in world.groups] != before)
            time.sleep(chance.uniform(0, 0.3))
        finally:
            kill(server.process)
        for each in sending:
            each.result()
    world.kills += 1


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def reading(world):
    """Read generations again and again: each has one price for a group, and one extra item."""
    done, errors, read = threading.Event(), [], []

    def look():
        try:
            while not done.wait(REST_S):
                with Store.open(world.store) as opened:
                    prices = [group.price_in(opened) for group in world.groups]
                    read.append((opened.generation, *prices, *opened.items.ids("extra")))
        except Exception as error:  # noqa: BLE001 - raised below, in the thread of the test
            errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not errors, [(str(error), error.__cause__) for error in errors]
    assert read == sorted(read, key=lambda each: each[0])
    assert {len(each) for each in read} == {len(world.groups) + 2}


def run(store, serve, log, *, of_forks, of_servers):
    chance, world = random.Random(of_forks), World(store)
    world.begin()
    world.acknowledge(world.replacing())
    with updating_forks() as forks, reading(world):
        update, collection = (undisturbed(world, forks, order) for order in (world.replacing(), None))
        for turn in itertools.count():  # on a busy machine more of them end before they are killed
            if world.kills >= of_forks:
                break
            if turn % 10 == 9:
                kill_collection(world, forks, chance, 1.2 * collection)
            else:
                kill_update(world, forks, chance, 1.2 * update)
            world.check()
        for _ in range(of_servers):
            kill_server(world, serve, log, chance)
            world.check()
        world.acknowledge(world.replacing())
    assert any(after < before for before, after in pairwise(world.deltas))  # it was merged
    return world


def test_kills_lose_nothing_that_was_acknowledged_and_show_nobody_a_half(serve, tmp_path):
    run(tmp_path / "store", serve, tmp_path / "log", of_forks=8, of_servers=2)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(serve, tmp_path):
    world = run(tmp_path / "store", serve, tmp_path / "log", of_forks=160, of_servers=60)
    assert world.kills >= 220
    with Store.open(world.store) as opened:
        assert opened.generation > 60  # each server has acknowledged a change before it was killed

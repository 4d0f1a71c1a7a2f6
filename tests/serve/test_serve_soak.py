"""A soak: honest and hostile clients, crashing decoders and new generations, round after round, and nothing grows.

Memory, files and processes are counted between the rounds, when nobody asks, so that no busy machine can blur them.
"""

import csv
import itertools
import json
import os
import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import broken_decoder
import pytest
from parts import part_of_time
from soak_clients import Probe, ask, half_open, honest, hostile

import vision_recs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts by /proc, which is of Linux")

LONGEST_WAIT_S = 20.0
"""For an answer to whether the server lives; on an idle machine the longest is 0.05 s."""
FILES_AT_REST = 45
MORE_FILES = 6
MORE_MB = 60
DECODERS = 2
AN_HOUR_S = 3600


class Catalog:
    """The samples, with another price at each turn: it is the same for all items."""

    def __init__(self, folder, samples):
        shutil.copytree(samples, folder)
        self.path = folder / "catalog.csv"
        self.evil = (folder / "mug-01-1.jpg").read_bytes() + b"\0"  # crashes the decoder of the server
        self.images = [path.read_bytes() for path in sorted(folder.glob("*-1.jpg"))]
        with self.path.open(newline="") as file:
            self._rows = list(csv.DictReader(file))

    def write(self, turn):
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._rows[0])
            writer.writeheader()
            writer.writerows({**row, "price": 10 + turn} for row in self._rows)


@dataclass(frozen=True)
class Count:
    """What a process has: open files, megabytes, and processes below it."""

    files: int
    megabytes: float
    children: int

    @classmethod
    def of(cls, process):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        children = "".join(tasks.read_text() for tasks in Path(f"/proc/{process}/task").glob("*/children")).split()
        files = len(list(Path(f"/proc/{process}/fd").iterdir()))
        return cls(files, int(status["VmRSS"].split()[0]) / 1024, len(children))


def at_rest(process, most_files):
    """Return the count once no more than *most_files* are open, or after a minute."""
    for _ in range(600):
        count = Count.of(process)
        if count.files <= most_files:
            break
        time.sleep(0.1)
    return count


def repeat(turns, client, *arguments):
    for _ in range(turns):
        client(*arguments)


@dataclass(frozen=True)
class Soak:
    """A server over *catalog*, of which everything was asked once, and its one *worker*."""

    server: object
    worker: int
    catalog: Catalog
    store: Path

    def one_round(self, number, turns):
        """Have all kinds of clients ask while a generation is published; return the longest wait of the probe."""
        port, draw = self.server.port, random.Random(number)
        good, evil = self.catalog.images, self.catalog.evil
        self.catalog.write(number)
        with Probe(port) as probe, half_open(port, 20), ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(repeat, turns, honest, port, draw, good) for _ in range(2)]
            clients.append(pool.submit(repeat, max(1, turns // 3), hostile, port, draw, good, evil))
            published = pool.submit(vision_recs.index, self.catalog.path, self.store).result()
            for client in clients:
                client.result()
        deadline = time.monotonic() + 120
        while json.loads(ask(port, "GET", "/readyz")[1])["generation"] < published.generation:
            assert time.monotonic() < deadline, "the new generation is not served"
            time.sleep(0.1)
        return max(probe.seconds)

    def run(self, numbers, turns):
        """Check each round, and that the later half of them took no more memory than the earlier."""
        most_files = at_rest(self.worker, FILES_AT_REST).files + MORE_FILES
        megabytes = []
        for number in numbers:
            assert self.one_round(number, turns) < LONGEST_WAIT_S
            count = at_rest(self.worker, most_files)
            assert count.files <= most_files, list(map(os.readlink, Path(f"/proc/{self.worker}/fd").iterdir()))
            assert count.children <= DECODERS
            megabytes.append(count.megabytes)
        half = len(megabytes) // 2
        assert max(megabytes[half:]) < max(megabytes[:half]) + MORE_MB, megabytes


@pytest.fixture
def soak(serve, own_sample_store, sample_images, tmp_path):
    catalog, log = Catalog(tmp_path / "images", sample_images), tmp_path / "log"
    catalog.write(0)
    vision_recs.index(catalog.path, own_sample_store)
    with serve(own_sample_store, log, "--preload", **broken_decoder.environment("segfault", catalog.evil)) as server:
        (worker,) = server.worker_ids()
        soak = Soak(server, worker, catalog, own_sample_store)
        soak.one_round(1, turns=1)
        yield soak
        assert server.worker_ids() == [worker]
    assert "Traceback" not in log.read_text()


def test_nothing_grows_in_a_short_soak(soak):
    soak.run(range(2, 5), turns=2)


@pytest.mark.nightly
@pytest.mark.timeout(3 * AN_HOUR_S)
def test_nothing_grows_in_an_hour(soak):
    deadline = time.monotonic() + part_of_time(AN_HOUR_S)
    soak.run(itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count(2)), turns=20)

"""What a change of a store costs, by the size of the store and by the number of changes.

python benchmarks/updates.py [--items 10000 100000 1000000] [--work DIR]     (an hour for a million, minutes else)

A store of stub vectors (512 columns) is made once for each size; every measurement works on a copy. A rerun reads the
whole catalog again, from memory, with signatures from memory; "the catalog alone" is what the benchmark itself takes to
yield it. An update is timed inside a process, and as a command from its start to its end; then as a client of a running
server sees it, until the answer and until the item has its price. Then queries of a store after 1,000 updates are
compared with those of the same store with a new base, in turns. Every time is given as seconds on the wall and of the
processor: on a machine that does other things the second counts. Prints the table and writes updates.json beside this
file; a size that is not measured keeps what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any, Self
from unittest import mock

import numpy as np
from machine import provenance
from PIL import Image

import vision_recs
from vision_recs import indexes
from vision_recs.encoders.canary import embed_canary
from vision_recs.filters import Filter
from vision_recs.indexes import IndexConfig
from vision_recs.jobs import IndexOptions, index, update, updating
from vision_recs.jobs.progress import silent
from vision_recs.jobs.publish import NO_INDEX, publish
from vision_recs.recommend import Policy
from vision_recs.store import CatalogEntry, Embedded, Manifest, Store, canary_text, open_writer, writer
from vision_recs.types import EncoderSpec, ImageData, Item, Pixels, PreprocessConfig, Unchanged, Vectors

DIM = 512
ROUNDS = 5
CHANGES = 60
QUERIES = 1_000
SPEC = EncoderSpec("stub", "0" * 64, DIM, PreprocessConfig((2, 2), "crop", 2, "bilinear", (0, 0, 0), (1, 1, 1)), "none")
VISREC = str(Path(sys.executable).parent / "visrec")
NOTING_MEMORY = """
import atexit, pathlib, re, visrec_cli.main
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
visrec_cli.main.main()
"""  # what the system says of a process that has ended counts what the one that started it had


class Images:
    """Images in memory: each has a name, a signature, and pixels that nobody has seen before."""

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return the signatures of *references*."""
        return [f"signature of {reference}" for reference in references]

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image *reference*."""
        if known is not None:
            return Unchanged()
        file = io.BytesIO()
        number = int(reference.removesuffix(".png"))
        Image.fromarray(np.frombuffer(number.to_bytes(12, "little"), np.uint8).reshape(2, 2, 3)).save(file, "PNG")
        return ImageData(file.getvalue(), f"signature of {reference}")


class Shop:
    """A catalog of *count* items with an image and four attributes each."""

    location, root, images = "/nowhere/catalog.csv", "", Images()

    def __init__(self, count: int, dearer: range = range(0)) -> None:
        """Have the items in *dearer* cost more."""
        self.count, self.dearer = count, dearer

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, by id."""
        for number in range(self.count):
            price = round(5 + number * 104_729 % 20_000 / 100, 2) + (number in self.dearer)
            kind = ("mug", "vase", "lamp")[number % 3]
            values = {"category": kind, "price": price, "in_stock": number % 10 != 0, "title": f"Thing {number}"}
            yield Item(f"item{number:08d}", (f"{number}.png",), values)


class Stub:
    """An encoder whose vectors depend on the pixels and cost next to nothing."""

    spec = SPEC

    def encode(self, pixels: Pixels) -> Vectors:
        """Return a unit vector for each image."""
        seeds = [int.from_bytes(hashlib.sha256(each.tobytes()).digest()[:8], "little") for each in pixels]
        vectors = np.stack([np.random.default_rng(seed).standard_normal(DIM, np.float32) for seed in seeds])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Measure every size, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--work", type=Path, metavar="DIR", help="keeps the stores for the next run")
    arguments = parser.parse_args()
    file = Path(__file__).with_suffix(".json")
    sizes = json.loads(file.read_text())["sizes"] if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        for count in arguments.items:
            sizes[str(count)] = measure(count, work)
            result = {"dim": DIM, "sizes": sizes, "provenance": provenance("numpy", "faiss-cpu", "pyarrow")}
            file.write_text(json.dumps(result, indent=1) + "\n")
    for count, of_size in sizes.items():
        for name, value in of_size.items():
            sys.stdout.write(f"{int(count):>9,}  {name:<50} {value}\n")


def measure(count: int, work: Path) -> dict[str, Any]:
    """Return what everything takes in a store of *count* items."""
    made = work / f"store-{count}"
    if not made.exists():
        build(made, count)
    store = work / "changing"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(made, store)
    some = count // 100
    with Store.open(store) as opened:
        index_type = opened.manifest.index_type
    without = index_type if index_type == NO_INDEX else None  # else the index stays what it is
    options = IndexOptions(workers=os.cpu_count() or 1, index_type=without)
    found: dict[str, Any] = {"index": index_type, "processes that wait for a core": round(os.getloadavg()[0], 1)}

    def timed(name: str, work: Callable[[], Any]) -> None:
        with Timed() as times:
            work()
        found[name] = times.result

    def run(shop: Shop) -> None:
        index(shop, store, encoder=Stub(), options=options)

    prices = [{"id": f"item{number * 7 % count:08d}", "price": 1.0 + number} for number in range(some)]
    gone = [{"id": f"item{number * 11 % count:08d}", "deleted": True} for number in range(some)]
    new = [{"id": f"new{number:08d}", "image": f"{count + number}.png", "price": 3} for number in range(some)]
    timed("the catalog alone", lambda: deque(Shop(count), maxlen=0))
    timed("rerun, nothing changed", lambda: run(Shop(count)))
    timed("rerun, one price changed", lambda: run(Shop(count, range(7, 8))))
    timed("update of one price", lambda: update([{"id": "item00000001", "price": 1.25}], store))
    found["update of one price, as a command"] = middle([command(store) for _ in range(ROUNDS)])
    found |= through_server(store, work / "cache")
    for part in (some // 100, some // 10):
        changes = [{**each, "price": each["price"] + 0.5} for each in prices[:part]]
        timed(f"update of {part:,} prices", partial(update, changes, store))
    timed(f"update of {some:,} prices", lambda: update(prices, store))
    found["memory of a command, by prices, in megabytes"] = {
        len(part): memory_of(part, store) for part in (prices[:1], prices[: some // 10], prices)
    }
    with parts_of(found, some):
        timed(
            f"update of {some:,} new and {some:,} gone",
            lambda: update([*new, *gone], store, encoder=Stub(), images=Images()),
        )
    for name, ratio in in_turns(store, made, count).items():  # most of them are in both
        found[f"{name}, {some:,} new and gone / none"] = ratio
    timed("1,000 updates of one price", lambda: one_by_one(store, count))
    found |= compare_queries(store, work / "compact", count)
    found["peak_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return found


def build(folder: Path, count: int) -> None:
    """Publish a store of *count* items with clustered vectors and an index, without embedding anything."""
    draw = np.random.default_rng(0)
    centers = draw.standard_normal((1_000, DIM), np.float32)
    with open_writer(folder) as store:
        staging = store.stage(SPEC)
        for item in Shop(count):
            staging.add(item)
        images = staging.images()
        for first in range(0, count, 65_536):
            size = min(65_536, count - first)
            vectors = centers[draw.integers(0, 1_000, size)] + 0.8 * draw.standard_normal((size, DIM), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            embedded = []
            for row in range(size):
                image = next(images)
                digest = hashlib.sha256(image.image.encode()).digest()
                staging.set_digest(image, digest, f"signature of {image.image}")
                embedded.append(Embedded(image.id, image.image, digest, row))
            store.add_shard(staging, SPEC.fingerprint, embedded, vectors)
        draft = store.draft(store.settle(staging), SPEC)
        if draft is None:
            raise ValueError(f"{folder} holds these items already")
        manifest = Manifest(
            generation=draft.generation,
            created="2026-01-01T00:00:00+00:00",
            visrec="benchmark",
            space=SPEC.fingerprint,
            encoder=SPEC,
            weights_file=None,
            catalog=CatalogEntry(Shop.location, Shop.root),
            items=count,
            images=count,
            skipped=0,
            shards=draft.shards,
            next_position=draft.next_position,
            items_files=draft.items_files,
            canary=canary_text(embed_canary(Stub())),
            index_type="exact",
        )
        publish(store, manifest, IndexConfig(), silent)


class Timed:
    """Seconds of the block, on the wall and of the processor, this process and the *children* that have ended."""

    def __enter__(self) -> Self:
        """Begin."""
        self._wall, self._cpu = perf_counter(), self._used()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.result = {
            "seconds": round(perf_counter() - self._wall, 3),
            "cpu_seconds": round(self._used() - self._cpu, 3),
        }

    @staticmethod
    def _used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return process_time() + children.ru_utime + children.ru_stime


def middle(times: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each kind of seconds."""
    return {kind: round(median(each[kind] for each in times), 4) for kind in times[0]}


def command(store: Path) -> dict[str, float]:
    """Return the seconds that `visrec update` takes for one price, from its start to its end."""
    line = json.dumps({"id": "item00000002", "price": random.random()})  # noqa: S311 - another price each time
    with Timed() as times:
        subprocess.run([VISREC, "update", "-", "--store", store, "--quiet"], input=line.encode(), check=True)
    return times.result


def memory_of(changes: Sequence[dict[str, Any]], store: Path) -> int:
    """Return the megabytes that `visrec update` takes at most, in memory, for *changes* of prices."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({**each, "price": random.random()}) + "\n" for each in changes)  # noqa: S311 - as above
        file.flush()
        command = [sys.executable, "-c", NOTING_MEMORY, "update", file.name, "--store", str(store), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(int(done.stdout.split()[-1]) / 1e3)


def one_by_one(store: Path, count: int) -> None:
    """Make 1,000 changes, each in a generation of its own."""
    for number in range(1_000):
        update([{"id": f"item{number * 13 % count:08d}", "price": number}], store)


@contextmanager
def parts_of(found: dict[str, Any], some: int) -> Iterator[None]:
    """Note what embedding and the index take of the update in the block."""

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **options: object) -> object:
            with Timed() as times:
                result = real(*arguments, **options)
            found[f"of {some:,} new and {some:,} gone, {name}"] = times.result
            return result

        return call

    made, embedded = indexes.build_or_update, updating._embed  # noqa: SLF001
    with (
        mock.patch.object(indexes, "build_or_update", noting("the index", made)),
        mock.patch.object(updating, "_embed", noting("decoding and embedding", embedded)),
    ):
        yield


def through_server(store: Path, cache: Path) -> dict[str, Any]:
    """Return what changes of one price take for a client of a running server, and the server's own time for each."""
    headers = {"authorization": f"Bearer {'t' * 32}", "content-type": "application/json"}
    process = subprocess.Popen(
        [VISREC, "serve", "--store", store, "--port", "0"],
        env={**os.environ, "VISREC_TOKEN": "t" * 32, "VISREC_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    try:
        url = (process.stdout or io.StringIO()).readline().split()[2]
        connection = HTTPConnection(url.removeprefix("http://"), timeout=600)
        while ask("GET", "/v1/items?q=thing&limit=1")[0] != HTTPStatus.OK:  # its words are built the first time
            sleep(1)
        before = _used_by(process.pid)
        acknowledged, live = [], []
        for number in range(CHANGES):
            item, price = f"item{17 * number + 3:08d}", round(random.uniform(6, 200), 4)  # noqa: S311 - as above
            started = perf_counter()
            status, _ = ask("POST", "/v1/items:update", {"changes": [{"id": item, "price": price}]})
            acknowledged.append(perf_counter() - started)
            if status != HTTPStatus.ACCEPTED:
                raise ValueError(f"the server answered {status}")
            while ask("GET", f"/v1/items/{item}")[1]["attributes"]["price"] != price:
                sleep(0.005)
            live.append(perf_counter() - started)
            sleep(0.05)
        used = _used_by(process.pid) - before
    finally:
        process.terminate()
        process.wait()
    return {
        "server, one price acknowledged": {
            "seconds": round(median(acknowledged), 4),
            "slowest": round(max(acknowledged), 4),
        },
        "server, one price visible": {"seconds": round(median(live), 4), "slowest": round(max(live), 4)},
        "server, one price, all that it does": {"cpu_seconds": round(used / CHANGES, 4)},
    }


def _used_by(process: int) -> float:
    """Return the seconds of the processor that *process* and its children have taken."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ticks = 0
    for each in (str(process), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def compare_queries(store: Path, compact: Path, count: int) -> dict[str, Any]:
    """Return the times of queries of *store* in parts of those of the same store with a new base."""
    shutil.rmtree(compact, ignore_errors=True)
    shutil.copytree(store, compact)
    with mock.patch.object(writer, "_MOST_CHANGED", 0.0):  # have the next change make a new base
        update([{"id": "item00000003", "price": 9}], compact)
    ratios: dict[str, Any] = {
        f"{name}, after 1,000 updates / new base": ratio for name, ratio in in_turns(store, compact, count).items()
    }
    with Store.open(store) as opened:
        ratios["deltas"] = [entry.changed for entry in opened.manifest.items_files[1:]]
    shutil.rmtree(compact)
    return ratios


def in_turns(store: Path, other: Path, count: int) -> dict[str, float]:
    """Return the times of queries of *store* in parts of those of *other*, which has the same items, asked in turns."""
    ids = [f"item{number:08d}" for number in np.random.default_rng(1).integers(0, count, 3_000)]
    policies = {"query by id": Policy(), "query with a filter": Policy(where=Filter.parse("price < 40 and in_stock"))}
    ratios = {}
    with vision_recs.open(store) as many, vision_recs.open(other) as one:
        known = [*many.items.attributes_of(ids).keys() & one.items.attributes_of(ids).keys()]
        for name, policy in policies.items():
            seconds = {many: [0.0], one: [0.0]}
            for number, item in enumerate(known[:QUERIES]):
                for shop in (many, one) if number % 2 else (one, many):
                    started = process_time()
                    shop.similar(item, k=10, policy=policy)
                    seconds[shop].append(process_time() - started)
            warm = {shop: sum(times[QUERIES // 10 :]) for shop, times in seconds.items()}
            ratios[name] = round(warm[many] / warm[one], 3)
    return ratios


if __name__ == "__main__":
    main()

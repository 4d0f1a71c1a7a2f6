"""What a change of a store costs, by the size of the store and by the number of changes.

python benchmarks/updates.py [--items 10000 100000 1000000] [--work DIR]     (an hour for a million, minutes else)

A store of stub vectors (512 columns) is made once for each size; every measurement works on a copy. A rerun reads the
whole catalog again, from memory, with signatures from memory. An update is timed inside a process, and as a command
from its start to its end. Then queries of a store after 1,000 updates are compared with those of the same store with a
new base, in turns. Prints the table and writes updates.json beside this file.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from machine import provenance
from PIL import Image

import vision_recs
from vision_recs.encoders.canary import embed_canary
from vision_recs.filters import Filter
from vision_recs.indexes import IndexConfig
from vision_recs.jobs import IndexOptions, index, update
from vision_recs.jobs.progress import silent
from vision_recs.jobs.publish import publish
from vision_recs.recommend import Policy
from vision_recs.store import CatalogEntry, Embedded, Manifest, Store, canary_text, open_writer, writer
from vision_recs.types import EncoderSpec, ImageData, Item, Pixels, PreprocessConfig, Unchanged, Vectors

DIM = 512
ROUNDS = 5
SPEC = EncoderSpec("stub", "0" * 64, DIM, PreprocessConfig((2, 2), "crop", 2, "bilinear", (0, 0, 0), (1, 1, 1)), "none")
VISREC = str(Path(sys.executable).parent / "visrec")


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
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        sizes = {str(count): measure(count, work) for count in arguments.items}
    result = {"dim": DIM, "sizes": sizes, "provenance": provenance("numpy", "faiss-cpu", "pyarrow")}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
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
    options = IndexOptions(workers=os.cpu_count() or 1)
    found: dict[str, Any] = {}

    def timed(name: str, work: Callable[[], Any]) -> None:
        wall, cpu = perf_counter(), process_time()
        work()
        found[name] = {"seconds": round(perf_counter() - wall, 3), "cpu_seconds": round(process_time() - cpu, 3)}

    def run(shop: Shop) -> None:
        index(shop, store, encoder=Stub(), options=options)

    prices = [{"id": f"item{number * 7 % count:08d}", "price": 1.0 + number} for number in range(some)]
    gone = [{"id": f"item{number * 11 % count:08d}", "deleted": True} for number in range(some)]
    new = [{"id": f"new{number:08d}", "image": f"{count + number}.png", "price": 3} for number in range(some)]
    timed("rerun, nothing changed", lambda: run(Shop(count)))
    timed("rerun, one price changed", lambda: run(Shop(count, range(7, 8))))
    timed("update of one price", lambda: update([{"id": "item00000001", "price": 1.25}], store))
    found["update of one price, as a command"] = {"seconds": round(median(command(store) for _ in range(ROUNDS)), 3)}
    timed(f"update of {some:,} prices", lambda: update(prices, store))
    timed(
        f"update of {some:,} new and {some:,} gone",
        lambda: update([*new, *gone], store, encoder=Stub(), images=Images()),
    )
    for number in range(1_000):
        update([{"id": f"item{number * 13 % count:08d}", "price": number}], store)
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


def command(store: Path) -> float:
    """Return the seconds that `visrec update` takes for one price, from its start to its end."""
    line = json.dumps({"id": "item00000002", "price": random.random()})  # noqa: S311 - another price each time
    started = perf_counter()
    subprocess.run([VISREC, "update", "-", "--store", store, "--quiet"], input=line.encode(), check=True)
    return perf_counter() - started


def compare_queries(store: Path, compact: Path, count: int) -> dict[str, Any]:
    """Return the times of queries of *store* in parts of those of the same store with a new base, in turns."""
    shutil.rmtree(compact, ignore_errors=True)
    shutil.copytree(store, compact)
    kept, writer._MOST_CHANGED = writer._MOST_CHANGED, 0.0  # noqa: SLF001 - have the next change make a new base
    update([{"id": "item00000003", "price": 9}], compact)
    writer._MOST_CHANGED = kept  # noqa: SLF001
    ids = [f"item{number:08d}" for number in np.random.default_rng(1).integers(0, count, 3_000) if number % 11]
    policies = {"query by id": Policy(), "query with a filter": Policy(where=Filter.parse("price < 40 and in_stock"))}
    ratios = {}
    with vision_recs.open(store) as many, vision_recs.open(compact) as one:
        known = [item for item in ids if item in many.items.attributes_of(ids) and item in one.items.attributes_of(ids)]
        for name, policy in policies.items():
            seconds: dict[str, list[float]] = {"deltas": [], "base": []}
            for round_ in range(ROUNDS + 1):
                for side, shop in (("deltas", many), ("base", one)):
                    started = process_time()
                    for item in known[round_ * 300 : round_ * 300 + 300]:
                        shop.similar(item, k=10, policy=policy)
                    seconds[side].append(process_time() - started)
            ratio = median(a / b for a, b in zip(seconds["deltas"][1:], seconds["base"][1:], strict=True))
            ratios[f"{name}, after 1,000 updates / new base"] = round(ratio, 3)
    with Store.open(store) as opened:
        ratios["deltas"] = [entry.changed for entry in opened.manifest.items_files[1:]]
    shutil.rmtree(compact)
    return ratios


if __name__ == "__main__":
    main()

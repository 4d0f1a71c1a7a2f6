"""What the driver of a large run costs by itself, without reading or encoding an image: time and memory a row.

python benchmarks/driver.py [--rows 100000 1000000] [--work DIR]     (on a quiet machine, two minutes for a million)

A catalog of items with one image and five attributes each is staged. Blocks of 4,096 images are made and given to a
worker in another process, a stub (vectors of 8 columns, made of digests), whose time does not count; their ledgers are
read, the items are settled and published, without an index. Then the same catalog is compared again, unchanged and with
a hundredth of the items changed. Each size is measured in a process of its own: seconds of the processor for each step,
and the memory at its peak, without mapped files (RssAnon) and with them (VmRSS), beyond that of an empty process.
Prints the table and writes driver.json beside this file; a size that is not measured keeps what is there.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import process_time, sleep
from typing import Any

import numpy as np
from machine import provenance

from vision_recs.jobs.cluster.done import Done
from vision_recs.jobs.cluster.driver import Planning
from vision_recs.jobs.cluster.places import BlockPlace, begin_run, end_runs, forget_ledgers
from vision_recs.jobs.cluster.worker import Block
from vision_recs.jobs.comparing import stage_catalog
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import silent
from vision_recs.jobs.publish import NO_INDEX
from vision_recs.store import CatalogEntry, Embedded, Manifest, Staging, Store, Writer, canary_text, open_writer
from vision_recs.store.ledgers import Ledger, LedgerRow
from vision_recs.store.shards import make_shard
from vision_recs.types import EncoderSpec, ImageData, Item, PreprocessConfig, Unchanged

DIM, SHARD = 8, 4_096
_WATCH_S = 0.02
_OPTIONS = IndexOptions(shard_size=SHARD)
SPEC = EncoderSpec("stub", "0" * 64, DIM, PreprocessConfig((2, 2), "crop", 2, "bilinear", (0, 0, 0), (1, 1, 1)), "none")


class Images:
    """Images that have signatures, and are never read."""

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return the signatures of *references*."""
        return [f"signature of {reference}" for reference in references]

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Refuse to read *reference*."""
        raise AssertionError(f"{reference} was read, known as {known}")


class Shop:
    """A catalog of *rows* items, of which each one in *dearer* costs more."""

    location, root, images = "/nowhere/catalog.csv", "", Images()

    def __init__(self, rows: int, dearer: range = range(0)) -> None:
        """Have *rows* items."""
        self.rows, self.dearer = rows, dearer

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, by id."""
        for number in range(self.rows):
            values = {
                "title": f"Thing number {number}",
                "category": ("mug", "vase", "lamp")[number % 3],
                "price": round(5 + number * 104_729 % 20_000 / 100, 2) + (number in self.dearer),
                "in_stock": number % 10 != 0,
                "variant_group": f"group {number // 4}",
            }
            yield Item(f"item{number:09d}", (f"images/{number % 1000:03d}/{number}.jpg",), values)


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Return what each step takes for a catalog of *rows* items."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        worker.submit(os.getpid).result()
        steps = Steps()
        with open_writer(folder, reads_catalog=True) as writer:
            staging = writer.stage(SPEC)
            stage_catalog(Shop(rows), staging, silent, workers=1)
            steps.note("staging")
            embed(writer, staging, worker, steps)
            steps.note("ledgers")
            settled = writer.settle(staging)
            steps.note("settling")
            publish(writer, settled)
            forget_ledgers(writer)
            steps.note("publishing")
        some = max(1, rows // 100)
        for name, shop in (("compared, unchanged", Shop(rows)), ("compared, 1 % changed", Shop(rows, range(some)))):
            with open_writer(folder, reads_catalog=True) as writer:
                staging = writer.stage(SPEC)
                stage_catalog(shop, staging, silent, workers=1)
                embed(writer, staging, worker)
                publish(writer, writer.settle(staging))
            steps.note(name)
    with Store.open(folder) as opened:
        if opened.item_count != rows:
            raise ValueError(f"the store has {opened.item_count} items, not {rows}")
    sizes = sorted(path.stat().st_size for path in (folder / "items").iterdir())
    return {**steps.found, "items_file_bytes_a_row": round(sizes[-1] / rows), "delta_bytes": sizes[0]}


def embed(writer: Writer, staging: Staging, worker: ProcessPoolExecutor, steps: Steps | None = None) -> None:
    """Give every staged image an outcome, as the driver of a cluster does: the blocks go to another process."""
    with Done(writer, staging, SPEC) as done:
        place = begin_run(writer)
        for block in Planning(Shop.images, writer, staging, SPEC, _OPTIONS).blocks(done):
            name = worker.submit(work, place, block).result()
            done.add(name, (image.number for image in block.images))
        end_runs(writer)
        if steps is not None:
            steps.note("blocks")
        done.settle(keep_stale=0, progress=silent)


def work(place: BlockPlace, block: Block) -> str:
    """Embed *block* as a worker would, with vectors that are made from digests; return its name."""
    asked = zip(block.images, block.asked, strict=True)
    images = [(each, hashlib.sha256(each.image.encode()).digest(), signature) for each, signature in asked]
    bits = np.frombuffer(b"".join(digest[:DIM] for _, digest, _ in images), np.uint8).reshape(-1, DIM)
    vectors = bits.astype(np.float32) + 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embedded = [Embedded(each.id, each.image, digest, row) for row, (each, digest, _) in enumerate(images)]
    with place.work() as folder:
        shard = folder / "shard"
        name = make_shard(shard, SPEC.fingerprint, embedded, vectors)
        rows = [
            LedgerRow(each.id, each.image, digest, signature, row, asked=signature)
            for row, (each, digest, signature) in enumerate(images)
        ]
        place.put(Ledger(block.name, SPEC.fingerprint, name, len(rows), rows), shard)
    return block.name


def publish(writer: Writer, settled: Any) -> None:  # noqa: ANN401 - what `settle` returns
    """Publish what was settled, without an index."""
    draft = writer.draft(settled, SPEC)
    if draft is None:
        return
    canary = np.full(DIM, DIM**-0.5, np.float32)
    manifest = Manifest(
        generation=draft.generation,
        created="2026-01-01T00:00:00+00:00",
        visrec="benchmark",
        space=SPEC.fingerprint,
        encoder=SPEC,
        weights_file=None,
        catalog=CatalogEntry("/nowhere/catalog.csv", ""),
        items=draft.counts.items,
        images=draft.counts.images,
        skipped=draft.counts.skipped,
        shards=draft.shards,
        next_position=draft.next_position,
        items_files=draft.items_files,
        canary=canary_text(canary),
        index_type=NO_INDEX,
    )
    writer.publish(manifest, None)


class Steps:
    """Notes what each step takes: a thread looks at the memory all the time."""

    def __init__(self) -> None:
        """Begin the first step."""
        self.found: dict[str, Any] = {}
        self._before = _memory()
        self._begin()
        threading.Thread(target=self._watch, daemon=True).start()

    def note(self, name: str) -> None:
        """End a step, and begin the next one."""
        seconds = process_time() - self._started
        own, whole = (round((peak - before) / 1e3) for peak, before in zip(self._peaks, self._before, strict=True))
        self.found[name] = {"cpu_s": round(seconds, 2), "peak_mb": own, "with_mapped_mb": whole}
        print(f"{name:24} {self.found[name]}", file=sys.stderr, flush=True)
        self._begin()

    def _begin(self) -> None:
        gc.collect()
        self._peaks = _memory()
        self._started = process_time()

    def _watch(self) -> None:
        while True:
            own, whole = _memory()
            self._peaks = max(self._peaks[0], own), max(self._peaks[1], whole)
            sleep(_WATCH_S)


def _memory() -> tuple[int, int]:
    """Return how many kilobytes of memory this process has: without the files that are mapped, and with them."""
    text = Path("/proc/self/status").read_text("utf-8")
    own, whole = (int(re.findall(rf"{name}:\s*(\d+) kB", text)[0]) for name in ("RssAnon", "VmRSS"))
    return own, whole


def main() -> None:
    """Measure every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--work", type=Path, help="a folder for the stores [default: a temporary one]")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.work)))
        return
    file = Path(__file__).with_suffix(".json")
    sizes = json.loads(file.read_text("utf-8"))["sizes"] if file.exists() else {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            command = [sys.executable, __file__, "--measure", str(rows), "--work", str(Path(work) / "store")]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        sizes[str(rows)] = json.loads(done.stdout)
        result = {"dim": DIM, "shard": SHARD, "sizes": sizes, **provenance("numpy", "pyarrow")}
        file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for rows, found in sizes.items():
        total = sum(each["cpu_s"] for each in found.values() if isinstance(each, dict))
        print(f"{int(rows):>12,} rows: {total:,.1f} s")


if __name__ == "__main__":
    main()

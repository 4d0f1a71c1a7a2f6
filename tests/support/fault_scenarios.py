"""Commands that are to fail at each call that they make, the places in which they run, and what such a place holds."""

import csv
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fake_shop import NO_IMAGE, content, image, png
from faulty_process import Order

from vision_recs.indexes import ExactIndex, open_published
from vision_recs.jobs import verify
from vision_recs.store import Store
from vision_recs.types import SearchRequest

KINDS_OF_ITEMS = ("mug", "vase", "plate")


@dataclass(frozen=True)
class Scenario:
    """A command, and the state of the place before it.

    One that works *once* finds nothing to do afterwards; of a *slow* one, less is tried outside of `make nightly`.
    """

    name: str
    base: str
    arguments: tuple[str, ...]
    once: bool = False
    slow: bool = False


def _scenario(name, base, command, **options):
    return Scenario(name, base, tuple(command.split()), **options)


def some(points, count, scenario):
    """Return about *count* of *points*, evenly spread; fewer for a slow scenario."""
    return points[:: len(points) // (1 + count // 4 if scenario.slow else count) + 1]


SCENARIOS = [
    _scenario("first run", "empty", "index a.csv"),
    _scenario("rerun", "first", "index b.csv"),
    _scenario("compaction", "first", "index few.csv"),
    _scenario("update", "second", "update changes.jsonl"),
    _scenario("merging update", "updated", "update prices.jsonl"),
    _scenario("mending", "without index", "index a.csv"),
    _scenario("hnsw", "hnsw", "index b.csv"),
    _scenario("growing delta graph", "delta graph", "update changes.jsonl", slow=True),
    _scenario("merging delta graph", "grown delta graph", "update more.jsonl"),
    _scenario("gc of delta graphs", "grown delta graph", "gc", slow=True),
    _scenario("ivf-pq", "first", "index b.csv --index-type ivf-pq"),
    _scenario("export", "first", "embed b.csv --export out/vectors"),
    _scenario("tune", "to tune", "tune --labels kind --json", slow=True),
    _scenario("undo", "tuned", "tune --undo", once=True),
    _scenario("neighbors", "second", "neighbors out/neighbors.parquet -k 3"),
    _scenario("changed neighbors", "second", "neighbors out/neighbors.csv -k 3 --changed-since 1"),
    _scenario("nested neighbors", "second", "neighbors out/neighbors.jsonl -k 3 --nested --diversity 0.3"),
    _scenario("gc", "second", "gc"),
    _scenario("verify", "second", "verify"),
    _scenario("similar", "second", "similar item03 --where price<9 --html out/similar.html"),
    _scenario("info", "second", "info --json"),
    _scenario("duplicates", "second", "duplicates --html out/duplicates.html"),
    _scenario("evaluate", "second", "evaluate --labels kind --html out/evaluate.html"),
]
BASES = {
    "empty": [],
    "first": ["index a.csv"],
    "without index": ["index a.csv"],
    "second": ["index a.csv", "index b.csv"],
    "updated": ["index a.csv", "update changes.jsonl"],
    "hnsw": ["index a.csv --index-type hnsw"],
    "delta graph": ["index a.csv --index-type hnsw", "index b.csv"],
    "grown delta graph": ["index a.csv --index-type hnsw", "index b.csv", "update changes.jsonl"],
    "to tune": ["index labelled.csv"],
    "tuned": ["index labelled.csv", "tune --labels kind"],
}


def order(arguments, place, **options):
    """Return the order to run *arguments* in *place*; what is said lies beside it."""
    with_store = () if arguments[0] == "serving" else ("--store", "store")
    return Order((*arguments, *with_store), str(place), f"{place}.said", **options)


def said(place):
    """Return what the last command in *place* wrote to stdout and stderr."""
    return tuple(Path(f"{place}.said{suffix}").read_text("utf-8", "replace") for suffix in (".out", ".err"))


def make_places(folder, process):
    """Make a place for each of `BASES` in *folder*."""
    _write_catalogs(folder / "empty")
    for name, commands in BASES.items():
        if not commands:
            continue
        shutil.copytree(folder / "empty", folder / name)
        for command in commands:
            assert process.run(order(tuple(command.split()), folder / name)) == 0, said(folder / name)
    shutil.rmtree(folder / "without index/store/indexes")
    shutil.rmtree(folder / "without index/store/attributes")


def _write_catalogs(place):
    for name in ("home", "cache", "temporary", "images", "out"):
        (place / name).mkdir(parents=True)
    for number in range(20):
        (place / f"images/{number}.png").write_bytes(image(number))
    (place / "images/broken.png").write_bytes(NO_IMAGE)
    items = [(f"item{number:02}", number, number) for number in range(12)]
    _write(place / "a.csv", items)
    changed = [(item, number, price + 90 * (number == 3)) for item, number, price in items if number != 5]
    _write(
        place / "b.csv",
        [*changed, *((f"item{n}", n, n) for n in range(12, 17)), ("item02", 17, 2), ("none", "broken", 1)],
    )
    _write(place / "few.csv", [items[0], items[4], items[8], ("item18", 18, 1)])
    new = {"id": "item19", "image": "images/19.png", "kind": "mug", "price": 19}
    changes = [{"id": "item03", "price": 3.5, "version": 2}, {"id": "item04", "deleted": True, "version": 2}, new]
    prices = [{"id": f"item{number:02}", "price": 50 + number} for number in (1, 3, 7)]
    more = [{"id": "item20", "image": "images/18.png", "kind": "mug", "price": 20}, {"id": "item00", "deleted": True}]
    for name, lines in (("changes", changes), ("prices", prices), ("more", more)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    labelled = []
    for number in range(36):
        (place / f"images/l{number}.png").write_bytes(_labelled(number))
        labelled.append((f"item{number:02}", f"l{number}", number))
    _write(place / "labelled.csv", labelled)


def _write(path, items):
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image", "kind", "price"])
        for item, name, price in items:
            table.writerow([item, f"images/{name}.png", KINDS_OF_ITEMS[int(item[-2:], 36) % 3], price])


def _labelled(number):
    """Return an image whose first cell has the color of its kind, more faintly than the others have any color."""
    draw = np.random.default_rng(number)
    cells = draw.integers(0, 256, (2, 2, 3))
    cells[0, 0] = 100
    cells[0, 0, int(f"{number:02}", 36) % 3] = 160
    return png(np.kron(cells, np.ones((4, 4, 1))))


@dataclass(frozen=True)
class State:
    """What a place holds: a generation (None without one), and the files that a command was to write."""

    content: object
    index_type: str | None
    is_tuned: bool
    problems: tuple[str, ...]
    outputs: dict


def state_of(place):
    """Return the State of *place*."""
    written = [path for path in (place / "out").rglob("*") if path.is_file() and ".checkpoints" not in str(path.parent)]
    outputs = {path.name: _output(path) for path in written}
    store = place / "store"
    if not (store / "CURRENT").exists():
        return State(None, None, is_tuned=False, problems=(), outputs=outputs)
    opened = Store.open(store)
    try:
        manifest = opened.manifest
        held, graph_problems = content(opened), _problems_of_graph(opened)
    finally:
        opened.close()
    problems = (*verify(store), *graph_problems)
    return State(held, manifest.index_type, manifest.projection is not None, problems, outputs)


def _problems_of_graph(opened):
    """Return a sentence where the graphs of *opened*, if it has some, do not find what a comparison with all finds."""
    if opened.manifest.index_type != "hnsw":
        return []
    request = SearchRequest(opened.vectors(opened.positions()), 5)
    is_right = open_published(opened).search(request) == ExactIndex(opened).search(request)
    return [] if is_right else ["the index does not find what is there"]


def copied(source, target):
    """Copy the folder *source* to *target*; files that are one by two names stay so."""
    made = {}

    def copy(one, other):
        inode = Path(one).stat().st_ino
        if inode in made:
            os.link(made[inode], other)
        else:
            made[inode] = shutil.copy2(one, other)

    return Path(shutil.copytree(source, target, copy_function=copy))


def _output(path):
    if path.suffix == ".html":  # which says how long something took
        return path.read_bytes().rstrip().endswith(b"</html>")
    try:
        return pq.read_table(path).to_pylist()
    except pa.ArrowInvalid:  # another format, or the part of a file
        return path.read_bytes()


def leftovers(place):
    """Return what lies in *place* that a command should have taken away."""
    patterns = ("store/tmp", "**/*.tmp", "**/*.making", "**/making", "out/*.checkpoints", "temporary/*", "home/*")
    return sorted(str(path.relative_to(place)) for pattern in patterns for path in place.glob(pattern))

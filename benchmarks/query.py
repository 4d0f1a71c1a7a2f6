"""What whole queries cost beside the search of their index: by id, under filters, diverse, and with rules.

python benchmarks/query.py --store STORE [STORE ...]                        (stores of ann.py; a minute each)

The vectors should be like embeddings, as those of ann.py are. Of random vectors around centers, as updates.py makes
them, all of a cluster are equally far: under a filter no walk finds the nearest of them, and all codes are compared.

The items have the attributes category, price and in_stock. Each item of a sample is asked for in every way
in turn, with what was read last forgotten, so that a busy neighbor slows all ways alike; the time is that of the thread
(CPU), and ratios are what is compared. Then single queries with the threads that libraries choose are compared with
those of one thread, by the CPU time of the whole process, while every core is busy. Prints the tables and writes
query.json beside this file, one entry for each number of items.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from machine import provenance
from threadpoolctl import threadpool_limits

import vision_recs
from vision_recs.filters import Filter
from vision_recs.recommend import Policy, Recommender, Rules
from vision_recs.recommend.rules import Boost, Bounds, Exclude, Same
from vision_recs.types import SearchRequest

RESULTS = Path(__file__).parent / "query.json"
RULES = Rules(
    exclude=(Exclude(Filter.parse("not in_stock")),),
    boosts=(Boost(Filter.parse("price < 40"), 0.05, "cheap"),),
    attribute_rules=(Same("category"), Bounds("price", 0.5, 2.0)),
    fallbacks=("bounds.price", "same.category"),
)
TARGETS = {
    "similar(id)": ("search", 2.0),
    "price < 7": ("similar(id)", 1.5),
    "price < 105": ("similar(id)", 1.5),
    "price < 40 and in_stock": ("similar(id)", 1.5),
    "diversity 0.3": ("similar(id)", 2.0),
    "rules": ("similar(id)", 5.0),
}
"""For each way the one that it is compared with, and how many times as long it may take at p50."""

WARMUP = 20


def main() -> None:
    """Measure the stores that the command line names, and put them into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, nargs="+", required=True)
    parser.add_argument("--items", type=int, default=500, help="how many are asked for")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for folder in arguments.store:
        with vision_recs.open(folder) as recommender:
            result = measure(recommender, arguments.items)
        print_table(result)
        keep(result, arguments.output)


def measure(recommender: Recommender, count: int) -> dict[str, Any]:
    """Return what every way of asking for *count* items of one store takes."""
    store = recommender.items
    known = store.ids(limit=100_000)
    chosen = [known[place] for place in np.random.default_rng(0).choice(len(known), WARMUP + count, replace=False)]
    ways = ways_of(recommender, chosen)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for item in chosen:
        for name, ask in ways.items():
            store.items.forget()  # as if other items had been asked for
            started = time.thread_time()
            ask(item)
            seconds[name].append(time.thread_time() - started)
    kept = {name: np.array(each[WARMUP:]) for name, each in seconds.items()}
    stats = store.manifest.index_stats or {}
    return {
        "items": store.item_count,
        "dim": store.dim,
        "index": stats.get("index_factory"),
        "queries": count,
        "ways": [row_of(name, kept) for name in kept],
        "busy": threads_of(recommender, chosen[:100]),
        "load": round(os.getloadavg()[0], 1),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance("numpy", "faiss-cpu"),
    }


def ways_of(recommender: Recommender, items: Sequence[str]) -> dict[str, Callable[[str], object]]:
    """Return the ways of asking by name, the index first."""
    store, index = recommender.items, recommender.index
    vectors = {item: store.vectors_of([store.images(item)[0].digest]) for item in items}
    filters = {name: Filter.parse(name) for name in ("price < 7", "price < 105", "price < 40 and in_stock")}
    diverse, ruled = Policy(diversity=0.3), Policy(rules=RULES)
    return {
        "nearest": lambda item: index.nearest(vectors[item], 10),
        "search": lambda item: index.search(SearchRequest(vectors[item], 10)),
        "similar(id)": recommender.similar,
        **{name: lambda item, where=where: recommender.similar(item, where=where) for name, where in filters.items()},
        "diversity 0.3": lambda item: recommender.similar(item, policy=diverse),
        "rules": lambda item: recommender.similar(item, policy=ruled),
    }


def row_of(name: str, seconds: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the milliseconds of one way, and how many times those of the one that it is compared with they are."""
    row: dict[str, Any] = {"way": name, **{f"p{part}_ms": percentile(seconds[name], part) for part in (50, 99)}}
    if name in TARGETS:
        base, most = TARGETS[name]
        for part in (50, 99):
            row[f"p{part}_ratio"] = round(row[f"p{part}_ms"] / percentile(seconds[base], part), 2)
        row |= {"of": base, "target_p50": most}
    return row


def percentile(seconds: np.ndarray, part: int) -> float:
    """Return the percentile in milliseconds."""
    return round(1e3 * float(np.percentile(seconds, part)), 4)


def threads_of(recommender: Recommender, items: Sequence[str]) -> dict[str, float]:
    """Return the CPU time of queries with the threads that libraries choose, and with one, while all cores are busy."""
    spent: tuple[list[float], list[float]] = ([], [])
    with busy_cores():
        for _ in range(5):
            spent[0].append(cpu_of(recommender, items))
            before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)
            with threadpool_limits(1):
                spent[1].append(cpu_of(recommender, items))
            faiss.omp_set_num_threads(before)
    default, one = (float(np.median(each)) for each in spent)
    return {
        "default_ms": round(1e3 * default, 3),
        "one_thread_ms": round(1e3 * one, 3),
        "ratio": round(default / one, 2),
    }


def cpu_of(recommender: Recommender, items: Sequence[str]) -> float:
    """Return the CPU time of this process for each query, all of its threads together."""
    started = time.process_time()
    for item in items:
        recommender.similar(item)
    return (time.process_time() - started) / len(items)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy."""
    workers = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def spin() -> None:
    """Compute without end."""
    while True:
        sum(range(10_000))


def print_table(result: dict[str, Any]) -> None:
    """Print the ways of *result*."""
    print(f"{result['items']:,} x {result['dim']}, {result['index']}, load {result['load']}")
    for row in result["ways"]:
        beside = (
            f"{row['p50_ratio']:5} (at most {row['target_p50']}), p99 {row['p99_ratio']} x {row['of']}"
            if "of" in row
            else ""
        )
        print(f"  {row['way']:26} p50 {row['p50_ms']:8.3f} ms  p99 {row['p99_ms']:8.3f} ms  {beside}")
    print(f"  busy cores: {result['busy']}")


def keep(result: dict[str, Any], output: Path) -> None:
    """Put *result* in the place of the one with as many items."""
    earlier = json.loads(output.read_text("utf-8")) if output.exists() else []
    others = [each for each in earlier if each["items"] != result["items"]]
    ordered = sorted([*others, result], key=lambda each: each["items"])
    output.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

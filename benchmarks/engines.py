"""Publishing to an engine and searching it, beside the store: 100,000 and 1,000,000 vectors of 512 numbers.

python benchmarks/engines.py [--vectors 100000 1000000] [--uri lance:DIR]      (an hour for a million; a quiet machine)

For each size: a store of vectors that were grown from clusters, so that they lie as embeddings do; what plain inserts
of the same records take by the engine's own client; `publish`, in a process of its own whose memory is measured, then
again with nothing to do, and with a delta; recall, latency and bytes of both as `visrec evaluate --engine` measures
them, with filters that leave 50 %, 2 % far from the queries, 2 % and 0.05 %; and what LanceDB finds by itself, at its
own defaults. Rates of publishing are by the clock and by seconds of the processor, which what else runs disturbs less.
Prints the tables and writes engines.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from machine import provenance
from nearest.shop import write_shop
from nearest.vectors import grow

from vision_recs.engines import base, connect, open_engine, publish
from vision_recs.engines.records import StoreRecords
from vision_recs.engines.searching import scored
from vision_recs.evaluate import measure_engine_quality
from vision_recs.filters import Filter
from vision_recs.indexes import ExactIndex, IndexConfig
from vision_recs.indexes.exact import recall_at, scores_of
from vision_recs.store import Store
from vision_recs.types import SearchRequest, Vectors
from vision_recs.vectors import normalize_or_raise

DIM, CLUSTERS, EACH, LOCAL = 512, 400, 20, 24
FAR = 0.02
"""The share of the vectors that come from clusters of their own, which a filter by id selects."""

BATCH = 10_000
QUERIES, K = 200, 10


def seeds(random: np.random.Generator) -> Vectors:
    """Return vectors around CLUSTERS centers, each of EACH vectors within LOCAL directions."""
    found = []
    for center in random.standard_normal((CLUSTERS, DIM)):
        directions = random.standard_normal((LOCAL, DIM)) / np.sqrt(LOCAL)
        found.append(center + 0.8 * random.standard_normal((EACH, LOCAL)) @ directions)
    return normalize_or_raise(np.concatenate(found))


def blocks(count: int) -> list[Vectors]:
    """Return *count* vectors, of which the first share FAR comes from the first clusters alone."""
    every = seeds(np.random.default_rng(0))
    far, first = round(FAR * count), max(2, round(FAR * CLUSTERS)) * EACH
    options = {"neighbors": 8, "spread": 0.7}
    return [*grow(every[:first], far, **options), *grow(every[first:], count - far, seed=1, **options)]


def filters(count: int) -> dict[str, Filter]:
    """Return filters by what they leave."""
    expressions = {
        "50 %": "part < 5000",
        "2 %": "part < 200",
        "2 %, far": f'id < "item{round(FAR * count):08d}"',
        "0.05 %": "part < 5",
    }
    return {name: Filter.parse(expression) for name, expression in expressions.items()}


def plain_lance(store: Store, folder: Path) -> tuple[float, float]:
    """Return how many seconds, and of the processor, LanceDB takes to append all records to a table of its own."""
    import lancedb

    records = StoreRecords(store)
    table = lancedb.connect(str(folder)).create_table("plain", schema=records.schema.arrow())
    seconds = cpu = 0.0
    for some in records.tables(BATCH):
        started = perf_counter(), process_time()
        table.add(some)
        seconds, cpu = seconds + perf_counter() - started[0], cpu + process_time() - started[1]
    return seconds, cpu


def alone(uri: str, store: Path, wheres: Mapping[str, Filter]) -> list[dict[str, object]]:
    """Return what LanceDB finds of the 10 nearest records at its own defaults, by the conditions that visrec writes."""
    import lancedb

    found = []
    with open_engine(uri) as opened, Store.open(store) as local:
        name, _, tag = opened.published.token.partition("@")
        table = lancedb.connect(uri.partition(":")[2]).open_table(name)
        table.checkout(tag)
        queries, exact = local.sample_vectors(QUERIES), ExactIndex(local)
        for leaves, where in {"all": None, **wheres}.items():
            request = SearchRequest(queries, K, where)
            condition = opened.index.condition_of(request).expression
            answers = []
            for query in queries:
                search = table.search(query, vector_column_name=base.VECTOR).distance_type("dot").limit(K)
                rows = (search if condition is None else search.where(condition)).to_arrow()
                answers.append(scored(rows, query).matches)
            expected = exact.search(request)
            short = sum(len(one) < len(other) for one, other in zip(answers, expected, strict=True))
            recall = recall_at(K, scores_of(answers), scores_of(expected))
            found.append({"leaves": leaves, "recall_at_10": round(recall, 4), "short": short})
    return found


def published(uri: str, store: str) -> dict[str, object]:
    """Publish, and return the report, the seconds of each stage, and the most memory that the process took."""
    connect(uri).close()  # which imports the library
    began: dict[str, tuple[float, float]] = {}

    def note(stage: str, *_: object) -> None:
        began.setdefault(stage, (perf_counter(), process_time()))

    report = publish(uri, store, progress=note)
    times = [*began.values(), (perf_counter(), process_time())]
    stages, cpu = (
        {stage: round(times[number + 1][clock] - times[number][clock], 3) for number, stage in enumerate(began)}
        for clock in (0, 1)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {**asdict(report), "stages": stages, "stages_cpu": cpu, "peak_mb": peak}


def apart(uri: str, store: Path) -> dict[str, object]:
    """Return what `published` returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(published, uri, str(store)).result()


def measured(count: int, uri: str | None, work: Path) -> dict[str, object]:
    """Return the results for *count* vectors."""
    uri = uri or f"lance:{work / 'engine'}"
    every = blocks(count)
    store = work / "store"
    write_shop(store, every, config=IndexConfig("hnsw"), numbers=range(count)).close()
    with Store.open(store) as opened:
        plain = plain_lance(opened, work / "plain") if uri.startswith("lance:") else None
    shutil.rmtree(work / "plain", ignore_errors=True)
    first = apart(uri, store)
    again = apart(uri, store)
    wheres = filters(count)
    searches = [
        asdict(quality)
        for quality in measure_engine_quality(uri, store, queries=QUERIES, filters=list(wheres.values()))
    ]
    for quality in searches:
        for name, one in zip(wheres, quality["filtered"], strict=True):
            one["leaves"] = name
    by_itself = alone(uri, store, wheres) if uri.startswith("lance:") else []
    write_shop(store, every, config=IndexConfig("hnsw"), numbers=range(count // 100, count)).close()
    delta = apart(uri, store)
    writing = ("reading what is there", "publishing")  # which is called publishing when the first records are written
    seconds, cpu = (sum(first[clock][stage] for stage in writing) for clock in ("stages", "stages_cpu"))
    return {
        "vectors": count,
        "plain_per_s": plain and round(count / plain[0]),
        "published_per_s": round(count / seconds),
        "share_of_plain": plain and round(plain[0] / seconds, 3),
        "plain_per_cpu_s": plain and round(count / plain[1]),
        "published_per_cpu_s": round(count / cpu),
        "share_of_plain_cpu": plain and round(plain[1] / cpu, 3),
        "first": first,
        "again": again,
        "delta": delta,
        "searches": searches,
        "engine_alone": by_itself,
    }


def show(result: dict[str, object]) -> None:
    """Print what was measured of one size."""
    print(f"\n{result['vectors']:,} vectors of {DIM} numbers")
    print(f"plain inserts {result['plain_per_s']:,}/s, publishing {result['published_per_s']:,}/s", end=" ")
    print(f"({result['share_of_plain']} of plain inserts, {result['share_of_plain_cpu']} by seconds of the processor)")
    print(f"memory {result['first']['peak_mb']:,} MB")
    for name in ("first", "again", "delta"):
        run = result[name]
        written = run["inserted"], run["replaced"], run["deleted"]
        print(f"  {name}: {run['seconds']} s, inserted, replaced, deleted {written}, {run['stages']}")
    for one in result["searches"]:
        print(f"{one['searched']}: {one['bytes']:,} bytes")
        for each in [{**one, "leaves": "all", "short": 0, "images": result["vectors"]}, *one["filtered"]]:
            recall = f"recall@10 {each['recall_at_10']:.4f}, short {each['short']}"
            print(
                f"  {each['leaves']:9} {each['images']:9,}  {recall}, "
                f"p50 {each['p50_ms']:.2f}, p95 {each['p95_ms']:.2f}, p99 {each['p99_ms']:.2f} ms"
            )
    for each in result["engine_alone"]:
        print(f"by itself {each['leaves']:9} recall@10 {each['recall_at_10']:.4f}, short {each['short']}")


def main() -> None:
    """Measure every size, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--uri", help="an empty engine; by default LanceDB in a temporary folder")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    results = []
    for count in chosen.vectors:
        with tempfile.TemporaryDirectory(prefix="visrec-engines-") as folder:
            results.append(measured(count, chosen.uri, Path(folder)))
        show(results[-1])
    value = {
        "provenance": provenance("lancedb", "pymilvus", "numpy"),
        "exact_up_to": base.EXACT_UP_TO,
        "sizes": results,
    }
    chosen.output.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

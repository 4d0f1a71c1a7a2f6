"""Publishing to an engine and searching it, beside the store: 100,000 and 1,000,000 vectors of 512 numbers.

python benchmarks/engines.py [--vectors 100000 1000000] [--engine lance|milvus] [--publishing]
                                                   (an hour for a million, a quarter with --publishing; a quiet machine)

For each size: a store of vectors that were grown from clusters, so that they lie as embeddings do; what plain inserts
of the same records take by the engine's own client; `publish`, in a process of its own whose memory is measured, then
again with nothing to do, and with a delta, and the way back; recall, latency and bytes of both as `visrec evaluate
--engine` measures them, with filters that leave 50 %, 2 % far from the queries, 2 % and 0.05 %; and what LanceDB finds
by itself, at its own defaults. With --publishing there are no searches, for which the store would need an index. Rates
of publishing are by the clock and by seconds of the processor, which what else runs disturbs less. Memory is what is
anonymous, by stage, and what is mapped, too: that of files is given back to whoever needs it.
Prints the tables and writes engines.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from machine import provenance
from nearest.shop import write_shop
from nearest.vectors import grow

from vision_recs.engines import base, connect, open_engine, publish, rollback
from vision_recs.engines.milvus.documents import COLLECTION as DOCUMENTS
from vision_recs.engines.milvus.rows import rows_of
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
    return timed(table.add, records.tables(BATCH))


def plain_milvus(store: Store, folder: Path) -> tuple[float, float]:
    """Return how many seconds, and of the processor, the client of Milvus takes to insert all rows in a file.

    The collection is as `publish` makes it, and the rows are made before the clock is started: dictionaries, which the
    client takes only.
    """
    from pymilvus import MilvusClient

    records, file, rows = StoreRecords(store), f"{folder}.db", 4_000
    with closing(connect(f"milvus:{file}")) as engine:
        engine.stage(records.schema, None).insert(next(records.tables(1)))
        client = MilvusClient(file)  # of the same server, which the process has open
        name = next(name for name in client.list_collections() if name != DOCUMENTS)
        tables = (table.slice(start, rows) for table in records.tables(BATCH) for start in range(0, len(table), rows))
        made = (rows_of(table, records.schema.columns, 2, np.dtype(np.float32)) for table in tables)
        return timed(lambda some: client.insert(name, some), made)


def timed(insert: Callable[[Any], object], batches: Iterable[object]) -> tuple[float, float]:
    """Return how many seconds, and of the processor, it takes to *insert* each of *batches*."""
    seconds = cpu = 0.0
    for batch in batches:
        started = perf_counter(), process_time()
        insert(batch)
        seconds, cpu = seconds + perf_counter() - started[0], cpu + process_time() - started[1]
    return seconds, cpu


PLAIN = {"lance": plain_lance, "milvus": plain_milvus}


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


@contextmanager
def watched() -> Iterator[Callable[[str], dict[str, int]]]:
    """Yield a function to which one tells the stage that begins; it returns the most anonymous MB of each up to now."""
    stage, peaks, is_over = [""], dict[str, int](), threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            now = int(Path("/proc/self/status").read_text("ascii").partition("RssAnon:")[2].split()[0]) // 1024
            peaks[stage[0]] = max(now, peaks.get(stage[0], 0))

    def begin(name: str) -> dict[str, int]:
        stage[0] = name
        return peaks

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(look)
        try:
            yield begin
        finally:
            is_over.set()
            done.result()


def published(uri: str, store: str) -> dict[str, object]:
    """Publish, and return the report, the seconds of each stage, and the most memory that the process took."""
    connect(uri).close()  # which imports the library
    began: dict[str, tuple[float, float]] = {}

    with watched() as begin:

        def note(stage: str, *_: object) -> None:
            began.setdefault(stage, (perf_counter(), process_time()))
            begin(stage)

        report = publish(uri, store, progress=note)
        anonymous = begin("")
    times = [*began.values(), (perf_counter(), process_time())]
    stages, cpu = (
        {stage: round(times[number + 1][clock] - times[number][clock], 3) for number, stage in enumerate(began)}
        for clock in (0, 1)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    named = {
        **asdict(report),
        "uri": uri.partition(":")[0] + ":engine",
    }  # not where it was, which is another place each time
    return {**named, "stages": stages, "stages_cpu": cpu, "peak_mb": peak, "anonymous_mb": anonymous}


def apart(uri: str, store: Path) -> dict[str, object]:
    """Return what `published` returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(published, uri, str(store)).result()


def searched(uri: str, store: Path, wheres: Mapping[str, Filter]) -> list[dict[str, Any]]:
    """Return recall, latency and bytes of the *store* and of the engine, without and with filters."""
    found = [
        asdict(quality)
        for quality in measure_engine_quality(uri, store, queries=QUERIES, filters=list(wheres.values()))
    ]
    for quality in found:
        for name, one in zip(wheres, quality["filtered"], strict=True):
            one["leaves"] = name
    return found


def measured(count: int, engine: str, work: Path, *, searches: bool) -> dict[str, object]:
    """Return the results for *count* vectors."""
    uri = f"lance:{work / 'engine'}" if engine == "lance" else f"milvus:{work / 'engine.db'}"
    every, store = blocks(count), work / "store"
    config = IndexConfig("hnsw") if searches else None
    write_shop(store, every, config=config, numbers=range(count)).close()
    with Store.open(store) as opened:
        plain = PLAIN[engine](opened, work / "plain")
    for left in work.glob("plain*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    first = apart(uri, store)
    again = apart(uri, store)
    wheres = filters(count)
    found = searched(uri, store, wheres) if searches else []
    by_itself = alone(uri, store, wheres) if searches and engine == "lance" else []
    write_shop(store, every, config=config, numbers=range(count // 100, count)).close()
    delta = apart(uri, store)
    started = perf_counter()
    rollback(uri)
    way_back = perf_counter() - started
    writing = ("reading what is there", "publishing")  # which is called publishing when the first records are written
    seconds, cpu = (sum(first[clock][stage] for stage in writing) for clock in ("stages", "stages_cpu"))
    return {
        "vectors": count,
        "plain_per_s": round(count / plain[0]),
        "published_per_s": round(count / seconds),
        "share_of_plain": round(plain[0] / seconds, 3),
        "plain_per_cpu_s": round(count / plain[1]),
        "published_per_cpu_s": round(count / cpu),
        "share_of_plain_cpu": round(plain[1] / cpu, 3),
        "first": first,
        "again": again,
        "delta": delta,
        "rollback_s": round(way_back, 3),
        "searches": found,
        "engine_alone": by_itself,
    }


def show(result: dict[str, object]) -> None:
    """Print what was measured of one size."""
    print(f"\n{result['vectors']:,} vectors of {DIM} numbers")
    print(f"plain inserts {result['plain_per_s']:,}/s, publishing {result['published_per_s']:,}/s", end=" ")
    print(f"({result['share_of_plain']} of plain inserts, {result['share_of_plain_cpu']} by seconds of the processor)")
    print(f"memory {result['first']['peak_mb']:,} MB, of which anonymous", result["first"]["anonymous_mb"])
    print(f"rollback {result['rollback_s']} s")
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
    parser.add_argument("--engine", choices=sorted(PLAIN), default="lance", help="in a temporary folder")
    parser.add_argument("--publishing", action="store_true", help="measure no searches")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    results = []
    for count in chosen.vectors:
        with tempfile.TemporaryDirectory(prefix="visrec-engines-") as folder:
            results.append(measured(count, chosen.engine, Path(folder), searches=not chosen.publishing))
        show(results[-1])
    value = {
        "provenance": provenance("lancedb", "pymilvus", "numpy"),
        "exact_up_to": base.EXACT_UP_TO,
        "sizes": results,
    }
    chosen.output.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

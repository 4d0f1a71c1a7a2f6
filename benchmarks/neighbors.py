"""How long the similar items of all items take, against exact search with FAISS on the same cores.

python benchmarks/neighbors.py --work DIR [--rows N] [--rounds N]        (quiet machine; 15 minutes for 100,000 rows)

Every measurement is a process of its own, and in each round all contestants take their turn, so that a busy machine
slows all of them; the best rounds count. The vectors are those of real crops and what was grown between them, in
products of five variants, and random ones, which are as unlike each other as vectors can be. Prints the ratios and
writes neighbors.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from machine import provenance
from nearest.shop import write_shop
from nearest.vectors import crops, grow, reduce
from readme import put

from vision_recs.types import Vectors
from vision_recs.vectors import normalize_or_raise

SAMPLES = Path(__file__).parents[1] / "sample_images"
RESULT = Path(__file__).parent / "neighbors.json"
_DIM, _K = 512, 20
_PRODUCTS = 20_000  # items of `write_shop` whose numbers differ by this have the same price, which is their group here
_TIE = 1e-6
_WITHOUT_BFLOAT16 = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}


def main() -> None:
    """Measure all contestants, or, as a process of a round, one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="vectors and stores are kept here")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(CONTESTANTS[arguments.contestant](arguments.work)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    result = {
        "rows": arguments.rows,
        "dim": _DIM,
        "k": _K,
        "rounds": arguments.rounds,
        **{
            kind: _contest(_prepared(arguments.work / f"{kind}-{arguments.rows}", make, arguments), arguments.rounds)
            for kind, make in {"real": _real, "random": _random}.items()
        },
        **provenance("faiss-cpu", "torch", "numpy", "pyarrow"),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if arguments.output == RESULT:
        put("neighbors.json", _markdown(result))


def _markdown(result: dict[str, Any]) -> str:
    """Return *result* as a table of README.md."""
    real, random = (result[kind]["best_seconds"] for kind in ("real", "random"))
    lines = [f"| {result['rows']:,} x {result['dim']}, k = {result['k']} | real, s | of faiss | random, s | of faiss |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    lines += [
        f"| {name} | {real[name]:.1f} | {real[name] / real['faiss']:.2f} "
        f"| {random[name]:.1f} | {random[name] / random['faiss']:.2f} |"
        for name in real
    ]
    return "\n".join(lines)


def _prepared(work: Path, make: Callable[[Path, int], Vectors], arguments: argparse.Namespace) -> Path:
    """Make the vectors and the store in *work*, unless they are there."""
    if not (work / "store" / "CURRENT").exists():
        work.mkdir(exist_ok=True)
        vectors = make(arguments.work, arguments.rows)
        parts = np.array_split(vectors, max(1, len(vectors) // 20_000))
        store = write_shop(work / "store", parts, config=None, numbers=range(len(vectors)))
        np.save(work / "vectors.npy", store.vectors(store.positions()))  # as the store keeps them, for FAISS as well
    return work


def _real(work: Path, rows: int) -> Vectors:
    """Return products grown between crops of real images, then their second variants, their third ..."""
    if not (work / "crops.npy").exists():
        np.save(work / "crops.npy", crops([SAMPLES], each=20))
    seeds = reduce(np.load(work / "crops.npy"), _DIM)
    products = np.concatenate(list(grow(seeds, min(rows, _PRODUCTS), neighbors=32, spread=1.0)))
    random = np.random.default_rng(0)
    noise = 0.35 / _DIM**0.5  # cosines of .94 between a product and a variant, as between colors of a sample mug
    variants = [
        normalize_or_raise(products + noise * random.standard_normal(products.shape)) for _ in range(rows // _PRODUCTS)
    ]
    return np.concatenate([products, *variants])[:rows]


def _random(_work: Path, rows: int) -> Vectors:
    return normalize_or_raise(np.random.default_rng(1).standard_normal((rows, _DIM), dtype=np.float32))


def _faiss(work: Path) -> dict[str, Any]:
    import faiss

    vectors = np.load(work / "vectors.npy")
    index = faiss.IndexFlatIP(_DIM)
    index.add(vectors)
    started = perf_counter()
    scores, _ = index.search(vectors, _K)
    seconds = perf_counter() - started
    np.save(work / "faiss.npy", scores)
    return {"seconds": seconds}


def _pairs(work: Path) -> dict[str, Any]:
    from vision_recs.knn_join import KnnJoin
    from vision_recs.store import Store

    started = perf_counter()
    store = Store.open(work / "store")
    positions = store.positions()
    pairs = KnnJoin(store, positions, positions)
    found = list(pairs.nearest(_K))
    seconds = perf_counter() - started
    scores = np.concatenate([each.scores for each in found])
    lowest = np.load(work / "faiss.npy")[:, -1:]
    recall = float((scores >= lowest - _TIE).mean())
    return {"seconds": seconds, "number_format": pairs.number_format, "recall": recall}


def _neighbors(work: Path) -> dict[str, Any]:
    from vision_recs.batch.neighbors import NeighborsOptions
    from vision_recs.recommend import Policy

    return _written(work, NeighborsOptions(k=_K, policy=Policy(one_per=None), method="exact"))


def _policy(work: Path) -> dict[str, Any]:
    from vision_recs.batch.neighbors import NeighborsOptions
    from vision_recs.filters import Filter
    from vision_recs.recommend import DEFAULT_DIVERSITY, Policy

    policy = Policy(one_per="price", diversity=DEFAULT_DIVERSITY)
    return _written(work, NeighborsOptions(k=_K, where=Filter.parse("in_stock"), policy=policy, method="exact"))


def _written(work: Path, options: Any) -> dict[str, Any]:  # noqa: ANN401 - only the process that measures imports it
    from vision_recs.batch.neighbors import write_neighbors

    started = perf_counter()
    report = write_neighbors(work / "store", work / "neighbors.parquet", options)
    seconds = perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": seconds, "rows": report.rows, "peak_megabytes": round(peak)}


CONTESTANTS = {
    "faiss": _faiss,
    "pairs": _pairs,
    "pairs without bfloat16": _pairs,
    "neighbors": _neighbors,
    "policy": _policy,
}
"""faiss comes first: the others are compared with its results."""


def _contest(work: Path, rounds: int) -> dict[str, Any]:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, done in results.items():
            done.append(_measure(name, work))
            print(f"{work.name} {name:24} {done[-1]['seconds']:8.2f} s", file=sys.stderr)
    best = {name: min(each["seconds"] for each in done) for name, done in results.items()}
    ratios = {f"{name} / faiss": round(seconds / best["faiss"], 3) for name, seconds in best.items() if name != "faiss"}
    ratios["policy / neighbors"] = round(best["policy"] / best["neighbors"], 3)
    for name, ratio in ratios.items():
        print(f"{work.name:16} {name:32} {ratio:6.3f}")
    return {
        "ratios": ratios,
        "best_seconds": {name: round(seconds, 2) for name, seconds in best.items()},
        "seconds": {name: [round(each["seconds"], 2) for each in done] for name, done in results.items()},
        "details": {name: {k: v for k, v in done[-1].items() if k != "seconds"} for name, done in results.items()},
    }


def _measure(name: str, work: Path) -> dict[str, Any]:
    variables = _WITHOUT_BFLOAT16 if name.endswith("without bfloat16") else {}
    command = [sys.executable, __file__, "--work", str(work), "--contestant", name]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()

"""How long the similar items of all items take, against exact search with FAISS on the same cores.

python benchmarks/neighbors.py --work DIR [--rows N] [--rounds N] [--only NAME ...]
                                                                         (quiet machine; 15 minutes for 100,000 rows)

Every measurement is a process of its own, and in each round all contestants take their turn, so that a busy machine
slows all of them; the best rounds count. The vectors are those of real crops and what was grown between them, in
products of five variants, and random ones, which are as unlike each other as vectors can be. Prints the ratios, by the
seconds on the clock and by those of the processor, and writes neighbors.json beside this file; with `--only`, which
measures some of the contestants, it prints alone, unless `--output` names a file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
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
    parser.add_argument("--only", nargs="+", choices=("faiss", "neighbors", "policy"), help="measure these alone")
    parser.add_argument("--output", type=Path, help="default: neighbors.json beside this file, or none with --only")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(CONTESTANTS[arguments.contestant](arguments.work)))
        return
    names = [name for name in CONTESTANTS if arguments.only is None or name in arguments.only]
    output = arguments.output or (RESULT if arguments.only is None else None)
    arguments.work.mkdir(parents=True, exist_ok=True)
    result = {
        "rows": arguments.rows,
        "dim": _DIM,
        "k": _K,
        "rounds": arguments.rounds,
        **{
            kind: _contest(
                _prepared(arguments.work / f"{kind}-{arguments.rows}", make, arguments), names, arguments.rounds
            )
            for kind, make in {"real": _real, "random": _random}.items()
        },
        **provenance("faiss-cpu", "torch", "numpy", "pyarrow"),
    }
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if output == RESULT:
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
    started = _now()
    scores, _ = index.search(vectors, _K)
    took = _since(started)
    np.save(work / "faiss.npy", scores)
    return took


def _pairs(work: Path) -> dict[str, Any]:
    from vision_recs.knn_join import KnnJoin
    from vision_recs.store import Store

    started = _now()
    store = Store.open(work / "store")
    positions = store.positions()
    pairs = KnnJoin(store, positions, positions)
    found = list(pairs.nearest(_K))
    took = _since(started)
    scores = np.concatenate([each.scores for each in found])
    lowest = np.load(work / "faiss.npy")[:, -1:]
    recall = float((scores >= lowest - _TIE).mean())
    return {**took, "number_format": pairs.number_format, "recall": recall}


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

    started = _now()
    report = write_neighbors(work / "store", work / "neighbors.parquet", options)
    took = _since(started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {**took, "rows": report.rows, "peak_megabytes": round(peak)}


def _now() -> tuple[float, float]:
    """Return the time on the clock and the processor time of this process, all its threads together."""
    return perf_counter(), process_time()


def _since(started: tuple[float, float]) -> dict[str, Any]:
    seconds, processor = (now - before for now, before in zip(_now(), started, strict=True))
    return {"seconds": seconds, "processor_seconds": processor}


CONTESTANTS = {
    "faiss": _faiss,
    "pairs": _pairs,
    "pairs without bfloat16": _pairs,
    "neighbors": _neighbors,
    "policy": _policy,
}
"""faiss comes first: the others are compared with its results."""

_TIMES = ("seconds", "processor_seconds")


def _contest(work: Path, names: Sequence[str], rounds: int) -> dict[str, Any]:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, done in results.items():
            done.append(_measure(name, work))
            clock, processor = (done[-1][time] for time in _TIMES)
            print(f"{work.name} {name:24} {clock:8.2f} s, {processor:8.2f} s of the processor", file=sys.stderr)
    found: dict[str, Any] = {}
    for time, ratios in zip(_TIMES, ("ratios", "processor_ratios"), strict=True):
        best = {name: min(each[time] for each in done) for name, done in results.items()}
        found[ratios] = _ratios(best)
        found[f"best_{time}"] = {name: round(seconds, 2) for name, seconds in best.items()}
        found[time] = {name: [round(each[time], 2) for each in done] for name, done in results.items()}
        for name, ratio in found[ratios].items():
            print(f"{work.name:16} {name:32} {ratio:6.3f} {ratios.replace('_', ' ')}")
    details = {name: {k: v for k, v in done[-1].items() if k not in _TIMES} for name, done in results.items()}
    return {**found, "details": details}


def _ratios(best: dict[str, float]) -> dict[str, float]:
    """Return the ratios of the *best* times, by the contestants that were measured."""
    pairs = [(name, "faiss") for name in best if name != "faiss"] + [("policy", "neighbors")]
    return {
        f"{one} / {other}": round(best[one] / best[other], 3) for one, other in pairs if one in best and other in best
    }


def _measure(name: str, work: Path) -> dict[str, Any]:
    variables = _WITHOUT_BFLOAT16 if name.endswith("without bfloat16") else {}
    command = [sys.executable, __file__, "--work", str(work), "--contestant", name]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()

"""How fast the workers of a Ray cluster embed, against one process with the same cores.

python benchmarks/embed_ray.py      two machines of one core each beside the head, on this one; 3 minutes if it is quiet

In each round both embed the same images into a new store, in turn, so that a busy machine slows both; the median of the
ratios within rounds is what counts. The encoders are loaded before anything is timed. The goal is 0.85 of the local
rate. The results go to embed_ray.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

from embedding.images import make_images, write_catalog
from machine import provenance

RESULTS = Path(__file__).parent / "embed_ray.json"
MEMORY = 100 << 20


def main() -> None:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=3_072, metavar="N")
    parser.add_argument("--machines", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--shard-size", type=int, default=128, metavar="N", help="images of a block")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visrec-ray-") as folder:
        make_images(Path(folder) / "images", size=500, count=arguments.images)
        catalog = write_catalog(Path(folder) / "images", arguments.images)
        measured = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machines": arguments.machines,
            "images": arguments.images,
            "shard_size": arguments.shard_size,
            **_measure(catalog, arguments),
            **provenance("ray", "openvino", "numpy"),
        }
    arguments.output.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    print(json.dumps(measured, indent=1))


def _measure(catalog: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the rates of each round, and the median of their ratios."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # else workers give way to whatever else runs, which the local process does not
    }
    import ray
    from ray.cluster_utils import Cluster

    from vision_recs.jobs import ClusterOptions

    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(arguments.machines):
            cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        on_ray = ClusterOptions(f"ray://{cluster.address}")
        for options in (None, on_ray):  # which loads the encoders
            _rate(catalog, arguments, options)
        rounds = [
            {"local": _rate(catalog, arguments, None), "ray": _rate(catalog, arguments, on_ray)}
            for _ in range(arguments.rounds)
        ]
    finally:
        ray.shutdown()
        cluster.shutdown()
    ratios = [each["ray"] / each["local"] for each in rounds]
    return {"rounds": rounds, "ratios": [round(ratio, 3) for ratio in ratios], "ratio": round(median(ratios), 3)}


def _rate(catalog: Path, arguments: argparse.Namespace, cluster: object) -> float:
    """Return the images a second of the whole call of `vision_recs.embed` into a new store."""
    import vision_recs
    from vision_recs.jobs import IndexOptions

    options = IndexOptions(cluster=cluster, shard_size=arguments.shard_size)  # type: ignore[arg-type] # or None
    with tempfile.TemporaryDirectory(dir=catalog.parent) as folder:
        started = perf_counter()
        report = vision_recs.embed(catalog, Path(folder) / "store", encoder="efficientnet-lite0", options=options)
        seconds = perf_counter() - started
    if report.embedded != arguments.images:
        raise ValueError(f"{report.embedded} images of {arguments.images} were embedded")
    return round(report.embedded / seconds, 1)


if __name__ == "__main__":
    main()

"""How fast visrec embeds, against other embedders and against what the machine allows.

python benchmarks/embed.py [--peer-python PYTHON ...]      all contestants; about 12 minutes on two cores
python benchmarks/embed.py --quality                       vectors and R@1 against the float32 path; 2 minutes
python benchmarks/embed.py --table                         write the tables of README.md from the results once more

Every contestant is a process with its model loaded. In each round all of them embed the same images in turn, so that
a busy machine slows all; the best rounds are compared. README.md says what is timed. The results go to embed.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedding import quality, tables
from embedding.contest import Contest, find_peers
from embedding.images import make_images
from embedding.models import MODELS
from machine import provenance

RESULTS = Path(__file__).parent / "embed.json"
PACKAGES = (
    *("openvino", "torch", "torchvision", "timm", "open_clip_torch"),
    *("pillow", "simplejpeg", "cykooz-resizer", "numpy"),
)


def main() -> None:
    """Measure what the command line names, write the results and print them."""
    arguments = _parse()
    if arguments.table:
        tables.write()
        return
    earlier = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else {}
    with _work_folder(arguments.work) as work:
        if arguments.quality:
            measured = {
                **earlier,
                "quality": {**quality.measure(work, most=arguments.images), **provenance(*PACKAGES)},
            }
        else:
            measured = {**_measure(arguments, work), "quality": earlier.get("quality")}
    arguments.output.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    print(tables.embed_tables(measured))
    if arguments.output == RESULTS:
        tables.write()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=[500, 2000], default=[500, 2000])
    parser.add_argument("--images", type=int, default=10**9, metavar="N", help="at most so many: a smoke run")
    parser.add_argument(
        "--peer-python", action="append", default=[], metavar="PYTHON", help="an environment that has other embedders"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep images and models here for the next run")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--quality", action="store_true", help="measure the vectors, and keep the rates as they are")
    parser.add_argument("--table", action="store_true", help="only write the tables of README.md")
    return parser.parse_args()


@contextmanager
def _work_folder(named: Path | None) -> Iterator[Path]:
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        yield named.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="visrec-benchmark-") as folder:
        yield Path(folder)


def _measure(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    found, missing = find_peers(arguments.peer_python or [sys.executable])
    for size in arguments.sizes:
        most = max(min(MODELS[key].images[size], arguments.images) for key in arguments.models)
        make_images(work / str(size), size=size, count=most)
    cases: list[dict[str, Any]] = []
    versions: dict[str, dict[str, str]] = {}
    for key in arguments.models:
        with Contest(key, found, work) as contest:
            missing |= contest.failed
            versions |= contest.versions
            for size in arguments.sizes:
                case = contest.hold(size, rounds=arguments.rounds, most=arguments.images)
                print(tables.case_line(case), flush=True)
                cases.append(case)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    how = {"when": when, "rounds": arguments.rounds, "peers": versions, "peers_missing": missing}
    return {"cases": cases, **how, **provenance(*PACKAGES)}


if __name__ == "__main__":
    main()

"""How long the program takes to start, against importing the libraries that it needs.

python benchmarks/startup.py [--large DIR]       (in an environment where visrec is installed; some seconds)

DIR is an index that ann.py made: a query of it is compared with one of an index of 10,000 like vectors.

Each round runs every command once, in turn, so that a busy machine slows all of them; the medians are compared.
Prints the ratios and writes startup.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from machine import provenance

ROUNDS = 10
ROWS = 10_000
SMALL = "visrec similar ID, 10,000 vectors"
LARGE = "visrec similar ID, a million vectors"
ROOT = Path(__file__).parents[1]
VISREC = str(Path(sys.executable).parent / "visrec")


def main() -> None:
    """Time the commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=Path, metavar="DIR")
    large = parser.parse_args().large
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        run([VISREC, "index", str(ROOT / "sample_images" / "catalog.csv"), "--store", index, "--quiet"])
        commands = {
            "import typer": [sys.executable, "-c", "import typer"],
            "visrec --help": [VISREC, "--help"],
            "import typer, numpy, faiss": [sys.executable, "-c", "import typer, numpy, faiss"],
            "visrec similar ID": [VISREC, "similar", "mug-01", "--store", index],
        }
        if large is not None:
            small = small_of(large, Path(folder) / "small")
            commands[SMALL] = [VISREC, "similar", "item00000007", "--store", str(small)]
            commands[LARGE] = [VISREC, "similar", "item00000007", "--store", str(large)]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS + 1):
            for name, command in commands.items():
                seconds[name].append(run(command))
    medians = {name: round(median(times[1:]), 4) for name, times in seconds.items()}  # the first round warms up
    ratios = {
        f"{one} / {other}": medians[one] / medians[other]
        for one, other in (
            ("visrec --help", "import typer"),
            ("visrec similar ID", "import typer, numpy, faiss"),
            (LARGE, "import typer, numpy, faiss"),
            (LARGE, SMALL),
        )
        if one in medians
    }
    for name, value in (*medians.items(), *ratios.items()):
        print(f"{name:70} {value:7.3f}")
    result = {
        "median_seconds": medians,
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "rounds": ROUNDS,
        **provenance("typer", "numpy", "faiss-cpu"),
    }
    (Path(__file__).parent / "startup.json").write_text(json.dumps(result, indent=1) + "\n")


def small_of(large: Path, folder: Path) -> Path:
    """Write an index of the first vectors of the store *large* into *folder*, and return that."""
    from nearest.shop import write_shop

    from vision_recs.indexes import IndexConfig
    from vision_recs.store import Store

    store = Store.open(large)
    vectors = store.vectors(store.positions()[:ROWS])
    write_shop(folder, [vectors], config=IndexConfig(index_type=store.manifest.index_type), numbers=range(ROWS))
    return folder


def run(command: list[str]) -> float:
    """Run *command* and return the seconds that it took."""
    started = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    return perf_counter() - started


if __name__ == "__main__":
    main()

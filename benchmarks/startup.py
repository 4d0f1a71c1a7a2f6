"""How long the program takes to start, against importing the libraries that it needs.

python benchmarks/startup.py        (in an environment where visrec is installed; some seconds)

Each round runs every command once, in turn, so that a busy machine slows all of them; the medians are compared.
Prints the ratios and writes startup.json beside this file.
"""

from __future__ import annotations

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
ROOT = Path(__file__).parents[1]
VISREC = str(Path(sys.executable).parent / "visrec")


def main() -> None:
    """Time the commands and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        run([VISREC, "index", str(ROOT / "sample_images" / "catalog.csv"), "--index", index, "--quiet"])
        commands = {
            "import typer": [sys.executable, "-c", "import typer"],
            "visrec --help": [VISREC, "--help"],
            "import typer, numpy, faiss": [sys.executable, "-c", "import typer, numpy, faiss"],
            "visrec similar ID": [VISREC, "similar", "mug-01", "--index", index],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS + 1):
            for name, command in commands.items():
                seconds[name].append(run(command))
    medians = {name: round(median(times[1:]), 4) for name, times in seconds.items()}  # the first round warms up
    ratios = {
        "visrec --help / import typer": medians["visrec --help"] / medians["import typer"],
        "visrec similar ID / import typer, numpy, faiss": medians["visrec similar ID"]
        / medians["import typer, numpy, faiss"],
    }
    for name, value in (*medians.items(), *ratios.items()):
        print(f"{name:50} {value:7.3f}")
    result = {
        "median_seconds": medians,
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "rounds": ROUNDS,
        **provenance("typer", "numpy", "faiss-cpu"),
    }
    (Path(__file__).parent / "startup.json").write_text(json.dumps(result, indent=1) + "\n")


def run(command: list[str]) -> float:
    """Run *command* and return the seconds that it took."""
    started = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    return perf_counter() - started


if __name__ == "__main__":
    main()

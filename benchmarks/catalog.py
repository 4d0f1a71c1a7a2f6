"""How long a catalog takes to be read, by its format, and how much memory.

python benchmarks/catalog.py [--rows 1000000] [--work DIR] [--before FOLDER]     (a minute for 100,000 rows)

The same products are written as a plain table (CSV, JSON Lines, Parquet), as the exports of shop systems, and packed by
gzip: see `catalog_files.py`. Each is read to its end in a process of its own: seconds of the processor, and the memory
at its peak. The ratio is to the plain CSV, which is read again before each of the others. Nothing reads the images.

With --before, a folder with the package of an older version (`git archive COMMIT vision_recs | tar -x -C FOLDER`),
that version reads the plain CSV too, in turns, and a second ratio is to the time that it takes. Prints the table and
writes catalog.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from machine import provenance

_PLAIN = "table.csv"


def read(path: str) -> dict[str, Any]:
    """Read the catalog at *path*, and return how many items it has and what that took."""
    from vision_recs.catalog import open_catalog

    started = process_time()
    items = sum(1 for _ in open_catalog(path))
    seconds = process_time() - started
    peak = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("utf-8"))  # of this program alone
    return {"items": items, "cpu_s": round(seconds, 2), "peak_mb": int(peak[0]) >> 10 if peak else None}


def read_apart(path: Path, package: Path | None = None) -> dict[str, Any]:
    """Read the catalog at *path* in a process of its own, with the version that the folder *package* holds."""
    environment = {**os.environ, **({"PYTHONPATH": str(package)} if package else {})}
    command = [sys.executable, __file__, "--read", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(names: list[str], rows: int, work: Path, rounds: int, before: Path | None) -> dict[str, Any]:
    """Return the results of the formats *names*, or of every one."""
    from catalog_files import FILES  # which needs memory that is not to be measured

    plain = work / _PLAIN
    FILES[_PLAIN](plain, rows)
    found: dict[str, Any] = {}
    for name in names or FILES:
        path = work / name
        if path != plain:
            FILES[name](path, rows)
        tries, of_plain, of_before = [], [], []
        for _ in range(rounds):
            of_plain.append(read_apart(plain)["cpu_s"])
            tries.append(read_apart(path))
            of_before += [read_apart(plain, before)["cpu_s"]] if before else []
        each = min(tries, key=lambda one: one["cpu_s"])
        each["rows_per_cpu_s"] = round(rows / each["cpu_s"])
        each["cpu_of_csv"] = _ratio(tries, of_plain)
        if before:
            each["cpu_of_csv_before"] = _ratio(tries, of_before)
        found[name] = each
        print(f"{name:22} {each}", flush=True)
        if path.is_dir():
            shutil.rmtree(path)
        elif path != plain:
            path.unlink()
    return found


def _ratio(tries: list[dict[str, Any]], others: list[float]) -> float:
    """Return the median of the ratios within the rounds."""
    return round(median(one["cpu_s"] / other for one, other in zip(tries, others, strict=True)), 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", nargs="+", default=[], metavar="FORMAT", help="names of FILES in catalog_files.py")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="a folder for the files [default: a temporary one]")
    parser.add_argument("--before", type=Path, help="a folder with the package of an older version")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        formats = measure(options.formats, options.rows, Path(work), options.rounds, options.before)
    result = {"rows": options.rows, "rounds": options.rounds, "formats": formats, **provenance()}
    options.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

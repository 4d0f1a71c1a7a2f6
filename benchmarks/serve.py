"""Benchmark: how many queries by id `visrec serve` answers a second, and the same search behind uvicorn and FastAPI.

python benchmarks/serve.py --work DIR [--rows N] [--dim D] [--rounds N] [--seconds S] [--output FILE] [--table]

Both servers run at the same time, one process each, on the same core. A load generator on another core sends requests
to one of them while the other one is idle, in turn. No id is queried twice. Then each server gets half of its best
rate, evenly and at random moments, for as many rounds; the medians of the rounds count. `--frameworks` measures what
frameworks and servers add to a response that is always the same, `--page` how long the page waits: its images in a
browser and what moves, mixed visits, and the slowest requests alone, and `--mixed` what two workers answer of ids,
filters and images, with rules and without. Needs `pip install fastapi "uvicorn[standard]"`, so that uvicorn has uvloop
and httptools; `--frameworks` also litestar and orjson, `--page` playwright and Debian's chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from machine import provenance
from nearest.shop import write_shop
from nearest.vectors import crops, grow, reduce
from serving import mixed
from serving.browser import measure, shown, views_of
from serving.page import slowest, visits
from serving.page_shop import page_shop, write_photos
from serving.tables import write_tables

import vision_recs
from vision_recs.indexes import IndexConfig
from vision_recs.types import SearchRequest

HERE = Path(__file__).parent
RESULTS = HERE / "serve.json"
SAMPLES = HERE.parent / "sample_images"
PROGRAMS = Path(sys.executable).parent
CONNECTIONS = 16
_SERVERS, _LOAD = 0, 1  # cores
_FRAMEWORKS = ("fastapi", "fastapi_bytes", "litestar", "starlette_msgspec", "starlette_orjson", "asgi")
_QUIETLY = ("--no-access-log", "--log-level", "error")
_PACKAGES = (
    "granian",
    "starlette",
    "msgspec",
    "uvicorn",
    "fastapi",
    "pydantic",
    "uvloop",
    "httptools",
    "faiss-cpu",
    "numpy",
)


def main() -> None:
    """Measure what the command line asks for, and put it into the results."""
    arguments = _parse()
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    if arguments.frameworks:
        known["frameworks"] = _frameworks(arguments)
    elif arguments.mixed:
        known["mixed"] = _mixed(arguments)
    elif arguments.page:
        known["page"] = _page(arguments)
    elif not arguments.table:
        known |= {
            "rows": arguments.rows,
            "dim": arguments.dim,
            **_contest(_store(arguments), arguments),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance(*_PACKAGES),
        }
    arguments.output.write_text(json.dumps(known, indent=1) + "\n")
    if arguments.output == RESULTS:
        write_tables(known)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="the store is kept here")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of load for each server in a round")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--frameworks", action="store_true", help="measure frameworks and servers alone")
    parser.add_argument("--page", action="store_true", help="measure what the page asks for")
    parser.add_argument("--mixed", action="store_true", help="ids, filters, rules and images, two workers")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    return parser.parse_args()


def _store(arguments: argparse.Namespace) -> Path:
    """Return the folder of a store of vectors that are grown from real ones, indexed as `visrec index` does."""
    folder: Path = arguments.work / f"store-{arguments.rows}-{arguments.dim}"
    if not (folder / "CURRENT").exists():
        seeds = reduce(crops([SAMPLES], each=20), arguments.dim)
        blocks = list(grow(seeds, arguments.rows, neighbors=32, spread=1.0))
        write_shop(folder, list(blocks), config=IndexConfig(), numbers=range(arguments.rows))
    return folder


def _contest(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results of both servers."""
    environment = {**os.environ, "BENCHMARK_STORE": str(store), "OMP_NUM_THREADS": "1"}
    ports = {"visrec serve": _free_port(), "uvicorn + FastAPI": _free_port()}
    commands = {
        "visrec serve": [PROGRAMS / "visrec", "serve", "--store", store, "--port"],
        "uvicorn + FastAPI": [PROGRAMS / "uvicorn", "fastapi_app:app", *_QUIETLY, "--port"],
    }
    paths = _different_paths(arguments.rows)
    with ExitStack() as stack:
        loads, servers = {}, {}
        for name, port in ports.items():
            servers[name] = stack.enter_context(_started([*map(str, commands[name]), str(port)], environment))
            _wait_for(port)
            loads[name] = stack.enter_context(Load(port))
        _warm_up(loads, paths)
        peaks: dict[str, list[dict[str, Any]]] = {name: [] for name in loads}
        for _ in range(arguments.rounds):
            for name, load in loads.items():
                some = [next(paths) for _ in range(int(3_000 * arguments.seconds))]
                began = _processor_seconds(servers[name])
                found = load.run(paths=some, seconds=arguments.seconds)
                spent = _processor_seconds(servers[name]) - began
                peaks[name].append(found | {"cpu_us": round(1e6 * spent / found["answers"], 1)})
        best = {name: max(each["per_second"] for each in rounds) for name, rounds in peaks.items()}
        half: dict[str, list[dict[str, Any]]] = {name: [] for name in loads}
        for _ in range(arguments.rounds):
            for name, load in loads.items():
                steady = partial(load.run, seconds=arguments.seconds, rate=best[name] / 2)
                half[name].append(
                    {
                        moments: steady(paths=[next(paths) for _ in range(4_000)], random_moments=moments == "random")
                        for moments in ("even", "random")
                    }
                )
    pairs = list(zip(*peaks.values(), strict=True))
    ratios = [mine["per_second"] / other["per_second"] for mine, other in pairs]
    by_processor = [other["cpu_us"] / mine["cpu_us"] for mine, other in pairs]
    print(f"visrec / FastAPI: {np.median(ratios):.2f} by rates, {np.median(by_processor):.2f} by processor time")
    return {
        "connections": CONNECTIONS,
        "batching": _batching(store),
        "peak": peaks,
        "half_of_peak": half,
        "ratio_of_best": round(best["visrec serve"] / best["uvicorn + FastAPI"], 3),
        "median_ratio_within_rounds": round(float(np.median(ratios)), 3),
        "median_ratio_of_processor_time": round(float(np.median(by_processor)), 3),
    }


def _page(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how long the page takes in a browser, and its slowest requests, and how many of mixed visits are answered.

    The browser comes to a server that has just started, and has made no thumbnail; requests go to another one.
    """
    store = page_shop(arguments.work / f"page-{arguments.rows}-{arguments.dim}", arguments.rows, arguments.dim)
    views = views_of(f"item{arguments.rows // 2:08d}")
    with _serving(store) as port:
        write_photos(store, shown(f"http://127.0.0.1:{port}", views.values()))
        found = slowest(port, arguments.rows)
        with Load(port) as load:
            paths = visits(arguments.rows, count=200)
            load.run(paths=paths, seconds=arguments.seconds)
            mixed = load.run(paths=paths, seconds=arguments.seconds)
    with _serving(store) as port:
        seen = measure(f"http://127.0.0.1:{port}", views)
    return {"rows": arguments.rows, "browser": seen, "slowest": found, "load": mixed, **provenance(*_PACKAGES)}


@contextmanager
def _serving(store: Path) -> Iterator[int]:
    """Serve *store* with a cache that is empty, until words can be searched for; yield the port."""
    port = _free_port()
    command = [str(PROGRAMS / "visrec"), "serve", "--store", str(store), "--port", str(port)]
    with TemporaryDirectory() as cache, _started(command, {**os.environ, "VISREC_CACHE": cache}):
        _wait_for(port)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/items?q=mug&limit=1").close()
        yield port


def _mixed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how two workers answer ids, filters and images of the samples, without rules and with them."""
    store = mixed.prepare(arguments.work, SAMPLES, PROGRAMS / "visrec")
    with vision_recs.open(store) as recommender:
        order = mixed.requests(SAMPLES, recommender.items.ids(), count=2_000)
    found: dict[str, Any] = {"workers": 2, "connections": CONNECTIONS}
    for name, options in {"without rules": [], "with rules": ["--rules", str(SAMPLES / "rules.toml")]}.items():
        port = _free_port()
        command = [str(PROGRAMS / "visrec"), "serve", "--store", str(store), "--port", str(port), "--workers", "2"]
        with _started([*command, "--preload", *options], dict(os.environ), cores=None), Load(port) as load:
            _wait_for(port)
            load.run(**order, seconds=arguments.seconds)
            found[name] = load.run(**order, seconds=arguments.seconds)
    return {**found, **provenance(*_PACKAGES)}


def _batching(store: Path) -> dict[int, float]:
    """Return the microseconds of a query, by the size of the batch: what batching may save."""
    import faiss

    faiss.omp_set_num_threads(1)
    recommender = vision_recs.open(store)
    vectors = recommender.items.sample_vectors(1_600)
    microseconds = {}
    for size in (1, 4, 16):
        recommender.index.search(SearchRequest(vectors[:100], 30))
        began = time.process_time()
        for start in range(0, len(vectors), size):
            recommender.index.search(SearchRequest(vectors[start : start + size], 30))
        microseconds[size] = round(1e6 * (time.process_time() - began) / len(vectors), 1)
    return microseconds


def _warm_up(loads: dict[str, Load], paths: Iterator[str]) -> None:
    """Send each server the same number of queries, until files, caches and branch predictors have settled."""
    for load in loads.values():
        load.run(paths=[next(paths) for _ in range(8_000)], seconds=10)


def _different_paths(rows: int) -> Iterator[str]:
    numbers = list(range(rows))
    random.Random(0).shuffle(numbers)  # noqa: S311 - a sample, no secret
    while True:  # ids are queried again only if there are too few
        for number in numbers:
            yield f"/v1/similar?id=item{number:08d}&k=10"


def _frameworks(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return how many answers a second each framework gives behind each server."""
    paths = [f"/v1/items/item{number:08d}/similar?k=10" for number in range(100)]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for _ in range(arguments.rounds):
        for framework in _FRAMEWORKS:
            for server in ("uvicorn", "granian"):
                port = _free_port()
                with _started(_framework_command(framework, server, port), dict(os.environ)):
                    _wait_for(port)
                    with Load(port) as load:
                        load.run(paths=paths, seconds=1)
                        found = load.run(paths=paths, seconds=arguments.seconds)
                known = best.get((framework, server))
                if known is None or found["per_second"] > known["per_second"]:
                    best[framework, server] = found
    return [{"framework": name, "server": server, **found} for (name, server), found in best.items()]


def _framework_command(framework: str, server: str, port: int) -> list[str]:
    target = ["--factory", f"frameworks:{framework}_app", "--port", str(port), "--log-level", "error"]
    if server == "uvicorn":
        return [str(PROGRAMS / "uvicorn"), *target, "--no-access-log"]
    return [str(PROGRAMS / "granian"), *target, "--interface", "asgi", "--loop", "asyncio"]


class Load:
    """A load generator in a process of its own; see `serving/load.py`."""

    def __init__(self, port: int) -> None:
        """Start the load generator for the server at *port*."""
        command = [sys.executable, str(HERE / "serving" / "load.py"), "127.0.0.1", str(port)]
        with _on_core(_LOAD):
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was requested
        self._process.stdin.close()
        self._process.wait()

    def run(self, **order: object) -> dict[str, Any]:
        """Run the load that *order* describes, and return the results."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - as above
        assert stdout is not None  # noqa: S101
        stdin.write(json.dumps({"connections": CONNECTIONS, **order}) + "\n")
        stdin.flush()
        found: dict[str, Any] = json.loads(stdout.readline())
        return found


@contextmanager
def _started(command: Sequence[str], environment: dict[str, str], *, cores: int | None = _SERVERS) -> Iterator[int]:
    """Run *command* inside the block; yield its process id."""
    with nullcontext() if cores is None else _on_core(cores):
        process = subprocess.Popen(
            command, cwd=HERE / "serving", env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
    with process:
        try:
            yield process.pid
        finally:
            process.terminate()


def _processor_seconds(process: int) -> float:
    """Return the time of the processor that the process with that id, and all below it, have used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = [
        each for task in Path(f"/proc/{process}/task").iterdir() for each in (task / "children").read_text().split()
    ]
    return own + sum(_processor_seconds(int(child)) for child in children)


@contextmanager
def _on_core(number: int) -> Iterator[None]:
    """Have what is started inside run on that one of the cores."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[min(number, len(cores) - 1)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()

"""A process whose forks run the program, watched by `shim.c`, which makes calls to the kernel fail.

The encoder is `FakeEncoder`, shards hold four images, and two threads read them.
"""

import contextlib
import ctypes
import dataclasses
import functools
import importlib.util
import os
import pkgutil
import sys
import threading
import traceback
from dataclasses import dataclass

from forks import Forks, carry_out_orders

SHARD_SIZE = 4

KINDS = {
    name: 1 << bit
    for bit, name in enumerate(
        [
            "open",
            "create",
            "write",
            "sync",
            "rename",
            "unlink",
            "mkdir",
            "truncate",
            "mmap",
            "read",
            "close",
            "link",
            "list",
            "lock",
            "stat",
        ]
    )
}
IMPORTED_LATE = (
    "PIL.Image",
    "cykooz_resizer",
    "faiss",
    "jinja2",
    "numpy.ma",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "rich.progress",
    "safetensors.numpy",
    "starlette.testclient",
)
"""What some commands and sessions import only when they need it."""

WITH_TORCH = ("duplicates", "neighbors", "reading")
"""The commands and sessions that import torch, which is three quarters of the memory: a fork without it is cheaper."""

SESSIONS = {"serving": "serving_session", "reading": "reading_session"}
ACTIONS = {name: number for number, name in enumerate(["count", "fail", "fail-on", "fill", "kill", "kill-amid"])}


@dataclass(frozen=True)
class Order:
    """Run `visrec *arguments*` in the folder *place*, below which calls of *kinds* count; at number *nth*: *action*.

    What it prints lies in *said* + ".out" and ".err". *log* is a file for a line a call, *journal* a folder for what a
    power cut would leave. The arguments ["serving", ...] run one of `SESSIONS` instead.
    """

    arguments: tuple[str, ...]
    place: str
    said: str
    kinds: int = sum(KINDS.values())
    nth: int = 1 << 40
    action: str = "count"
    error: int = 0
    log: str | None = None
    journal: str | None = None


class FaultyProcess:
    """The process, as a test sees it, and another one for what needs torch."""

    def __init__(self, shim):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VISREC_")}
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        variables = {**environment, **threads, "LD_PRELOAD": str(shim), "COLUMNS": "100"}
        self._begin = functools.partial(Forks, __file__, shim, environment=variables)
        self._forks = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for forks in self._forks.values():
            forks.__exit__(*error)

    def run(self, order, *, timeout_s=300):
        """Carry out *order* and return its exit status; one that hangs is killed, which is "hangs"."""
        torch = ("torch",) if order.arguments[0] in WITH_TORCH else ()
        if torch not in self._forks:
            self._forks[torch] = self._begin(*torch)
        ended = self._forks[torch].run(dataclasses.asdict(order), kill_after_s=timeout_s)
        return "hangs" if ended.was_killed else ended.status


def import_everything(*, torch=True):
    """Import what commands import, but for the frameworks of the encoders; without *torch*, what works without it."""
    import pyarrow as pa
    import visrec_cli.main as program

    import vision_recs

    needs_torch = () if torch else (ModuleNotFoundError,)
    with contextlib.nullcontext() if torch else without_torch():
        for package in (vision_recs, sys.modules["visrec_cli"]):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not module.name.startswith("vision_recs.encoders."):
                    with contextlib.suppress(*needs_torch):
                        importlib.import_module(module.name)
    for name in IMPORTED_LATE:
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    pa.array([0])  # which imports pandas where there is one: most of the time of a command
    program.program([])


@contextlib.contextmanager
def without_torch():
    """Let an import of torch fail."""
    sys.modules["torch"] = None
    try:
        yield
    finally:
        del sys.modules["torch"]


def use_fake_encoder():
    from fake_shop import FakeEncoder

    from vision_recs import jobs

    def with_fake_encoder(job):
        @functools.wraps(job)
        def run(*arguments, options, encoder=None, **others):
            del encoder
            options = dataclasses.replace(options, shard_size=SHARD_SIZE, batch_size=SHARD_SIZE, workers=2)
            return job(*arguments, encoder=FakeEncoder(), options=options, **others)

        return run

    jobs.index, jobs.embed = with_fake_encoder(jobs.index), with_fake_encoder(jobs.embed)
    jobs.update = with_fake_encoder(jobs.update)


def keep_deltas():
    """Have small stores keep deltas of items and of graphs, as large ones do."""
    from vision_recs.indexes import hnsw
    from vision_recs.store import writer

    writer._FEW_ITEMS, writer._MOST_CHANGED = 4, 0.5
    hnsw._LARGEST_DELTA = 0.6


def tune_briefly():
    """Learn a projection in a fifteenth of the steps, which are most of the time of `tune`."""
    cross_fitting = importlib.import_module("vision_recs.tune.cross_fitting")
    assert cross_fitting._STEPS > cross_fitting.EVERY
    cross_fitting._STEPS = cross_fitting.EVERY


def carry_out(order, shim):
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        file = os.open(order.said + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(order.place)
    os.environ.update(
        HOME=f"{order.place}/home", VISREC_CACHE=f"{order.place}/cache", TMPDIR=f"{order.place}/temporary"
    )
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) if order.log else -1
    journal = order.journal.encode() if order.journal else None
    sys.argv = ["visrec", *order.arguments]
    shim.fault_arm(
        order.place.encode(),
        ctypes.c_long(order.kinds),
        ctypes.c_long(order.nth),
        ACTIONS[order.action],
        order.error,
        log,
        journal,
    )
    if order.arguments[0] in SESSIONS:
        importlib.import_module(SESSIONS[order.arguments[0]]).main(order.arguments[1:], shim)
    else:
        import visrec_cli.main as program

        program.main()


def end_as_python_does(run):
    """Call *run* and end the process as `python` would; nothing of it comes back."""
    status = 0
    try:
        run()
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main():
    shim = ctypes.CDLL(sys.argv[1])
    import_everything(torch="torch" in sys.argv[2:])
    use_fake_encoder()
    keep_deltas()
    tune_briefly()
    carry_out_orders(lambda order: end_as_python_does(lambda: carry_out(Order(**order), shim)))


if __name__ == "__main__":
    main()

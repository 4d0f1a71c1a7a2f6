"""What the tests of several folders share: the program, the sample catalog, and a store of it."""

from __future__ import annotations

import csv
import fcntl
import gc
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import no_network
import pytest

from vision_recs.store.items import Items

if TYPE_CHECKING:
    from program import Program
    from s3_server import S3
    from serving_forks import ServingForks
    from web_site import Site

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "tests" / "support" / "offline"
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
PATIENT = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4"}
"""How threads of PyTorch, FAISS and NumPy wait for each other: asleep, and not by taking turns on a core.

Where two processes run tests on two cores, they would wait for half of their time for what cannot go on meanwhile.
"""


def pytest_configure() -> None:
    """Nothing that a test does, or a process that it starts, leaves this machine; what waits leaves the processor."""
    no_network.forbid()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
    os.environ.update({name: os.environ.get(name, value) for name, value in PATIENT.items()})
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected stays: looking through it for garbage takes time, again and again."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """At the end of the process it is let go as ever."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_network_is_tried(request: pytest.FixtureRequest) -> Iterator[None]:
    no_network.ATTEMPTS.clear()
    yield
    assert "openvino_telemetry.main" not in sys.modules  # it asks the network in processes of its own
    if request.node.get_closest_marker("tries_the_network") is None:
        assert no_network.ATTEMPTS == []


@pytest.fixture(scope="session", autouse=True)
def own_cache(shared_by_processes: Path) -> Iterator[None]:
    """Converted models of the tests are made by the tests, not found on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISREC_CACHE", str(shared_by_processes / "cache"))
        yield


@pytest.fixture(scope="session")
def shared_by_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run that all its processes share, where several run tests.

    What a test copies from a folder in it lies as deep: a store names its catalog by the way from there.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return base
    folder = base.parent / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time make *path*."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """Leave out what only a power cut would show, which is most of the time of a small store.

    Tests of the order on a disk look at the calls; in tests/faults processes of their own lose power.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_secret() -> Iterator[None]:
    """Folders of events that tests make have equal secrets: what an answer explores, and in which arm, is no chance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.feedback.event_log.token_bytes", lambda size: bytes(range(size)))
        yield


@pytest.fixture
def other_secret(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which new folders of events have another secret."""
    return lambda: monkeypatch.setattr("vision_recs.feedback.event_log.token_bytes", lambda size: b"o" * size)


@pytest.fixture
def open_connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections to SQLite files that nobody has closed, and not because nobody has them any more."""
    opened: list[sqlite3.Connection] = []
    kept: list[Items] = []

    class Counted(sqlite3.Connection):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            opened.append(self)

        def close(self) -> None:
            super().close()
            if self in opened:
                opened.remove(self)

    connect, begin = sqlite3.connect, Items.__init__

    def keep(items: Items, *paths: Path) -> None:
        kept.append(items)
        begin(items, *paths)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Counted, **kwargs))
    monkeypatch.setattr(Items, "__init__", keep)
    return opened


@pytest.fixture(scope="session")
def forked_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The process whose forks become the program."""
    from program import Program

    with Program(tmp_path_factory.mktemp("program")) as program:
        yield program


@pytest.fixture(scope="session")
def visrec(forked_program: Program) -> Run:
    """Run the program as a person does: `visrec("similar", "mug-01", cwd=...)`."""

    def run(*arguments: str | bytes | Path, cwd: Path | None = None, **variables: str) -> Done:
        own = ("VISREC_STORE", "VISREC_ENCODER")
        environment = {name: value for name, value in os.environ.items() if name not in own}
        variables = {**environment, "COLUMNS": "100", **variables}
        done: Done = forked_program.run(list(map(os.fsdecode, arguments)), cwd, variables)
        return done

    return run


@pytest.fixture(scope="session")
def serving_forks() -> Iterator[ServingForks]:
    """The process whose forks become servers."""
    from serving_forks import ServingForks

    with ServingForks() as forks:
        yield forks


@pytest.fixture(scope="session")
def sample_images() -> Path:
    return ROOT / "sample_images"


@pytest.fixture(scope="session")
def indexed_samples(shared_by_processes: Path, sample_images: Path, visrec: Run) -> tuple[Path, str]:
    """The store that `visrec index sample_images/catalog.csv` makes, and what it printed; not to be changed.

    The first process makes it for all, and converts the encoder, which takes long.
    """
    folder = shared_by_processes / "samples"
    store, printed = folder / "index", folder / "printed"
    with alone(folder):
        if not printed.exists():
            folder.mkdir(exist_ok=True)
            done = visrec("index", sample_images / "catalog.csv", "--store", store)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return store, printed.read_text()


@pytest.fixture(scope="session")
def sample_store(indexed_samples: tuple[Path, str]) -> Path:
    return indexed_samples[0]


@pytest.fixture
def own_sample_store(sample_store: Path, tmp_path: Path) -> Path:
    """A copy of the sample store, to be changed."""
    return Path(shutil.copytree(sample_store, tmp_path / "index"))


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server that runs while the tests do, once one of them needs it."""
    pytest.importorskip("obstore")
    from s3_server import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An empty bucket, which this process and those that it starts can read."""
    from s3_server import S3

    bucket = S3("shop", s3_port)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    yield bucket
    bucket.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """A web site of images on this machine."""
    from web_site import Site

    found = Site()
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def clothing() -> Path:
    """The catalog of 1,885 real photos, where it lies beside the project."""
    path = ROOT.parent / "shared" / "data" / "clothing" / "catalog.csv"
    if not path.exists():
        pytest.skip("the clothing photos are not beside the project")
    return path


@pytest.fixture(scope="session")
def clothing_store(visrec: Run, clothing: Path, shared_by_processes: Path) -> Path:
    """The store of the clothing photos, with a column of shuffled categories; not to be changed.

    Its catalog lies beside it. It takes a minute, so one process makes it for all.
    """
    folder = shared_by_processes / "clothing"
    with alone(folder):
        if not (folder / "index" / "CURRENT").exists():
            folder.mkdir()
            write_shuffled(clothing, folder)
            done = visrec("index", folder / "catalog.csv", "--store", folder / "index", "--quiet")
            assert done.returncode == 0, done.stderr
    return folder / "index"


def write_shuffled(clothing: Path, folder: Path) -> None:
    """Write the catalog *clothing* into *folder*, with its images and a column of shuffled categories."""
    with clothing.open(newline="") as file:
        rows = list(csv.DictReader(file))
    shuffled = [row["category"] for row in rows]
    random.Random(4).shuffle(shuffled)
    (folder / "images").symlink_to(clothing.parent / "images")
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "shuffled"])
        writer.writeheader()
        writer.writerows({**row, "shuffled": label} for row, label in zip(rows, shuffled, strict=True))

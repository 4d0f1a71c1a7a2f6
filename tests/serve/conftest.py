"""The application in this process, and the program in another one."""

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from browsing import Visits, chromium
from demo_shop import demo_store
from program import PROGRAM
from serving_forks import ServingFork
from starlette.testclient import TestClient
from tether import TETHER

from vision_recs.serve import ServeOptions, create_app

NOON = 1_780_056_000.0  # 2026-05-29 12:00:00 UTC


@pytest.fixture(scope="session", autouse=True)
def slow_clock():
    """The clock of servers in this process: no test is so long that an hour or a day of it ends."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.serve.state.time", lambda: NOON + (time.monotonic() - began) / 1_000)
        yield


@contextlib.contextmanager
def client_of(store, **options):
    """Yield a client of an application that serves *store*; it checks for new generations only when a test says so."""
    app = create_app(ServeOptions(Path(store), poll_interval_s=3600, **options))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def client(sample_store):
    """A client of a server over the samples; no test changes them."""
    with client_of(sample_store) as client:
        yield client


@pytest.fixture(scope="session")
def connect():
    return client_of


@dataclass
class Server:
    """A running `visrec serve`."""

    process: subprocess.Popen | ServingFork
    url: str
    log: Path

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def worker_ids(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in children.read_text().split()]


@pytest.fixture(scope="session")
def serve(serving_forks):
    """Run `visrec serve` on any free port until the end of the block."""

    @contextlib.contextmanager
    def running(store, log, *arguments, **variables):
        command = ["serve", "--store", store, "--port", "0", *arguments]
        process, said = start(serving_forks, command, log, {**os.environ, **variables})
        with said:
            try:
                line = said.readline()
                assert line.startswith("visrec serves http://127.0.0.1:"), log.read_text()
                yield Server(process, line.split()[2], log)
            finally:
                process.terminate()
                process.wait(120)  # a busy machine is slow

    return running


def start(forks, command, log, environment):
    """Start a server, as a fork unless *environment* asks for a process of its own; return it and what it says."""
    if forks.can_be(environment):
        process = forks.start(command, log, environment)
        return process, process.said
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*TETHER, PROGRAM, *command], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    return process, process.stdout


@pytest.fixture(scope="session")
def server(serve, sample_store, tmp_path_factory):
    """A running `visrec serve` over the samples; no test changes them."""
    with serve(sample_store, tmp_path_factory.mktemp("serve") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def demo_server(serve, sample_store, tmp_path_factory):
    """A running `visrec serve` over the samples as a shop would sell them, which keeps events."""
    folder = tmp_path_factory.mktemp("demo")
    store = demo_store(sample_store, folder / "store")
    arguments = ("--events", folder / "events", "--cors", "http://shop.test:8000")
    with serve(store, folder / "log", *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """A browser, as its tabs. Its event loop runs in this process: others cannot, meanwhile."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, server):
    """Open a page of the server over the samples, and fail afterwards if anything in it went wrong."""
    yield from visits(browser, server.url)


@pytest.fixture
def visit_demo(browser, demo_server):
    """Open a page of the demo server, and fail afterwards if anything in it went wrong."""
    yield from visits(browser, demo_server.url)


def visits(browser, url):
    made = Visits(browser, url)
    yield made
    made.close()
    assert made.wrong == []

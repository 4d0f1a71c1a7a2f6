"""The application in this process, and the program in another one."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from vision_recs.serve import ServeOptions, create_app


@contextlib.contextmanager
def asked(store, **options):
    """Give a client of an application that serves *store*; it looks for new generations only when it is told to."""
    app = create_app(ServeOptions(Path(store), poll_s=3600, **options))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def client(sample_store):
    """A client of the samples, of which nothing is changed."""
    with asked(sample_store) as client:
        yield client


@pytest.fixture(scope="session")
def ask():
    return asked


@dataclass
class Server:
    """The program, started."""

    process: subprocess.Popen
    url: str
    log: Path

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def worker_ids(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in children.read_text().split()]


@contextlib.contextmanager
def running(store, log, *arguments, **variables):
    """Run `visrec serve` on any free port, until the end of the block."""
    program = Path(sys.executable).parent / "visrec"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [program, "serve", "--store", store, "--port", "0", *arguments],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        line = process.stdout.readline()
        assert line.startswith("visrec serves http://127.0.0.1:"), log.read_text()
        yield Server(process, line.split()[2], log)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="session")
def serve():
    return running


@pytest.fixture(scope="session")
def server(sample_store, tmp_path_factory):
    """The program over the samples, of which nothing is changed."""
    with running(sample_store, tmp_path_factory.mktemp("serve") / "log") as server:
        yield server

"""A file of the store is cut while it is served: a worker may end, the server goes on, and says what happened.

Such a file is mapped. Who reads a page that is not there any more is ended by SIGBUS, whatever it is written in.
"""

import contextlib
import http.client
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are found by /proc, which is of Linux")

PATIENCE_S = 120
ITEMS = [f"mug-{number:02}" for number in range(1, 6)]


def ask(port, path):
    """Return the status of an answer, and what it says; None where the connection is refused or breaks off."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return None


def wait_until(done):
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def records(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def vectors_of(store):
    (path,) = Path(store).glob("shards/*/vectors.npy")
    return path


def test_a_cut_file_ends_one_worker_and_the_server_recovers(serve, sample_store, own_sample_store, tmp_path):
    path, log = vectors_of(own_sample_store), tmp_path / "log"
    with serve(own_sample_store, log, "--workers", "2") as server:
        wait_until(lambda: len(server.worker_ids()) == 2)
        right = {item: ask(server.port, f"/v1/similar?id={item}&k=3") for item in ITEMS}
        assert {status for status, _ in right.values()} == {200}
        for _ in range(20):  # what each worker finds out beside its answers reads vectors, too
            wait_until(lambda: "weak_below" in ask(server.port, "/v1/info")[1])
        before = set(server.worker_ids())
        os.truncate(path, 4096)
        assert ask(server.port, f"/v1/similar?id={ITEMS[0]}&k=3") is None
        wait_until(lambda: len(before & set(server.worker_ids())) == 1)
        wait_until(lambda: any(record.get("event") == "cannot_open" for record in records(log)))
        for _ in range(20):  # the other one goes on; a connection may still be reset as one ends
            wait_until(lambda: ask(server.port, "/healthz") == (200, {"status": "ok"}))
        wait_until(lambda: len(before & set(server.worker_ids())) == 1)

        copy = shutil.copy(vectors_of(sample_store), path.with_name("copy"))
        Path(copy).replace(path)
        wait_until(lambda: len(server.worker_ids()) == 2)
        os.kill((before & set(server.worker_ids())).pop(), 9)  # which still maps the file that was cut
        wait_until(lambda: not before & set(server.worker_ids()))
        wait_until(lambda: {item: ask(server.port, f"/v1/similar?id={item}&k=3") for item in ITEMS} == right)
    told = [record["message"] for record in records(log)]
    assert told[0].endswith(
        " ended by SIGBUS (a file of the store was cut while it was read, or the disk fails; run `visrec verify`); "
        "another one takes its place"
    )
    assert [message for message in told if "cannot be read (it has 4096 bytes, where" in message] == told[1:2]
    assert " ended by SIGKILL (by hand" in told[2]


def test_a_server_does_not_start_over_a_cut_file_and_says_why(visrec, own_sample_store):
    path = vectors_of(own_sample_store)
    os.truncate(path, 4096)
    done = visrec("serve", "--store", own_sample_store, "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"visrec: {path} cannot be read (it has 4096 bytes, where")
    assert done.stderr.count("\n") == 1

"""`visrec serve` as a person runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from tether import TETHER

TOKEN = "open sesame"
PATIENCE_S = 120  # a busy machine is slow


@contextmanager
def started(store, log, *arguments, **variables):
    """Start the program on any free port; give its process and its URL."""
    program = Path(sys.executable).parent / "visrec"
    environment = {name: value for name, value in os.environ.items() if name != "VISREC_TOKEN"} | variables
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*TETHER, program, "serve", "--store", store, "--port", "0", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        line = process.stdout.readline()
        assert line.endswith(" (Ctrl-C stops it)\n"), log.read_text()
        yield process, line.split()[2]
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()


@pytest.fixture
def serving(serving_forks, sample_store, tmp_path):
    """Serve the samples from a fork, which reads no variable as it is imported; give its process and its URL."""

    @contextmanager
    def serving(*arguments, **variables):
        environment = {name: value for name, value in os.environ.items() if name != "VISREC_TOKEN"} | variables
        command = ["serve", "--store", sample_store, "--port", "0", *arguments]
        process = serving_forks.start(command, tmp_path / "log", environment)
        try:
            line = process.said.readline()
            assert line.endswith(" (Ctrl-C stops it)\n"), (tmp_path / "log").read_text()
            yield process, line.split()[2]
        finally:
            process.kill()
            process.wait(PATIENCE_S)
            process.said.close()

    return serving


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE_S) as answer:
        return answer.status, answer.read()


def test_it_prints_its_url_and_stops_at_a_signal(sample_store, tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        with started(sample_store, tmp_path / "log") as (process, url):
            assert url.startswith("http://127.0.0.1:")
            assert json.loads(get(f"{url}/v1/similar?id=mug-01&k=1")[1])["matches"][0]["id"] == "mug-04"
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0
            assert process.stdout.read() == ""
        assert (tmp_path / "log").read_text() == ""


def open_when_read(fifo):
    """Open *fifo* for writing once a program reads it, and return the file descriptor."""
    for _ in range(600):
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody has read the file")


UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def can_unshare():
    return (
        shutil.which("unshare") and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not can_unshare(), reason="a process 1 needs user namespaces")
def test_process_1_stops_while_it_starts(sample_store, tmp_path):
    """Linux ignores SIGTERM for the first process of a container as long as the program does not handle it."""
    rules = tmp_path / "rules.toml"
    os.mkfifo(rules)  # the start takes until somebody writes the rules
    program = Path(sys.executable).parent / "visrec"
    process = subprocess.Popen(
        [*TETHER, *UNSHARE, program, "serve", "--store", sample_store, "--port", "0", "--rules", rules]
    )
    try:
        writer = open_when_read(rules)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        os.close(writer)
    finally:
        process.kill()
        process.wait(PATIENCE_S)


@pytest.mark.skipif(not can_unshare(), reason="a process 1 needs user namespaces")
def test_process_1_stops_before_it_has_imported_anything(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "typer.py").write_text(f"open({str(fifo)!r})")
    program = Path(sys.executable).parent / "visrec"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([*TETHER, *UNSHARE, program, "serve"], env={**os.environ, "PYTHONPATH": paths})
    try:
        writer = open_when_read(fifo)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        os.close(writer)
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_workers_share_the_port_and_their_metrics(sample_store, tmp_path):
    with started(sample_store, tmp_path / "log", "--workers", "2") as (process, url):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        for _ in range(20):
            assert get(f"{url}/v1/similar?id=mug-01")[0] == 200
        counted = 'visrec_http_requests_total{route="similar",status="200"} 20.0'
        end = time.monotonic() + PATIENCE_S
        while counted not in (text := get(f"{url}/metrics")[1].decode()):  # counted when it has been answered
            assert time.monotonic() < end, text
        assert "visrec_items 60.0" in text
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_workers_end_with_the_process_that_started_them(sample_store, tmp_path):
    with started(sample_store, tmp_path / "log") as (process, url):
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        worker = os.pidfd_open(int(child))
        process.kill()
        process.wait(PATIENCE_S)
        import select

        assert select.select([worker], [], [], PATIENCE_S)[0] == [worker]
        os.close(worker)
        with pytest.raises(urllib.error.URLError):
            get(f"{url}/healthz")


@pytest.mark.parametrize("way", ["variable", "file"])
def test_a_token_is_required(sample_store, tmp_path, way):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    arguments, variables = (["--token-file", file], {}) if way == "file" else ([], {"VISREC_TOKEN": TOKEN})
    with started(sample_store, tmp_path / "log", *arguments, **variables) as (process, url):
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            get(f"{url}/v1/items")
        refused.value.close()
        assert get(f"{url}/v1/items", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert TOKEN.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def status_of(url, host):
    try:
        return get(url, Host=host)[0]
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_local_server_answers_for_local_hosts_unless_others_are_allowed(serving):
    hosts = ("localhost", "127.0.0.1:80", "[::1]", "shop.example", "evil.example")
    with serving() as (_, url):
        assert [status_of(f"{url}/v1/info", host) for host in hosts] == [200, 200, 200, 421, 421]
    with serving("--allowed-hosts", "shop.example") as (_, url):
        assert [status_of(f"{url}/v1/info", host) for host in hosts] == [421, 421, 421, 200, 421]


def test_every_request_is_logged_if_requested(serving, tmp_path):
    with serving("--log-requests") as (process, url):
        get(f"{url}/v1/items/mug-01")
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["route"] for line in lines] == ["readyz", "item"]


def test_a_trusted_proxy_names_the_client(serving, tmp_path):
    proxies = ("--trusted-proxies", "10.0.0.0/8, 127.0.0.1")
    with serving(*proxies, VISREC_TOKEN=TOKEN) as (_, url):
        wrong = {"Authorization": "Bearer guess", "X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{url}/v1/items", **wrong)
        refused.value.close()
        assert "wrong token from 203.0.113.7" in (tmp_path / "log").read_text()


def test_rules_apply(serving, sample_images):
    with serving("--rules", sample_images / "rules.toml") as (_, url):
        matches = json.loads(get(f"{url}/v1/similar?id=mug-01")[1])["matches"]
        assert matches[1]["id"] == "bowl-02"


def test_a_server_that_cannot_start_says_why_in_one_sentence(visrec, sample_store, tmp_path):
    done = visrec("serve", "--store", tmp_path / "none")
    assert done.returncode == 1
    assert "there is no store in" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = visrec("serve", "--store", sample_store, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"visrec: cannot listen on 127.0.0.1 port {port}")
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--cors", "shop.example"], {}, "is not an origin"),
        (["--token-file", "missing"], {}, "cannot be read"),
        (["--trusted-proxies", "127.0.0.1,10.0.0.1/8"], {}, "'10.0.0.1/8' is no network"),
        ([], {"VISREC_TOKEN": " "}, "VISREC_TOKEN is empty"),
        (["--workers", "0"], {}, "workers"),
    ],
)
def test_wrong_usage_is_reported_at_once(visrec, sample_store, arguments, variables, words):
    done = visrec("serve", "--store", sample_store, *arguments, **variables)
    assert done.returncode == 2
    assert words in done.stderr


def test_it_waits_for_a_store_alive_and_not_ready(sample_store, tmp_path):
    program = Path(sys.executable).parent / "visrec"
    command = [*TETHER, program, "serve", "--wait", "--store", tmp_path / "store", "--port", "0"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        waiting_at = re.compile(r"visrec: waiting at (\S+): there is no store in")
        end = time.monotonic() + PATIENCE_S
        while not (said := waiting_at.match((tmp_path / "log").read_text())):
            assert time.monotonic() < end
            time.sleep(0.05)
        url = said[1]
        assert get(f"{url}/healthz") == (200, b'{"status": "ok"}')
        with pytest.raises(urllib.error.HTTPError) as waiting:
            get(f"{url}/readyz")
        problem = json.loads(waiting.value.read())
        assert (waiting.value.status, waiting.value.headers["retry-after"]) == (503, "5")
        assert "there is no store in" in problem["detail"]
        shutil.copytree(sample_store, tmp_path / "copy").rename(tmp_path / "store")
        assert process.stdout.readline() == f"visrec serves {url} (Ctrl-C stops it)\n"
        assert get(f"{url}/readyz")[0] == 200
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()


def test_a_root_that_is_no_path_is_refused(visrec, sample_store):
    done = visrec("serve", "--store", sample_store, "--root-path", "a b")
    assert done.returncode == 2
    assert "'a b' is no path of a server; write it as /shop" in " ".join(done.stderr.split())

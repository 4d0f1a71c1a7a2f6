"""What cannot be written to stdout or stderr is a sentence and a status, and what was done is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_shop import index, shop_of

PROGRAM = Path(sys.executable).parent / "visrec"
COMMANDS = {
    "help": ["--help"],
    "help of a command": ["similar", "--help"],
    "version": ["--version"],
    "matches": ["similar", "item000"],
    "json": ["similar", "item000", "--json"],
    "info": ["info"],
    "verify": ["verify"],
    "gc": ["gc"],
    "duplicates": ["duplicates", "--quiet"],
    "encoders": ["encoders"],
}

CLOSED_IN_CI = ("help of a command", "matches", "info", "gc", "encoders")
"""The commands that CI starts with a closed stdout, which a fork cannot be given: Python opens it as it starts."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = tmp_path_factory.mktemp("streams") / "store"
    index(shop_of(12), store)
    return store


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_under_stdout_is_one_sentence(forked_program, store, tmp_path, command):
    environment = {**os.environ, "VISREC_STORE": str(store)}
    said = tmp_path / "said"
    assert forked_program.run_with_streams(command, tmp_path, environment, out="/dev/full", err=said) == 1
    assert said.read_text() == "visrec: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(COMMANDS[name], id=name, marks=[] if name in CLOSED_IN_CI else pytest.mark.nightly)
        for name in COMMANDS
    ],
)
def test_a_closed_stdout_is_one_sentence(store, command):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", PROGRAM, *command],
        env={**os.environ, "VISREC_STORE": str(store)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "visrec: the output cannot be written (Bad file descriptor)\n"


@pytest.mark.parametrize(
    ("stdout", "stderr"),
    [
        (">&-", ">&-"),
        (">/dev/full", ">/dev/full"),
        (">/dev/null", ">&-"),
        pytest.param(">&-", ">/dev/full", marks=pytest.mark.nightly),
        pytest.param(">/dev/full", ">&-", marks=pytest.mark.nightly),
        pytest.param(">/dev/null", ">/dev/full", marks=pytest.mark.nightly),
    ],
)
def test_where_nothing_can_be_said_the_status_says_it(store, stdout, stderr):
    script = f'exec "$@" {stdout} 2{stderr}'
    wrong = subprocess.run(["sh", "-c", script, "sh", PROGRAM, "similar", "nobody", "--store", store], check=False)
    assert wrong.returncode == 1


@pytest.mark.parametrize("stderr", [">&-", ">/dev/full"])
def test_an_answer_does_not_need_stderr(store, stderr):
    script = f'exec "$@" 2{stderr}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", PROGRAM, "similar", "item000", "--store", store, "--json", "--html", "/dev/null"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 10


def test_a_reader_that_leaves_is_no_error_of_ours(store):
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" similar item000 --store "$1" --json | true', PROGRAM, store],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_what_was_written_stays_written(forked_program, store, tmp_path):
    out = tmp_path / "neighbors.csv"
    command = ["neighbors", out, "--store", store, "--quiet"]
    said = tmp_path / "said"
    assert forked_program.run_with_streams(command, tmp_path, dict(os.environ), out="/dev/full", err=said) == 1
    assert len(out.read_text().splitlines()) == 1 + 12 * 11

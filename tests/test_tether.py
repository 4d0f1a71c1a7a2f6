"""What a test starts ends with it, even where pytest is killed."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tether import TETHER

STARTS_ANOTHER = """
import subprocess, sys
child = subprocess.Popen([*sys.argv[1:], "sleep", "100"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not TETHER, reason="there is no setpriv")
def test_a_process_ends_with_the_one_that_started_it():
    with subprocess.Popen([sys.executable, "-c", STARTS_ANOTHER, *TETHER], stdout=subprocess.PIPE, text=True) as parent:
        child = Path("/proc", parent.stdout.readline().strip())
        assert happens(lambda: (child / "comm").read_text() == "sleep\n")  # setpriv has replaced itself
        parent.kill()
    assert happens(lambda: not is_running(child))


def happens(condition):
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def is_running(process):
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_server_of_the_tests_is_tethered():
    folder = Path(__file__).parent
    starts = [
        (path.name, line.strip())
        for path in folder.glob("*/*.py")
        for line in path.read_text().splitlines()
        if 'program, "serve"' in line
    ]
    assert len(starts) >= 3
    assert [start for start in starts if "[*TETHER, " not in start[1]] == []

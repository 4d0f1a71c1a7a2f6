"""A process that forks another one for each order: nothing that an order runs has to be imported, and it may be killed.

An order is a line of JSON, answered by a line with the process id of the fork. A line with such an id is answered by
one with the exit status, when that fork has ended, however it has.
"""

import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ended:
    """How an order ended: its exit *status*, after how many *seconds*, and whether it had to be killed."""

    status: int
    seconds: float
    was_killed: bool


class Forks:
    """The process that runs `python *arguments*`, as a test sees it; there `carry_out_orders` is called."""

    def __init__(self, *arguments, environment=None):
        paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**(os.environ if environment is None else environment), "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, order, *, kill_after_s=None):
        """Carry out *order*, and kill it after a time if it has not ended; return how it Ended."""
        return self.end(self.begin(order), kill_after_s=kill_after_s)

    def begin(self, order):
        """Begin to carry out *order*, and return the id of the process that does."""
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return int(self._process.stdout.readline())

    def end(self, child, *, kill_after_s=None):
        """Wait until *child*, which was begun, has ended, and kill it after a time; return how it Ended."""
        started = time.perf_counter()
        self._process.stdin.write(b"%d\n" % child)
        was_killed = not select.select([self._process.stdout], [], [], kill_after_s)[0]
        if was_killed:
            with contextlib.suppress(ProcessLookupError):  # it has ended this very moment
                os.kill(child, signal.SIGKILL)
        status = int(self._process.stdout.readline())
        return Ended(status, time.perf_counter() - started, was_killed)


def carry_out_orders(carry_out, prepare=lambda _: None):
    """Call *prepare* here for each order that comes, then *carry_out* in a new fork; it has to end the process."""
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            _say(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]))
            continue
        prepare(order)
        gc.freeze()  # what is imported lasts: no fork has to look through it, which would copy every page of it
        child = os.fork()
        if child == 0:
            carry_out(order)
            os._exit(0)
        _say(child)


def _say(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()

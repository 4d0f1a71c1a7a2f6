"""A process whose forks become `visrec serve`, see `program`: a server of few requests takes most of its time to start.

Its supervisor and its workers are processes as ever; nothing of them has to be imported.
"""

import ctypes
import importlib
import os
import signal
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faulty_process import end_as_python_does, import_everything
from forks import Forks, carry_out_orders
from program import PROGRAM, as_begun, carry_out

PR_SET_PDEATHSIG = 1


@dataclass
class ServingFork:
    """The supervisor of a server, in the manner of `subprocess.Popen`; *said* is what it prints."""

    pid: int
    said: object
    _forks: Forks
    _status: int | None = field(default=None, init=False)

    def send_signal(self, number):
        if self._status is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout):
        """Wait until it has ended, and kill it after *timeout* seconds; return its exit status."""
        if self._status is None:
            self._status = self._forks.end(self.pid, kill_after_s=timeout).status
        return self._status


class ServingForks:
    """The process, as a test sees it, which is to be entered; it begins with the first server."""

    def __init__(self):
        self._begun = as_begun(os.environ)
        self._forks = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._forks is not None:
            self._forks.__exit__(*error)

    def can_be(self, environment):
        """Return whether a fork is what a process of its own with *environment* would be."""
        return as_begun(environment) == self._begun

    def start(self, arguments, log, environment):
        """Start `visrec *arguments*`, whose messages go to the file *log*; return the ServingFork."""
        if self._forks is None:
            self._forks = Forks(__file__)
        folder = tempfile.mkdtemp(dir=log.parent)
        os.mkfifo(f"{folder}/out")
        Path(folder, "err").symlink_to(log)
        pid = self._forks.begin([[str(PROGRAM), *map(str, arguments)], str(Path.cwd()), environment, folder])
        return ServingFork(pid, Path(folder, "out").open(), self._forks)

    @contextmanager
    def serve(self, store, log, *arguments):
        """Yield the URL of a server, which is killed at the end of the block; then nothing of it runs any more."""
        process = self.start(["serve", "--store", store, "--port", "0", *arguments], log, dict(os.environ))
        with process.said:
            line = process.said.readline()
            assert line.startswith("visrec serves http://127.0.0.1:"), log.read_text()
            try:
                yield line.split()[2]
            finally:
                kill(process)
            assert process.said.read() == ""  # until no process has it open
        assert process.wait(None) == -signal.SIGKILL


def kill(server):
    """Kill a supervisor and its workers."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    workers = [int(number) for number in children.read_text().split()]
    server.kill()  # first: it would start others
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


def serve(order):
    """Become a server that ends with this process, as those do that `tether` starts."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    carry_out(order)


def pull_often():
    """Have servers of buckets look for a new generation each second, as tests wait for it."""
    following = importlib.import_module("vision_recs.serve.following")
    assert following._EVERY_S > 1
    following._EVERY_S = 1.0


def main():
    import_everything(torch=False)
    importlib.import_module("granian")
    pull_often()
    carry_out_orders(lambda order: end_as_python_does(lambda: serve(order)))


if __name__ == "__main__":
    main()

"""A process whose forks become `visrec serve`, see `program`: a server that is only started to be killed costs little.

Its supervisor and its workers are processes as ever; nothing of them has to be imported.
"""

import importlib
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faulty_process import end_as_python_does, import_everything
from forks import Forks, carry_out_orders
from program import PROGRAM, carry_out


@dataclass(frozen=True)
class ServingFork:
    """A server: the process id of its supervisor, and where it serves."""

    process_id: int
    url: str

    def kill(self):
        """Kill it and its workers."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children")
        workers = [int(number) for number in children.read_text().split()]
        os.kill(self.process_id, signal.SIGKILL)  # first: it would start others
        for worker in workers:
            os.kill(worker, signal.SIGKILL)


class ServingForks:
    """The process, as a test sees it, which is to be entered; *folder* takes what servers print."""

    def __init__(self, folder):
        self._folder = folder
        os.mkfifo(folder / "out")
        self._forks = Forks(__file__)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._forks.__exit__(*error)

    @contextmanager
    def serve(self, store, *arguments):
        """Yield a server of *store*, which is killed at the end of the block; then nothing of it runs any more."""
        command = list(map(str, (PROGRAM, "serve", "--store", store, "--port", "0", *arguments)))
        folder = str(self._folder)
        process_id = self._forks.begin([command, folder, dict(os.environ), folder])
        with (self._folder / "out").open() as said:
            line = said.readline()
            assert line.startswith("visrec serves http://127.0.0.1:"), (self._folder / "err").read_text()
            server = ServingFork(process_id, line.split()[2])
            try:
                yield server
            finally:
                server.kill()
            assert said.read() == ""  # until no process has it open
        assert self._forks.end() == -signal.SIGKILL


def main():
    import_everything(torch=False)
    importlib.import_module("granian")
    carry_out_orders(lambda order: end_as_python_does(lambda: carry_out(order)))


if __name__ == "__main__":
    main()

"""Item searches built in a process of its own: of a million items it takes half a minute of Python.

In the server it would hold up every request, and every change, again and again for some milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from vision_recs.errors import StoreUnavailable
from vision_recs.serve.search_files import Together, build_file
from vision_recs.store.items import Items

_CODE = "import sys; sys.path[:] = {!r}; from vision_recs.serve.search_builder import run; run(*sys.argv[1:])"
_LESS_URGENT = 10


class SearchBuilder:
    """Builds item searches, one at a time, in processes that end with it, or with this process."""

    def __init__(self) -> None:
        """Start without a process."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_closed = False

    def build(self, bases: Sequence[Path], target: Path) -> None:
        """Fill the empty file *target* with the item search of the items files *bases* together.

        Raises StoreUnavailable where the process fails, and where the builder was closed.
        """
        command = [sys.executable, "-c", _CODE.format(sys.path), str(target), *map(str, bases)]
        with self._lock:
            self._check()
            try:
                process = self._process = subprocess.Popen(  # noqa: S603 - this Python, and paths of the store
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the server
                )
            except OSError as error:
                raise StoreUnavailable(f"no process for the item search can be started ({error.strerror})") from error
        with process:
            status = process.wait()
        self._check()
        if status:
            raise StoreUnavailable(f"the process that builds the item search ended with status {status}")

    def close(self) -> None:
        """End the process, whatever it does; nothing can be built afterwards."""
        with self._lock:
            self.is_closed = True
            if self._process is not None:
                self._process.kill()

    def _check(self) -> None:
        if self.is_closed:
            raise StoreUnavailable("the server is stopping")


# In the process


def run(target: str, *bases: str) -> None:
    """Fill the file *target* with the item search of the items files *bases* together."""
    os.nice(_LESS_URGENT)
    threading.Thread(target=_end_with_server, daemon=True).start()
    with ExitStack() as stack:
        build_file(Together([stack.enter_context(closing(Items(Path(base)))) for base in bases]), Path(target))


def _end_with_server() -> None:
    os.read(0, 1)  # returns when the server has closed it, or has ended in whatever way
    os._exit(1)

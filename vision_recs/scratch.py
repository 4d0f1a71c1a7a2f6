"""Folders for work in progress, beside what it will be; what killed processes left of theirs is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".scratch-"
"""How their names begin."""


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in *parent*, which is removed at the end.

    It is locked as long as it is used. What killed processes left in *parent* is removed first. Raises OSError where
    *parent* cannot be written.
    """
    remove_left(parent)
    folder, lock = _new(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left(parent: Path) -> None:
    """Remove the folders in *parent* that nobody has locked: they would keep their room on the disk for ever.

    Where the file system has no locks, they stay.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _new(parent: Path) -> tuple[Path, int]:
    """Return a new folder, and a descriptor of it which holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process took it for one that was left
        except OSError:
            folder.rmdir()
            raise
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)

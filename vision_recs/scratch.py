"""Folders for work in progress, beside what it will be; what killed processes left of theirs is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".visrec-scratch-"
"""How their names begin."""

_LOCK = ".lock"  # a file: NFS tells other machines of locks of files, but not of those of folders


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in *parent*, which is removed at the end.

    A file in it is locked as long as it is used. What killed processes left in *parent* is removed first. Raises
    OSError where *parent* cannot be written.
    """
    remove_left(parent)
    folder, lock = _new(parent)
    try:
        yield folder
    finally:
        _remove(folder, lock)


def remove_left(parent: Path) -> None:
    """Remove the folders in *parent* that nobody has locked: they would keep their room on the disk for ever.

    Where the file system has no locks, they stay; so do those of other users, who could have put anything there.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            lock = _opened(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                gone = folder.rename(f"{folder}-")  # first: its maker may be about to lock it, see `_new`
            except OSError:
                os.close(lock)
            else:
                _remove(gone, lock)


def other_files(folder: Path) -> list[str]:
    """Return the names in *folder*, which need not exist, but those of scratch folders; raises OSError."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [path.name for path in folder.iterdir() if not path.name.startswith(PREFIX)]
    return []


def _new(parent: Path) -> tuple[Path, int]:
    """Return a new folder, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        try:
            lock = _opened(folder)
        except FileNotFoundError:
            continue  # another process took it for one that was left
        except OSError:
            folder.rmdir()
            raise
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)


def _opened(folder: Path) -> int:
    return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)  # NFS keeps a file, under another name, until it is closed

"""Files that are there whole or not at all, whatever happens to the process or the power.

The order is always: write under `tmp/`, flush to the disk, rename into place, flush the folder that holds the name.
What is removed goes the other way: it is renamed into `tmp/`, then deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vision_recs.errors import machine_remedy, read_error, write_error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the bytes of *path*, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_problem(path: Path, digest: str) -> str | None:
    """Return a sentence where the file *path* is missing or does not have the SHA-256 *digest*, else None.

    Raises StoreUnavailable where the machine cannot read it.
    """
    try:
        found = sha256_file(path)
    except OSError as error:
        if machine_remedy(error) is not None:
            raise read_error(path, error) from error
        return f"{path} cannot be read ({error.strerror})"
    if found != digest:
        return f"{path} was altered: its SHA-256 is {found[:16]}..., not {digest[:16]}..."
    return None


def fsync_path(path: Path) -> None:
    """Return when the disk holds what was written to the file or folder *path*."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_move_file(made: Path, target: Path) -> None:
    """Move the finished file *made* to *target*, durably and at once."""
    atomic_move_files({made: target})


def atomic_move_files(targets: Mapping[Path, Path]) -> None:
    """Move each finished file to its target, durably; each of them is moved at once, one after the other.

    This is quicker than to move them one by one: names that are flushed together take about the time of one.
    """
    for made in targets:
        fsync_path(made)
    for made, target in targets.items():
        made.replace(target)
    for folder in dict.fromkeys(target.parent for target in targets.values()):
        fsync_path(folder)


def atomic_write(data: bytes, target: Path, tmp: Path) -> None:
    """Write *data* to *target*, durably and at once; *tmp* is a folder on the same file system."""
    made = tmp / target.name
    made.write_bytes(data)
    atomic_move_file(made, target)


def atomic_move_folder(made: Path, target: Path) -> None:
    """Move the finished folder *made* to *target*, durably and at once; *target* must not exist."""
    for path in made.iterdir():
        fsync_path(path)
    fsync_path(made)
    made.rename(target)
    fsync_path(target.parent)


def atomic_remove(path: Path, tmp: Path) -> None:
    """Remove the file or folder *path* at once, if it exists; *tmp* is a folder on the same file system.

    A folder that is deleted in place exists in part for a while, or for good if the process is killed.
    """
    with tempfile.TemporaryDirectory(dir=tmp) as folder, suppress(FileNotFoundError):
        path.rename(Path(folder) / path.name)


def make_durable_folder(folder: Path) -> None:
    """Create *folder* and the folders above it, as far as they do not exist, and have the disk hold their names."""
    changed = [folder, folder.parent]
    while not changed[-1].exists() and changed[-1] != changed[-1].parent:
        changed.append(changed[-1].parent)
    folder.mkdir(parents=True, exist_ok=True)
    for path in changed:
        fsync_path(path)


class FileLock:
    """An exclusive lock on a file; the operating system releases it when the process ends, however it ends."""

    def __init__(self, path: Path, *, waits: bool = False) -> None:
        """Lock *path*, which is created if it does not exist.

        Raises BlockingIOError where another process holds the lock, unless *waits*, and OSError where the file system
        has no locks.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def is_at(self, path: Path) -> bool:
        """Return whether the locked file still has the name *path*."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Unlock the file, which stays."""
        os.close(self._descriptor)

    def __enter__(self) -> None:
        """Hold the lock."""

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self.release()


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Raise StoreUnavailable where the disk refuses what is written to the store in *root*: no room, no permission."""
    try:
        yield
    except OSError as error:
        raise write_error(root, error) from error

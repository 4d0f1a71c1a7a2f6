"""Files that are there whole or not at all, whatever happens to the process or the power.

The order is always: write under `tmp/`, flush to the disk, rename into place, flush the folder that holds the name.
What is taken away goes the other way: renamed into `tmp/`, then deleted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vision_recs.errors import StoreError


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the bytes of *path*, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have the disk hold what was written to the file or folder *path*."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_file(made: Path, target: Path) -> None:
    """Move the finished file *made* to *target*, durably and at once."""
    flush(made)
    made.replace(target)
    flush(target.parent)


def publish_bytes(data: bytes, target: Path, tmp: Path) -> None:
    """Write *data* to *target*, durably and at once; *tmp* is a folder on the same file system."""
    made = tmp / target.name
    made.write_bytes(data)
    publish_file(made, target)


def publish_folder(made: Path, target: Path) -> None:
    """Move the finished folder *made* to *target*, durably and at once.

    A folder that is there already is kept: names are given by content, so it holds the same.
    """
    for path in made.iterdir():
        flush(path)
    flush(made)
    if target.exists():
        shutil.rmtree(made)
        return
    made.rename(target)
    flush(target.parent)


def discard(path: Path, tmp: Path) -> None:
    """Take away the file or folder *path* at once, if it is there; *tmp* is a folder on the same file system.

    A folder that is deleted in place is there in part for a while, or for good if the process is killed.
    """
    with tempfile.TemporaryDirectory(dir=tmp) as folder, suppress(FileNotFoundError):
        path.rename(Path(folder) / path.name)


@contextmanager
def written_to(root: Path) -> Iterator[None]:
    """Raise StoreError where the disk refuses what is written to the store in *root*: no room, no permission."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{root} cannot be written ({error.strerror or error}); make room or mend its permissions, then run again"
        ) from error

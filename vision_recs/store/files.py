"""Files that are there whole or not at all, whatever happens to the process or the power.

The order is always: write under `tmp/`, flush to the disk, rename into place, flush the folder that holds the name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path


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

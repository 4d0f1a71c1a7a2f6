"""Promoting a candidate: its store takes the place of another one, which takes its place in turn."""

from __future__ import annotations

import ctypes
import os
from contextlib import ExitStack
from pathlib import Path

from vision_recs.errors import StoreError, StoreNotFound, write_error
from vision_recs.store import Layout
from vision_recs.store.atomic_files import fsync_path
from vision_recs.store.lock import locked_folder

_AT_WORKING_FOLDER = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE


def promote(candidate: str | Path, store: str | Path) -> None:
    """Exchange the folders of two stores, in one step: who opens *store* from now on sees what was in *candidate*.

    What is open stays open. Promoting once more goes back. Raises StoreNotFound, StoreLocked where one of them is being
    written to, and StoreUnavailable.
    """
    one, other = Path(candidate).absolute(), Path(store).absolute()
    if one.resolve() == other.resolve():
        raise StoreError(f"{one} is the store itself; name another one")
    for folder in (one, other):
        if not Layout(folder).current.is_file():
            raise StoreNotFound(f"there is no store in {folder}; name one that `visrec index` has made")
    with ExitStack() as held:
        for folder in sorted((one, other)):
            held.enter_context(locked_folder(Layout(folder)))
        try:
            _exchange(one, other)
            for parent in {one.parent, other.parent}:
                fsync_path(parent)
        except OSError as error:
            raise write_error(other, error) from error


def _exchange(one: Path, other: Path) -> None:
    """Exchange two folders of one file system, so that nobody ever sees one missing; raises OSError."""
    system = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(one), os.fsencode(other))
    if system.renameat2(_AT_WORKING_FOLDER, names[0], _AT_WORKING_FOLDER, names[1], _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))

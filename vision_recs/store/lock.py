"""The folder of a store while one process writes to it: the lock, the folders, and what is left at the end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vision_recs.errors import StoreDamaged, StoreError, StoreLocked
from vision_recs.store.atomic_files import FileLock, atomic_write, disk_errors, fsync_path, make_durable_folder
from vision_recs.store.layout import Layout, current_bytes, read_manifest
from vision_recs.store.verification import generation_problems

_ATTEMPTS = 100
"""How often the lock is tried again when another process removes its new folder at that moment."""

log = logging.getLogger(__name__)


@contextmanager
def locked_folder(layout: Layout) -> Iterator[None]:
    """Hold the lock of the store, and have every folder of it exist.

    A folder that is new is removed at the end, unless a shard or a generation was written. Raises StoreLocked where
    another process holds the lock, StoreError where the folder holds something else or cannot be written.
    """
    with disk_errors(layout.root):
        _refuse_foreign(layout)
        is_new = not layout.root.exists()
        lock = _acquire(layout)
    try:
        with disk_errors(layout.root):
            if layout.tmp.exists():
                shutil.rmtree(layout.tmp)  # of a run that was killed
            if not layout.current.exists():
                fsync_path(layout.root)  # LOCK comes first on the disk, too: a folder without it may be anybody's
            missing = [folder for folder in layout.folders() if not folder.exists()]
            for folder in missing:
                folder.mkdir(exist_ok=True)
            if missing != [layout.tmp] or not layout.current.exists():  # else a generation lies in all that last
                fsync_path(layout.root)
        yield
    finally:
        try:  # while the lock is held: once it is free, the folder may be another process's
            with disk_errors(layout.root):
                _tidy(layout, is_new=is_new)
        finally:
            lock.release()


def restore_current(layout: Layout) -> None:
    """Where CURRENT is missing, publish the newest generation that is whole, if there is one, and log a warning."""
    if layout.current.exists():
        return
    for generation in reversed(layout.known_generations()):
        try:
            manifest = read_manifest(layout, generation)
        except StoreDamaged:
            continue
        if not any(generation_problems(layout, manifest)):
            data = layout.manifest(generation).read_bytes()
            with disk_errors(layout.root):
                atomic_write(current_bytes(generation, data), layout.current, layout.tmp)
            log.warning("%s was missing: going on from generation %d", layout.current, generation)
            return
    if layout.known_generations():
        log.warning("%s was missing, and no generation is whole: starting over", layout.current)


def _acquire(layout: Layout) -> FileLock:
    for _ in range(_ATTEMPTS):
        if not layout.current.exists():  # else the folder was made durable before that file
            make_durable_folder(layout.root)
        with suppress(FileNotFoundError):  # another process, which had made the folder, has just removed it
            try:
                lock = FileLock(layout.lock)
            except BlockingIOError:
                break
            if lock.is_at(layout.lock):
                return lock
            lock.release()  # that process removed LOCK after we had opened it: nobody else would see our lock
    raise StoreLocked(f"another process is writing to {layout.root}; wait until it is done")


def _tidy(layout: Layout, *, is_new: bool) -> None:
    shutil.rmtree(layout.tmp, ignore_errors=True)
    kept = (layout.shards, layout.ledgers, layout.runs)
    is_used = layout.current.exists() or any(folder.is_dir() and any(folder.iterdir()) for folder in kept)
    if is_new and not is_used:
        for path in layout.root.iterdir():
            if path != layout.lock:  # it goes last
                shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            fsync_path(layout.root)
        shutil.rmtree(layout.root, ignore_errors=True)


def _refuse_foreign(layout: Layout) -> None:
    folders = (*layout.folders(), layout.ledgers, layout.runs)
    own = {"CURRENT", "LOCK", layout.suspects.name, *(folder.name for folder in folders)}
    try:
        names = {entry.name for entry in layout.root.iterdir() if not entry.name.startswith(".")}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError(f"{layout.root} is a file; name a folder for the store with --store") from None
    # a folder without CURRENT and LOCK may be somebody's, who has a folder `tmp` too
    foreign = names - own if names & {"CURRENT", "LOCK"} else names
    if foreign:
        raise StoreError(f"{layout.root} is not a store: it holds {min(foreign)!r}; name another folder with --store")

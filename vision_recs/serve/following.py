"""Stores in buckets that are served: a process of its own keeps their copies on this machine up to date.

It is another process since workers are forked from the one that serves, and a client of buckets does not survive that.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep

from vision_recs.errors import StoreError, VisionRecsError
from vision_recs.store.bucket.copies import copy_of, pull, refresh
from vision_recs.store.partitions import Stores

_EVERY_S = 5.0
_PARENT_S = 0.5

log = logging.getLogger(__name__)


@contextmanager
def followed(stores: Stores, configure: Callable[[], None], *, waits: bool = False) -> Iterator[Stores]:
    """Yield *stores* with a copy on this machine in place of each address in a bucket, kept up to date meanwhile.

    *configure* configures the logging of the process that does it. Unless it *waits*, raises StoreError where there is
    no store, or where the bucket is away and nothing was pulled before.
    """
    places = [stores] if isinstance(stores, str | Path) else list(stores)
    addresses = [str(place) for place in places if "://" in str(place)]
    if not addresses:
        yield stores
        return
    copies = {address: copy_of(address) for address in addresses}
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (list(copies.values()), configure, theirs, os.getpid(), _EVERY_S)
    process = context.Process(target=_follow, args=arguments, name="visrec-pull", daemon=True)
    process.start()
    theirs.close()
    try:
        problem = _first_problem(ours)
        if problem is not None and not waits:
            raise StoreError(problem)
        folders = [copies.get(str(place), place) for place in places]
        yield folders[0] if len(folders) == 1 else folders
    finally:
        process.terminate()
        process.join()


def _first_problem(ours: Connection) -> str | None:
    """Return why the stores cannot be served, None once they can."""
    try:
        problem: str | None = ours.recv()
    except EOFError:
        return "the process that pulls the store has ended; see the messages above"
    return problem


def _follow(folders: list[Path], configure: Callable[[], None], ready: Connection, parent: int, every_s: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    configure()
    problem = None
    for folder in folders:
        try:
            refresh(folder)
        except VisionRecsError as error:
            problem = str(error)
    ready.send(problem)
    ready.close()
    said: dict[Path, str] = {}
    while _waited(parent, every_s):
        for folder in folders:
            _pull(folder, said)


def _waited(parent: int, every_s: float) -> bool:
    """Wait *every_s* seconds, until it is time to pull again; return False where the server has ended."""
    until = monotonic() + every_s
    while monotonic() < until:
        if os.getppid() != parent:
            return False
        sleep(_PARENT_S)
    return True


def _pull(folder: Path, said: dict[Path, str]) -> None:
    """Pull the copy in *folder*; say once that it cannot be, and once that it can be again."""
    try:
        report = pull(folder, hurried=True)
    except (StoreError, OSError) as error:
        if folder not in said:
            log.warning("%s; what was pulled before is served", error, extra={"event": "pull_failed"})
        said[folder] = str(error)
        return
    if said.pop(folder, None) is not None:
        log.warning("%s is pulled again", folder, extra={"event": "pulled_again"})
    if report is not None and report.files:
        log.info("pulled generation %d: %d files", report.generation, report.files, extra={"event": "pulled"})

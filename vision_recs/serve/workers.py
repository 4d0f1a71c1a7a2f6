"""The worker processes of a server: how one begins, and what is logged of its end."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import sleep
from typing import TYPE_CHECKING, Final

from vision_recs.errors import VisionRecsError
from vision_recs.serve.connections import guard_connections
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.proxies import TrustedProxies

if TYPE_CHECKING:
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

_ORPHAN_POLL_S: Final = 2.0
_RETRY_S: Final = 0.5
_COLLECT_AFTER: Final = 5_000
"""Objects that are made and kept between two collections; of those that an answer leaves, hardly any is garbage."""
_CAUSES: Final = {
    signal.SIGBUS: "a file of the store was cut while it was read, or the disk fails; run `visrec verify`",
    signal.SIGKILL: "by hand, or by the system for want of memory",
}


@dataclass
class Progress:
    """Whether the server *has_answered* before: then a worker that begins takes the place of one that ended."""

    has_answered: bool = False


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is told: *configure* configures its logging; *parent* is the process id of the supervisor.

    It may have *most_of_client* connections to *port* of one client.
    """

    served: ServeOptions
    configure: Callable[[], None]
    progress: Progress
    parent: int
    port: int
    most_of_client: int


def begin(options: WorkerOptions) -> ASGIApp:
    """Return the application; runs in a new worker."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until granian handles it: a fork has the handler of the supervisor

    options.configure()
    threading.Thread(target=_stop_if_orphaned, args=(options.parent,), daemon=True).start()
    guard_connections(options.port, options.most_of_client, TrustedProxies(options.served.trusted_proxies))
    return _application(options.served, is_replacement=options.progress.has_answered)


def _application(served: ServeOptions, *, is_replacement: bool) -> ASGIApp:
    """Return the application; where the store cannot be opened, a replacement waits until it can.

    Meanwhile others may answer. If it ended, the web server would end them, too.
    """
    from vision_recs.serve.app import create_app

    gc.freeze()  # modules stay as long as the worker: no collection has to look at them
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    said = ""
    while True:
        try:
            return create_app(served)
        except (VisionRecsError, OSError) as error:
            if str(error) != said:
                said = str(error)
                log.error("%s", said, extra={"event": "cannot_open"})  # noqa: TRY400 - a sentence says all
            if not is_replacement:
                sys.exit(1)
        sleep(_RETRY_S)


def _stop_if_orphaned(parent: int) -> None:
    """Stop this worker when its supervisor has ended, even if that was killed."""
    while os.getppid() == parent:
        sleep(_ORPHAN_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def is_right(record: logging.LogRecord, workers: Sequence[BaseProcess]) -> bool:
    """Return whether a log record of granian about a worker is right; one about its end says why from now on.

    It may report that a worker refused to stop, although the worker has just ended: one of its threads has collected
    the exit status, which exists once, and has not passed it on yet.
    """
    killed = re.match(r"Killing worker-(\d+) ", record.getMessage())
    if killed is not None:
        return not wait([workers[int(killed[1]) - 1].sentinel], timeout=0)
    ended = re.fullmatch(r"Unexpected exit from worker-(\d+)", record.getMessage())
    if ended is not None:
        record.msg = f"worker-{ended[1]} ended{_why(workers[int(ended[1]) - 1].exitcode)}; another one takes its place"
    return True


def _why(status: int | None) -> str:
    """Return words about the exit *status* of a process, if it is known."""
    if status is None:
        return ""
    if status >= 0:
        return f" with status {status}"
    number = signal.Signals(-status)
    return f" by {number.name}" + (f" ({_CAUSES[number]})" if number in _CAUSES else "")


@contextmanager
def corrected_log(workers: Callable[[], Sequence[BaseProcess]]) -> Iterator[None]:
    """Have granian log of *workers* what `is_right`."""

    def is_logged(record: logging.LogRecord) -> bool:
        return is_right(record, workers())

    logger = logging.getLogger("_granian")
    logger.addFilter(is_logged)
    try:
        yield
    finally:
        logger.removeFilter(is_logged)

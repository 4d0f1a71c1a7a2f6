"""The processes of a server: one that starts the others and waits, and as many workers as are wished for."""

from __future__ import annotations

import http.client
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import sleep
from typing import TYPE_CHECKING, Any, Final, cast

from vision_recs.errors import RequestError
from vision_recs.serve.options import ServeOptions
from vision_recs.store import Store

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LOOKED_EVERY_S: Final = 0.05
_ORPHAN_S: Final = 2.0
_STOPPED_WITHIN_S: Final = 15
_BACKLOG: Final = 1024
_IN_FLIGHT: Final = 512
"""Requests that a worker reads at a time; more wait in the backlog of the socket."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; *port* 0 stands for any that is free."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        """What a browser is told."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def serve(
    options: ServeOptions,
    address: Address,
    *,
    workers: int = 1,
    configure: Callable[[], None] = lambda: None,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM; then what is being answered is answered, and the workers stop.

    *configure* is called in each worker, to configure logging; *started* with the URL, once there are answers. It has
    to be called in the main thread, and both in a way that a new process can import. Each worker searches with one
    thread, unless OMP_NUM_THREADS says otherwise. Raises StoreError, and RequestError for an address that is taken.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    Store.open(options.store).close()  # a sentence now is better than a worker that ends
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with _reserved(address) as reserved, _shared_figures(workers):
        server = Granian(
            "visrec",
            address=reserved.host,
            port=reserved.port,
            interface=Interfaces.ASGI,
            workers=workers,
            loop=Loops.asyncio,  # uvloop is no faster where granian reads and writes
            http=HTTPModes.http1,  # what a proxy speaks to its backends, and all that a browser speaks without TLS
            http1_settings=HTTP1Settings(header_read_timeout=10_000),
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_IN_FLIGHT,
            respawn_failed_workers=True,
            workers_kill_timeout=_STOPPED_WITHIN_S,
            log_level=LogLevels.warning,
            log_dictconfig=_logging(),
        )
        threading.Thread(target=_announce, args=(reserved, started), daemon=True).start()
        with _filtered(
            lambda record: is_true(record, cast("list[BaseProcess]", [worker.inner for worker in server.wrks]))
        ):
            server.serve(target_loader=partial(_load, options, configure, os.getpid()), wrap_loader=False)


def _load(options: ServeOptions, configure: Callable[[], None], parent: int) -> ASGIApp:
    """Return the application; what a worker does first."""
    from vision_recs.serve.app import create_app

    configure()
    threading.Thread(target=_stop_as_orphan, args=(parent,), daemon=True).start()
    return create_app(options)


def _stop_as_orphan(parent: int) -> None:
    """Stop this worker when the process that started it is gone, however it went."""
    while os.getppid() == parent:
        sleep(_ORPHAN_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(address: Address, started: Callable[[str], None]) -> None:
    """Call *started* once the server answers."""
    while True:
        try:
            with closing(http.client.HTTPConnection(_reachable(address.host), address.port, timeout=5)) as connection:
                connection.request("GET", "/readyz")
                connection.getresponse().read()
        except OSError:
            sleep(_LOOKED_EVERY_S)
        else:
            started(address.url)
            return


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


@contextmanager
def _reserved(address: Address) -> Iterator[Address]:
    """Give *address* with its port, which nobody else gets from now on; raises RequestError where somebody has it.

    The workers each listen by themselves (SO_REUSEPORT), and so could a second server by mistake.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe, socket.socket(family) as holder:
        try:
            if address.port:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may linger
                probe.bind((address.host, address.port))
                probe.close()
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind((address.host, address.port))
        except OSError as error:
            raise RequestError(
                f"{address.host} port {address.port} cannot be listened on ({error.strerror}); use another with --port"
            ) from error
        yield Address(address.host, holder.getsockname()[1])


def is_true(record: logging.LogRecord, workers: Sequence[BaseProcess]) -> bool:
    """Return whether what granian says of a worker is so.

    Of one that has just ended it can say that it refused to: its thread that looks after the worker has learned of
    the end, and nobody can learn of it a second time, but has not told yet.
    """
    said = re.match(r"Killing worker-(\d+) ", record.getMessage())
    return said is None or not wait([workers[int(said[1]) - 1].sentinel], timeout=0)


@contextmanager
def _filtered(is_let_through: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Have granian log only what is let through."""
    logger = logging.getLogger("_granian")
    logger.addFilter(is_let_through)
    try:
        yield
    finally:
        logger.removeFilter(is_let_through)


@contextmanager
def _shared_figures(workers: int) -> Iterator[None]:
    """Have several workers share a folder for their figures, as `metrics` reads it."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    if workers == 1 or name in os.environ:
        yield
        return
    os.environ[name] = tempfile.mkdtemp(prefix="visrec-figures-")
    try:
        yield
    finally:
        shutil.rmtree(os.environ.pop(name), ignore_errors=True)


def _logging() -> dict[str, Any]:
    """Return how granian is to log: what is wrong, and by the handlers that the application has."""
    loggers = {name: {"level": "WARNING", "handlers": [], "propagate": True} for name in ("_granian", "granian.access")}
    return {"loggers": loggers, "handlers": {}, "formatters": {}}

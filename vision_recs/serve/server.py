"""The processes of a server: a supervisor that waits for signals, and its workers, which answer requests."""

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

from vision_recs.errors import AddressUnavailable
from vision_recs.serve.connections import SHARE_OF_CLIENT, allow_connections, guard_connections
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.proxies import TrustedProxies
from vision_recs.store import Store

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_POLL_S: Final = 0.05
_ORPHAN_POLL_S: Final = 2.0
_STOP_TIMEOUT_S: Final = 15
_BACKLOG: Final = 1024
_HEADER_TIMEOUT_MS: Final = 10_000
_MAX_BUFFER: Final = 1 << 17
"""Bytes of a connection that wait to be read; the longest URLs that make sense need half of it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; *port* 0 stands for any free port."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def serve(
    options: ServeOptions,
    address: Address,
    *,
    workers: int = 1,
    configure: Callable[[], None] = lambda: None,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM; then the workers finish the requests that have begun, and stop.

    *configure* is called in each worker, to configure logging; it has to be importable by a new process. *started* is
    called with the URL of the server when it answers. Call `serve` in the main thread. Each worker searches with one
    thread, unless OMP_NUM_THREADS says otherwise. This process may open more files from now on, as many as 8,192
    connections need. Raises StoreError and AddressUnavailable.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    Store.open(options.store).close()  # an error here is better than workers that end
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    connections = allow_connections()
    with _reserve_port(address) as reserved, _shared_metrics_directory(workers):
        server = Granian(
            "visrec",
            address=reserved.host,
            port=reserved.port,
            interface=Interfaces.ASGI,
            workers=workers,
            loop=Loops.asyncio,  # granian reads and writes itself, so that uvloop is not faster
            http=HTTPModes.http1,  # what proxies use for their backends, and browsers without TLS
            http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS, max_buffer_size=_MAX_BUFFER),
            websockets=False,
            backlog=_BACKLOG,
            backpressure=connections,  # further ones wait in the backlog
            respawn_failed_workers=True,
            workers_kill_timeout=_STOP_TIMEOUT_S,
            log_level=LogLevels.warning,
            log_dictconfig=_granian_logging(),
        )
        threading.Thread(target=_announce, args=(reserved, started), daemon=True).start()
        with _log_filter(
            lambda record: is_accurate(record, cast("list[BaseProcess]", [worker.inner for worker in server.wrks]))
        ):
            load = partial(_load, options, configure, os.getpid(), reserved.port, connections // SHARE_OF_CLIENT)
            server.serve(target_loader=load, wrap_loader=False)


def _load(options: ServeOptions, configure: Callable[[], None], parent: int, port: int, most_of_client: int) -> ASGIApp:
    """Return the application; runs in a new worker."""
    from vision_recs.serve.app import create_app

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until granian handles it: a fork has the handler of the supervisor

    configure()
    threading.Thread(target=_stop_if_orphaned, args=(parent,), daemon=True).start()
    guard_connections(port, most_of_client, TrustedProxies(options.trusted_proxies))
    return create_app(options)


def _stop_if_orphaned(parent: int) -> None:
    """Stop this worker when its supervisor has ended, even if that was killed."""
    while os.getppid() == parent:
        sleep(_ORPHAN_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(address: Address, started: Callable[[str], None]) -> None:
    """Call *started* when the server answers."""
    while True:
        try:
            with closing(http.client.HTTPConnection(_reachable(address.host), address.port, timeout=5)) as connection:
                connection.request("GET", "/readyz")
                connection.getresponse().read()
        except OSError:
            sleep(_POLL_S)
        else:
            started(address.url)
            return


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


@contextmanager
def _reserve_port(address: Address) -> Iterator[Address]:
    """Yield *address* with its port, which no other program can take from now on; raises AddressUnavailable.

    Each worker listens on the port itself (SO_REUSEPORT), and without this check a second server could, too.
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
            raise AddressUnavailable(
                f"cannot listen on {address.host} port {address.port} ({error.strerror}); choose another --port",
                host=address.host,
                port=address.port,
            ) from error
        yield Address(address.host, holder.getsockname()[1])


def is_accurate(record: logging.LogRecord, workers: Sequence[BaseProcess]) -> bool:
    """Return whether a log record of granian about a worker is right.

    It may report that a worker refused to stop, although the worker has just ended: one of its threads has collected
    the exit status, which exists once, and has not passed it on yet.
    """
    killed = re.match(r"Killing worker-(\d+) ", record.getMessage())
    return killed is None or not wait([workers[int(killed[1]) - 1].sentinel], timeout=0)


@contextmanager
def _log_filter(is_logged: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Drop the log records of granian for which *is_logged* returns False."""
    logger = logging.getLogger("_granian")
    logger.addFilter(is_logged)
    try:
        yield
    finally:
        logger.removeFilter(is_logged)


@contextmanager
def _shared_metrics_directory(workers: int) -> Iterator[None]:
    """Create the directory through which several workers share their metrics, see `metrics`."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    if workers == 1 or name in os.environ:
        yield
        return
    os.environ[name] = tempfile.mkdtemp(prefix="visrec-metrics-")
    try:
        yield
    finally:
        shutil.rmtree(os.environ.pop(name), ignore_errors=True)


def _granian_logging() -> dict[str, Any]:
    """Return the logging configuration of granian: warnings, through the handlers of this program."""
    loggers = {name: {"level": "WARNING", "handlers": [], "propagate": True} for name in ("_granian", "granian.access")}
    return {"loggers": loggers, "handlers": {}, "formatters": {}}

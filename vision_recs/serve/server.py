"""The supervisor of a server, which waits for signals; its `workers` answer requests."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.process import BaseProcess
from time import sleep
from typing import Any, Final, cast

from vision_recs.errors import AddressUnavailable, StoreError, StoreUnavailable
from vision_recs.serve.connections import SHARE_OF_CLIENT, allow_connections
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.workers import Progress, WorkerOptions, begin, corrected_log
from vision_recs.store.partitions import is_several

_POLL_S: Final = 0.05
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

    require_openable(options)  # an error here is better than workers that end
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    connections = allow_connections()
    with reserve_port(address) as reserved, _shared_metrics_directory(workers):
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
        progress = Progress()
        threading.Thread(target=_announce, args=(reserved, progress, started), daemon=True).start()
        with corrected_log(lambda: cast("list[BaseProcess]", [worker.inner for worker in server.wrks])):
            most = connections // SHARE_OF_CLIENT
            of_worker = WorkerOptions(options, configure, progress, os.getpid(), reserved.port, most)
            server.serve(target_loader=partial(begin, of_worker), wrap_loader=False)


def _announce(address: Address, progress: Progress, started: Callable[[str], None]) -> None:
    """Note in *progress* when the server answers, and call *started*."""
    while True:
        try:
            with closing(http.client.HTTPConnection(_reachable(address.host), address.port, timeout=5)) as connection:
                connection.request("GET", "/readyz")
                connection.getresponse().read()
        except OSError:
            sleep(_POLL_S)
        else:
            progress.has_answered = True
            started(address.url)
            return


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


def require_openable(options: ServeOptions) -> None:
    """Raise StoreError or EngineError where what is to be served cannot be opened, EventsError for a wrong folder."""
    if options.events is not None:
        from vision_recs.feedback.event_log import EventFolder

        with suppress(StoreUnavailable):  # answers go on without events
            EventFolder(options.events).make()
            EventFolder(options.events).read_secret()
    if options.engine is None:
        from vision_recs.serve.store_source import require_open

        require_open(options)
        if options.candidate is not None:
            if is_several(options.candidate):
                raise StoreError(
                    f"the candidate {options.candidate} is in several stores, and could not be promoted; name one store"
                )
            require_open(replace(options, store=options.candidate))
    else:
        from vision_recs.serve.engine_source import require_engine

        if options.candidate is not None:
            raise StoreError(
                f"the candidate {options.candidate} could not be promoted in the place of an engine; leave out "
                "--engine, or unset VISREC_ENGINE"
            )
        require_engine(options.engine)


@contextmanager
def reserve_port(address: Address) -> Iterator[Address]:
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

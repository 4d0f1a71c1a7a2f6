"""Waiting for a store: until there is one, a small server tells orchestrators that this is alive, and not ready."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Final, Self

from vision_recs.errors import EngineError, StoreError
from vision_recs.serve.errors import MEDIA_TYPE
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.server import Address, require_openable, reserve_port

_POLL_S: Final = 1.0


def wait_for_store(options: ServeOptions, address: Address, *, waiting: Callable[[str, Exception], None]) -> Address:
    """Return when what *options* serve can be opened: the address, with the port at which it was waited.

    Until then `/healthz` of *address* has the status 200, and every other path 503 with what is missing. *waiting* is
    called with its URL and the error once, and again whenever it becomes another one. Raises AddressUnavailable.
    """
    error = _missing(options)
    if error is None:
        return address
    with reserve_port(address) as reserved, _Waiting(reserved) as server:
        said = ""
        while error is not None:
            server.detail = str(error)
            if server.detail != said:
                said = server.detail
                waiting(server.url, error)
            sleep(_POLL_S)
            error = _missing(options)
    return reserved


def _missing(options: ServeOptions) -> Exception | None:
    try:
        require_openable(options)
    except (StoreError, EngineError) as error:
        return error
    return None


class _Server(ThreadingHTTPServer):
    allow_reuse_port = True  # the real server listens so, and takes the port over
    daemon_threads = True

    def __init__(self, address: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), handler)


class _Waiting:
    """The server at *url*; *detail* is what it waits for."""

    def __init__(self, address: Address) -> None:
        self.detail = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_alive = self.path.partition("?")[0] == "/healthz"
                problem = {"type": "about:blank", "title": "Not ready", "status": 503, "detail": outer.detail}
                body = json.dumps({"status": "ok"} if is_alive else problem).encode()
                self.send_response(200 if is_alive else 503)
                self.send_header("content-type", "application/json" if is_alive else MEDIA_TYPE)
                self.send_header("content-length", str(len(body)))
                self.send_header("retry-after", "5")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = _Server(address, Handler)
        self.url = address.url

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

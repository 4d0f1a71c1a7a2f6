"""Connections to web servers: kept open, pinned to an address that was checked, with deadlines.

A deadline covers everything from the name to the last byte, however slowly the bytes arrive: a timeout of the socket
alone begins anew with each byte.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final, NamedTuple

from vision_recs.errors import ImageError
from vision_recs.remote.guard import Resolver, time_left

_IDLE_S: Final = 15.0  # servers close what is idle for longer
_CHUNK: Final = 1 << 16
_REST_S: Final = 1.0
_LARGEST_REST: Final = 1 << 16  # of an answer that nobody reads: more costs more than a new connection


class Origin(NamedTuple):
    """The server of an address: "http" or "https", the *host* as in the address, and the *port*."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: *connect_s* for a connection, *idle_s* between bytes, and until *deadline* for all of it."""

    connect_s: float
    idle_s: float
    deadline: float


class _Stream:
    """A socket as `http.client` uses it; each operation ends in time. Its owner closes it by `disconnect`."""

    def __init__(self, stream: socket.socket, patience: Patience) -> None:
        self._stream = stream
        self.patience = patience

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def sendall(self, data: bytes) -> None:
        self._set_timeout()
        self._stream.sendall(data)

    def receive(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer, as `RawIOBase` has it
        self._set_timeout()
        return self._stream.recv_into(buffer)

    def close(self) -> None:
        """Keep the socket open: the response may still be read."""

    def disconnect(self) -> None:
        self._stream.close()

    def _set_timeout(self) -> None:
        self._stream.settimeout(min(self.patience.idle_s, time_left(self.patience.deadline)))


class _Reader(io.RawIOBase):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer, as the parent has it
        return self._stream.receive(buffer)


class _Connection(http.client.HTTPConnection):
    """A connection to one of *addresses*, which were checked, for a host of another name."""

    def __init__(self, origin: Origin, addresses: list[str], tls: ssl.SSLContext | None) -> None:
        super().__init__(origin.host, origin.port)
        if tls is not None:
            self.default_port = http.client.HTTPS_PORT
        self._addresses = addresses
        self._tls = tls
        self.patience = Patience(0.0, 0.0, 0.0)
        self.is_new = True
        self.idle_since = 0.0
        self._stream: _Stream | None = None

    def connect(self) -> None:
        """Connect to the first of the addresses that answers."""
        deadline = min(monotonic() + self.patience.connect_s, self.patience.deadline)
        plain = self._connected(deadline)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                plain.settimeout(time_left(deadline))  # of the whole handshake
                plain = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self._stream = self.sock = _Stream(plain, self.patience)

    def _connected(self, deadline: float) -> socket.socket:
        for number, address in enumerate(self._addresses, 1):
            try:
                left = time_left(deadline) / (len(self._addresses) - number + 1)
                return socket.create_connection((address, self.port), left)
            except OSError:
                if number == len(self._addresses):
                    raise
        raise OSError(0, "the host has no address")

    def wait_until(self, patience: Patience) -> None:
        """Use *patience* for the next request."""
        self.patience = patience
        if self._stream is not None:
            self._stream.patience = patience

    def disconnect(self) -> None:
        """Close the socket."""
        self.close()
        if self._stream is not None:
            self._stream.disconnect()
            self._stream = None


class Answer:
    """The answer to a request: *status*, headers by `header`, and the body, which is read once."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        """Take what `http.client` has read of the answer."""
        self._response = response
        self.status = response.status

    @property
    def has_end(self) -> bool:
        """Whether it can be told that the body ended too early: it has a length or comes in chunks."""
        return self._response.length is not None or bool(self._response.chunked)

    def header(self, name: str) -> str:
        """Return the header *name*, without space around it, or empty text."""
        return (self._response.getheader(name) or "").strip()

    def body(self, max_bytes: int) -> bytes | None:
        """Return the body, or None where it has more than *max_bytes*."""
        announced = self._response.length or 0
        if announced > max_bytes:
            return None
        data = bytearray()
        for part in self.parts():
            data += part
            if len(data) > max_bytes:
                return None
        return bytes(data)

    def parts(self) -> Iterator[bytes]:
        """Yield the body, as it comes."""
        while part := self._response.read1(_CHUNK):
            yield part
        if self._response.length:  # of the announced length, bytes are missing
            raise http.client.IncompleteRead(b"", self._response.length)

    def finish(self) -> bool:
        """Read what is left of a small body, and return whether the connection can be used again."""
        if not self._response.isclosed() and self.body(_LARGEST_REST) is None:
            return False
        return not self._response.will_close


class Connections:
    """Connections that are kept open for the next request to their server; for several threads."""

    def __init__(self, *, allow_private: bool, kept: int) -> None:
        """Connect to public addresses only, unless *allow_private*; keep at most *kept* idle connections a server."""
        self._resolver = Resolver(allow_private=allow_private)
        self._kept = kept
        self._idle: dict[Origin, list[_Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _disconnect, self._idle)
        """Close what is idle, now and not when nobody uses it any more."""

    @contextmanager
    def get(self, origin: Origin, target: str, headers: Mapping[str, str], patience: Patience) -> Iterator[Answer]:
        """Send GET for *target*, a path with its query, and yield the answer.

        Raises ImageError (private-address), OSError (TimeoutError if it takes too long), and HTTPException.
        """
        connection, response = self._respond(origin, target, headers, patience)
        answer = Answer(response)
        is_reusable = False
        try:
            yield answer
            is_reusable = answer.finish()
        except ImageError:  # the answer is refused, and what is left of it may be worth the connection
            connection.wait_until(replace(patience, deadline=min(patience.deadline, monotonic() + _REST_S)))
            with suppress(OSError, http.client.HTTPException):
                is_reusable = answer.finish()
            raise
        finally:
            response.close()
            self._give_back(origin, connection, is_reusable=is_reusable)

    def _respond(
        self, origin: Origin, target: str, headers: Mapping[str, str], patience: Patience
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        while True:
            connection = self._connection(origin, patience)
            try:
                connection.request("GET", target, headers=dict(headers))
                return connection, connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.disconnect()
                if connection.is_new:  # else the server has closed what was idle, which says nothing
                    raise
            except BaseException:
                connection.disconnect()
                raise

    def _connection(self, origin: Origin, patience: Patience) -> _Connection:
        """Return a connection that was kept open, or a new one."""
        with self._lock:
            idle = self._idle[origin]
            while idle:
                connection = idle.pop()
                if monotonic() - connection.idle_since < _IDLE_S:
                    connection.is_new = False
                    connection.wait_until(patience)
                    return connection
                connection.disconnect()
            if origin.scheme == "https" and self._tls is None:
                self._tls = ssl.create_default_context()
        addresses = self._resolver.addresses(origin.host, origin.port, patience.deadline)
        connection = _Connection(origin, addresses, self._tls if origin.scheme == "https" else None)
        connection.wait_until(patience)
        return connection

    def _give_back(self, origin: Origin, connection: _Connection, *, is_reusable: bool) -> None:
        connection.idle_since = monotonic()
        with self._lock:
            if is_reusable and len(self._idle[origin]) < self._kept:
                self._idle[origin].append(connection)
                return
        connection.disconnect()


def _disconnect(idle: dict[Origin, list[_Connection]]) -> None:
    for connections in idle.values():
        while connections:
            connections.pop().disconnect()

"""A load generator: so many connections that each send a request, wait for the answer, and send the next.

Run as a program (`python load.py HOST PORT`) it takes orders on stdin, a line of JSON each, and answers each with a
line. It speaks just enough HTTP/1.1 that it is not what is measured: keep-alive, Content-Length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import deque
from time import perf_counter
from typing import Any

import uvloop

_HEADERS_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection; `ask` sends a request and waits for its answer."""

    def __init__(self) -> None:
        """Begin without anything received."""
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was asked."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        """Give the status once the whole answer is here."""
        self._buffer += data
        end = self._buffer.find(_HEADERS_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) - end - len(_HEADERS_END) < length:
            return
        self._buffer = self._buffer[end + len(_HEADERS_END) + length :]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(int(head[9:12]))

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> int:
        """Send *request* and return the status of the answer."""
        if self._transport is None:
            raise ConnectionResetError("closed by the server")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Load:
    """Connections to one server and what came of their requests."""

    def __init__(self, host: str, port: int, requests: list[bytes]) -> None:
        """Ask *requests*, one after another and from the start again."""
        self._address = host, port
        self._requests = requests
        self._next = 0
        self._free: deque[Connection] = deque()
        self.latencies: list[float] = []
        self.failures: list[str] = []

    async def open(self, connections: int) -> None:
        """Connect so many times."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(Connection, *self._address)
            self._free.append(connection)

    def close(self) -> None:
        """Hang up."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    async def peak(self, seconds: float) -> None:
        """Ask on every connection as fast as it answers, for *seconds*."""
        end = perf_counter() + seconds
        await asyncio.gather(*(self._go_on(connection, end) for connection in list(self._free)))

    async def steady(self, seconds: float, rate: float, *, random_moments: bool) -> None:
        """Ask *rate* times a second, evenly or at random moments (Poisson), for *seconds*.

        A request that finds no free connection waits for one, and its latency counts from when it was due.
        """
        draw = random.Random(0)  # noqa: S311 - moments, no secrets
        tasks: set[asyncio.Task[None]] = set()
        began = perf_counter()
        due = began
        waiting: deque[asyncio.Future[None]] = deque()
        while due < began + seconds:
            pause = due - perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self._when_free(due, waiting))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += draw.expovariate(rate) if random_moments else 1 / rate
        while tasks:
            await asyncio.gather(*tasks)

    async def _when_free(self, due: float, waiting: deque[asyncio.Future[None]]) -> None:
        while not self._free:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
        connection = self._free.popleft()
        await self._ask(connection, due)
        self._free.append(connection)
        if waiting:
            waiting.popleft().set_result(None)

    async def _go_on(self, connection: Connection, end: float) -> None:
        while (now := perf_counter()) < end and connection.is_open:
            await self._ask(connection, now)

    async def _ask(self, connection: Connection, since: float) -> None:
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        try:
            status = await connection.ask(request)
        except (OSError, ValueError) as error:
            self.failures.append(repr(error))
            return
        self.latencies.append(perf_counter() - since)
        if status != 200:  # noqa: PLR2004
            self.failures.append(str(status))


def get(path: str, host: str = "127.0.0.1") -> bytes:
    """Return the bytes of a GET of *path*."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


async def carry_out(host: str, port: int, order: dict[str, Any]) -> dict[str, Any]:
    """Do what *order* says and return the figures."""
    load = Load(host, port, [get(path) for path in order["paths"]])
    await load.open(order["connections"])
    began = perf_counter()
    if "rate" in order:
        await load.steady(order["seconds"], order["rate"], random_moments=order["random_moments"])
    else:
        await load.peak(order["seconds"])
    seconds = perf_counter() - began
    load.close()
    times = sorted(load.latencies)
    return {
        "answers": len(times),
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": _percentile(times, 0.5),
        "p99_ms": _percentile(times, 0.99),
        "failures": len(load.failures),
        "first_failures": load.failures[:3],
    }


def _percentile(ascending: list[float], share: float) -> float | None:
    return round(1e3 * ascending[min(len(ascending) - 1, int(share * len(ascending)))], 3) if ascending else None


def main() -> None:
    """Take orders until there are no more."""
    host, port = sys.argv[1], int(sys.argv[2])
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            print(json.dumps(uvloop.run(carry_out(host, port, json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()

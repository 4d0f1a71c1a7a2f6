"""A load generator: each of its connections sends a request, waits for the response, and sends the next one.

Run as a program (`python load.py HOST PORT`) it reads orders from stdin, one line of JSON each, and prints the result
of each as one line. It implements as little of HTTP/1.1 as it needs (keep-alive, Content-Length), so that it is not
what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import deque
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

_HEADERS_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection; `request` sends a request and waits for its response."""

    def __init__(self) -> None:
        """Begin without anything received."""
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._response: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        self._transport = None
        if self._response is not None and not self._response.done():
            self._response.set_exception(exc or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        """Set the status when the whole response has arrived."""
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
        if self._response is not None and not self._response.done():
            self._response.set_result(int(head[9:12]))

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, data: bytes) -> int:
        """Send a request and return the status of its response."""
        if self._transport is None:
            raise ConnectionResetError("closed by the server")
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._response

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class Load:
    """Connections to one server, and the results of their requests."""

    def __init__(self, host: str, port: int, requests: list[bytes], kinds: list[str]) -> None:
        """Send *requests*, one after another, and again from the start; each is of the kind at its place in *kinds*."""
        self._address = host, port
        self._requests = requests
        self._kinds = kinds
        self.latencies_of: dict[str, list[float]] = {kind: [] for kind in kinds}
        self._next = 0
        self._free: deque[Connection] = deque()
        self.latencies: list[float] = []
        self.failures: list[str] = []

    async def open(self, connections: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(Connection, *self._address)
            self._free.append(connection)

    def close(self) -> None:
        """Close the connection."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    async def peak(self, seconds: float) -> None:
        """Send requests on every connection, as fast as the server responds, for *seconds*."""
        end = perf_counter() + seconds
        await asyncio.gather(*(self._go_on(connection, end) for connection in list(self._free)))

    async def steady(self, seconds: float, rate: float, *, random_moments: bool) -> None:
        """Send *rate* requests a second, evenly or at random moments (Poisson), for *seconds*.

        A request that finds no free connection waits for one, and its latency counts from when it was due.
        """
        draw = random.Random(0)  # noqa: S311 - moments, not secrets
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
        await self._send(connection, due)
        self._free.append(connection)
        if waiting:
            waiting.popleft().set_result(None)

    async def _go_on(self, connection: Connection, end: float) -> None:
        while (now := perf_counter()) < end and connection.is_open:
            await self._send(connection, now)

    async def _send(self, connection: Connection, since: float) -> None:
        number = self._next % len(self._requests)
        request = self._requests[number]
        self._next += 1
        try:
            status = await connection.request(request)
        except (OSError, ValueError) as error:
            self.failures.append(repr(error))
            return
        self.latencies.append(perf_counter() - since)
        if self._kinds:
            self.latencies_of[self._kinds[number]].append(self.latencies[-1])
        if status != 200:  # noqa: PLR2004
            self.failures.append(str(status))


def get(path: str, host: str = "127.0.0.1") -> bytes:
    """Return the bytes of a GET request for *path*."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


def post(path: str, file: str, host: str = "127.0.0.1") -> bytes:
    """Return the bytes of a POST request with the image in *file*."""
    body = Path(file).read_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def run_load(host: str, port: int, order: dict[str, Any]) -> dict[str, Any]:
    """Run the load that *order* describes, and return the results."""
    files = order.get("files", [None] * len(order["paths"]))
    requests = [post(path, file) if file else get(path) for path, file in zip(order["paths"], files, strict=True)]
    load = Load(host, port, requests, order.get("kinds", []))
    await load.open(order["connections"])
    began = perf_counter()
    if "rate" in order:
        await load.steady(order["seconds"], order["rate"], random_moments=order["random_moments"])
    else:
        await load.peak(order["seconds"])
    seconds = perf_counter() - began
    load.close()
    times = sorted(load.latencies)
    kinds = {kind: sorted(each) for kind, each in load.latencies_of.items()}
    return {
        "answers": len(times),
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": _percentile(times, 0.5),
        "p99_ms": _percentile(times, 0.99),
        "failures": len(load.failures),
        "first_failures": load.failures[:3],
        **{kind: {"p50_ms": _percentile(each, 0.5), "p99_ms": _percentile(each, 0.99)} for kind, each in kinds.items()},
    }


def _percentile(ascending: list[float], share: float) -> float | None:
    return round(1e3 * ascending[min(len(ascending) - 1, int(share * len(ascending)))], 3) if ascending else None


def main() -> None:
    """Read orders until the end of stdin."""
    host, port = sys.argv[1], int(sys.argv[2])
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            print(json.dumps(uvloop.run(run_load(host, port, json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()

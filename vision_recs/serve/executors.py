"""Lanes: a thread for one kind of work each, with a bounded queue, so that one kind cannot hold up another.

Work is done off the event loop. One thread a lane is enough: a worker process is meant to use one core.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, Protocol, TypeVar

from vision_recs.errors import RequestError

P = ParamSpec("P")
R = TypeVar("R")


class Held(Protocol):
    """What must stay open as long as work with it waits or runs."""

    def hold(self) -> None:
        """Keep it open."""
        ...

    def release(self) -> None:
        """Let go of it; from any thread."""
        ...


class Lane:
    """Runs functions one after another; at most so many of them wait or run, and none is waited for too long."""

    def __init__(self, name: str, *, most: int, timeout_s: float) -> None:
        """Take *most* functions at a time, each of which is waited for *timeout_s* at most."""
        self.name = name
        self.waiting = 0
        self._most = most
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"visrec-{name}")

    async def run(self, held: Held, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what *function* returns, and hold *held* until it has ended, even where nobody waits for it.

        Raises RequestError 503 where too many wait, or where it takes too long.
        """
        self._enter(held)
        work = self._pool.submit(function, *args, **kwargs)
        work.add_done_callback(lambda _: self._leave(held))
        async with self._patience():
            return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Let what runs end, and forget what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _enter(self, held: Held) -> None:
        with self._lock:
            if self.waiting >= self._most:
                raise RequestError(
                    f"{self.waiting} requests wait for {self.name} already; try again in a second",
                    status=503,
                    retry_after_s=1,
                )
            self.waiting += 1
        held.hold()

    def _leave(self, held: Held) -> None:
        held.release()
        with self._lock:
            self.waiting -= 1

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """Give up after a while; raises RequestError 503."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError:
            raise RequestError(
                f"{self.name} gave no answer within {self._timeout_s:g} s; ask for less, or try again later",
                status=503,
                retry_after_s=5,
            ) from None

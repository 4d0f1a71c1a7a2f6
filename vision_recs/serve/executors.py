"""Executors: threads and one bounded queue for each kind of work, so that no kind of work can block another.

`BoundedExecutor` runs one function after another, off the event loop. One thread is enough for what computes: a worker
process is meant to use one core. `BatchingExecutor` puts the queries that wait on such an executor into batches
(micro-batching), since the index needs less time for a batch than for its queries one by one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

from vision_recs.errors import RequestError

P = ParamSpec("P")
R = TypeVar("R")

_MAX_BATCH = 16
"""Queries in a batch: a larger batch makes its first queries wait for longer than it saves."""


class Resource(Protocol):
    """What must stay open as long as work that needs it waits or runs; it counts its references."""

    def acquire(self) -> None:
        """Add a reference."""
        ...

    def release(self) -> None:
        """Remove a reference; may be called from any thread."""
        ...


class BoundedExecutor:
    """Runs functions one after another on its own threads, with a bound on how many are pending and on how long.

    *pending* is the number of functions that wait or run.
    """

    def __init__(self, name: str, *, max_pending: int, timeout_s: float, threads: int = 1) -> None:
        """Start without work; *name* appears in metrics and messages.

        More *threads* than one are for functions that mostly wait.
        """
        self.name = name
        self.pending = 0
        self._max_pending = max_pending
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"visrec-{name}")

    async def run(self, resource: Resource, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what *function* returns.

        *resource* stays acquired until *function* has ended, even after the time limit. Raises RequestError 503 if too
        many functions are pending or if *function* takes too long.
        """
        self.admit(resource)
        future = self.submit(function, *args, **kwargs)
        future.add_done_callback(lambda _: self.discharge(resource))
        try:
            async with self.time_limit():
                return await asyncio.wrap_future(future)
        finally:
            del future  # its error has this frame in its traceback, and would keep *resource* for the cycle collector

    def admit(self, resource: Resource) -> None:
        """Count one more pending function and acquire *resource*; raises RequestError 503 if there are too many."""
        with self._lock:
            if self.pending >= self._max_pending:
                raise RequestError(
                    f"{self.pending} requests are already waiting for {self.name}; try again in a second",
                    status=503,
                    retry_after_s=1,
                )
            self.pending += 1
        resource.acquire()

    def discharge(self, resource: Resource) -> None:
        """Undo `admit`, when the work has ended; may be called from any thread."""
        resource.release()
        with self._lock:
            self.pending -= 1

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue *function*, which was admitted, for the thread."""
        return self._pool.submit(function, *args, **kwargs)

    @asynccontextmanager
    async def time_limit(self) -> AsyncIterator[None]:
        """Limit the time that is spent inside the block; raises RequestError 503."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError:
            raise self._too_slow() from None

    def expire(self, answer: asyncio.Future[R]) -> asyncio.TimerHandle:
        """Limit the time until *answer* is set, as `time_limit` does, which costs a request five times as much.

        Return what is to be cancelled when nobody waits any more.
        """
        return answer.get_loop().call_later(self._timeout_s, self._fail, answer)

    def _fail(self, answer: asyncio.Future[R]) -> None:
        if not answer.done():
            answer.set_exception(self._too_slow())

    def _too_slow(self) -> RequestError:
        return RequestError(
            f"{self.name} took longer than {self._timeout_s:g} s; ask for less, or try again later",
            status=503,
            retry_after_s=5,
        )

    def close(self) -> None:
        """Drop the functions that wait; the one that runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


Shared = TypeVar("Shared", bound=Resource)
Query = TypeVar("Query")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Pending(Generic[Shared, Query, Answer]):
    """A *query* to *resource* that waits, and the future of its *answer*, or None where nobody waits any more."""

    resource: Shared
    query: Query
    answer: asyncio.Future[Answer] | None

    def awaited(self) -> asyncio.Future[Answer] | None:
        """Return the future of the answer if there is none yet and somebody waits for it."""
        answer = self.answer
        return None if answer is None or answer.done() else answer


class BatchingExecutor(Generic[Shared, Query, Answer]):
    """Answers queries in batches on the thread of a `BoundedExecutor`, between the functions that run there.

    No query waits for a batch to fill up: a batch holds the queries that arrived while the thread was busy.
    """

    def __init__(
        self,
        executor: BoundedExecutor,
        answer_batch: Callable[[Shared, Sequence[Query]], Sequence[Answer | Exception]],
    ) -> None:
        """Answer the queries to one resource by *answer_batch*; an answer that is an exception is raised."""
        self._executor = executor
        self._answer_batch = answer_batch
        self._waiting: deque[_Pending[Shared, Query, Answer]] = deque()
        self._is_scheduled = False

    async def run(self, resource: Shared, query: Query) -> Answer:
        """Return the answer of *resource* to *query*; raises its error, and RequestError as `BoundedExecutor.run`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        pending = _Pending(resource, query, answer)
        self._executor.admit(resource)
        self._waiting.append(pending)
        self._schedule(loop)
        timer = self._executor.expire(answer)
        try:
            return await answer
        finally:
            timer.cancel()
            pending.answer = None  # its error has frames in its traceback that lead here: a cycle with *resource*
            del answer

    def close(self) -> None:
        """Drop the queries that wait, and close the executor."""
        self._executor.close()
        while self._waiting:
            self._executor.discharge(self._waiting.popleft().resource)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Queue the next batch, if queries wait and no batch is queued; runs on the event loop."""
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            self._executor.submit(self._run_batch, loop)

    def _run_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer the queries that have waited longest; runs on the thread of the executor."""
        batch: list[_Pending[Shared, Query, Answer]] = []
        with suppress(IndexError):  # no more queries wait, or the executor was closed
            batch.append(self._waiting.popleft())
            while len(batch) < _MAX_BATCH and self._waiting[0].resource is batch[0].resource:
                batch.append(self._waiting.popleft())
        awaited = [pending for pending in batch if pending.awaited()]  # the others ran out of time
        # no variable holds the answers: this frame is in the traceback of an error among them, and that were a cycle
        loop.call_soon_threadsafe(self._deliver, loop, batch, awaited, self._answers(awaited))

    def _answers(self, batch: Sequence[_Pending[Shared, Query, Answer]]) -> Sequence[Answer | Exception]:
        if not batch:
            return []
        try:
            return _without_cycles(self._answer_batch(batch[0].resource, [pending.query for pending in batch]))
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            if len(batch) == 1:
                return [error]
            return [self._answers([pending])[0] for pending in batch]  # one of the queries is the cause

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Pending[Shared, Query, Answer]],
        awaited: Sequence[_Pending[Shared, Query, Answer]],
        answers: Sequence[Answer | Exception],
    ) -> None:
        """Set the futures of a batch and queue the next batch; runs on the event loop."""
        self._is_scheduled = False
        self._schedule(loop)
        for pending in batch:
            self._executor.discharge(pending.resource)
        for pending, answer in zip(awaited, answers, strict=True):
            future = pending.awaited()
            if future is None:
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _without_cycles(answers: Sequence[Answer | Exception]) -> Sequence[Answer | Exception]:
    """Return *answers*; frames in the traceback of an error hold the list that it is in, and with it the resource."""
    for answer in answers:
        if isinstance(answer, Exception):
            answer.__traceback__ = None
    return answers

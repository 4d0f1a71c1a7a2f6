"""Work of a pool in the order of its input, with a bound on the results that wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def ordered_map(
    pool: Executor, function: Callable[[Thing], Result], things: Iterable[Thing], *, window: int
) -> Iterator[Result]:
    """Yield `function(thing)` for each of *things*, in order, while *pool* works on up to *window* of the next ones.

    *things* is consumed in the calling thread. An exception of *function* is raised where its result was due; whatever
    has not begun then is cancelled.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for thing in things:
            pending.append(pool.submit(function, thing))
            if len(pending) > window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()

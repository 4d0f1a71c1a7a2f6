"""A lane on which queries that wait are answered together: the index takes less time for them than one by one.

Nobody waits for others to come: whoever's turn it is takes along what has gathered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from vision_recs.serve.executors import Held, Lane

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Place = TypeVar("Place", bound=Held)

_TOGETHER = 16
"""Queries: more make the first ones wait for longer than they save."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Place, Asked, Answer]):
    """A query to what is *held*, and who waits for its answer."""

    held: Place
    asked: Asked
    answer: asyncio.Future[Answer]


class GatheringLane(Lane, Generic[Place, Asked, Answer]):
    """Runs functions one after another, and answers queries several at a time in between."""

    def __init__(
        self,
        name: str,
        answer_all: Callable[[Place, Sequence[Asked]], Sequence[Answer | Exception]],
        *,
        most: int,
        timeout_s: float,
    ) -> None:
        """Answer queries to the same place by *answer_all*; an answer that is an exception is raised."""
        super().__init__(name, most=most, timeout_s=timeout_s)
        self._answer_all = answer_all
        self._gathered: deque[_Waiting[Place, Asked, Answer]] = deque()
        self._is_due = False

    async def ask(self, held: Place, asked: Asked) -> Answer:
        """Return the answer to what is *asked* of *held*, which is held until then; raises as `run` does, and it."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(held, asked, loop.create_future())
        self._enter(held)
        self._gathered.append(waiting)
        self._take_turn(loop)
        async with self._patience():
            answer: Answer = await waiting.answer
        return answer

    def close(self) -> None:
        """Let what runs end, and forget what waits."""
        super().close()
        while self._gathered:
            self._leave(self._gathered.popleft().held)

    def _take_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the next queries answered when the lane is free; on the event loop."""
        if self._gathered and not self._is_due:
            self._is_due = True
            self._pool.submit(self._answer_next, loop)

    def _answer_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer the queries that have waited longest; on the thread of the lane."""
        together: list[_Waiting[Place, Asked, Answer]] = []
        with suppress(IndexError):  # nobody else waits, or the lane was closed
            together.append(self._gathered.popleft())
            while len(together) < _TOGETHER and self._gathered[0].held is together[0].held:
                together.append(self._gathered.popleft())
        wanted = [waiting for waiting in together if not waiting.answer.done()]  # the others' time has run out
        outcomes = self._outcomes(wanted)
        loop.call_soon_threadsafe(self._hand_out, loop, together, wanted, outcomes)

    def _outcomes(self, wanted: Sequence[_Waiting[Place, Asked, Answer]]) -> Sequence[Answer | Exception]:
        if not wanted:
            return []
        try:
            return self._answer_all(wanted[0].held, [waiting.asked for waiting in wanted])
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            if len(wanted) == 1:
                return [error]
            return [self._outcomes([waiting])[0] for waiting in wanted]  # it is the fault of one of them

    def _hand_out(
        self,
        loop: asyncio.AbstractEventLoop,
        together: Sequence[_Waiting[Place, Asked, Answer]],
        wanted: Sequence[_Waiting[Place, Asked, Answer]],
        outcomes: Sequence[Answer | Exception],
    ) -> None:
        self._is_due = False
        self._take_turn(loop)
        for waiting in together:
            self._leave(waiting.held)
        for waiting, outcome in zip(wanted, outcomes, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(outcome, Exception):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)

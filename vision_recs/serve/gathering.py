"""Queries that wait for the same lane are answered together: the index takes less time for them than one by one.

Nobody waits for others to come. The first to have its turn answers what has gathered meanwhile, and those find their
answers there when theirs comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from vision_recs.recommend import Policy, Query, Recommender
from vision_recs.serve import asking
from vision_recs.serve.messages import QueryBody, Similar

_TOGETHER = 16
"""Queries: more make the first ones wait for longer than they save."""


@dataclass(slots=True, eq=False)
class Asked:
    """A query that waits for its answer, or for the error that it is answered with."""

    body: QueryBody
    outcome: Similar | Exception | None = None


class Gathered:
    """Queries to one generation: they come on the event loop, and are answered on the thread of a lane."""

    def __init__(self, recommender: Recommender) -> None:
        """Answer by *recommender*."""
        self._recommender = recommender
        self._waiting: deque[Asked] = deque()

    @contextmanager
    def waiting(self, body: QueryBody) -> Iterator[Asked]:
        """Let *body* wait as long as somebody wants its answer."""
        asked = Asked(body)
        self._waiting.append(asked)
        try:
            yield asked
        finally:
            if asked.outcome is None:
                with suppress(ValueError):  # its turn has come, and nobody takes the answer
                    self._waiting.remove(asked)

    def answer(self, asked: Asked, policy: Policy) -> Similar:
        """Return the answer to *asked* under *policy*, the server's own, or raise the error that it comes to."""
        if asked.outcome is None:
            together = [asked, *self._others(asked)]
            try:
                self._answer_all(together, policy)
            except Exception:
                if len(together) == 1:
                    raise
                self._answer_all([asked], policy)  # the fault of another one, whose turn comes
        if isinstance(asked.outcome, Similar):
            return asked.outcome
        assert asked.outcome is not None
        raise asked.outcome

    def _others(self, asked: Asked) -> Iterator[Asked]:
        """Take those that have waited longest out of the queue, *asked* too."""
        taken = 1
        while taken < _TOGETHER and self._waiting:
            try:
                other = self._waiting.popleft()
            except IndexError:  # nobody wants that one any more
                return
            if other is not asked:
                taken += 1
                yield other

    def _answer_all(self, together: Sequence[Asked], policy: Policy) -> None:
        understood: list[tuple[Asked, Query, Policy]] = []
        for asked in together:
            try:
                understood.append((asked, asking.query_of(asked.body), asking.policy_of(asked.body.policy, policy)))
            except Exception as error:  # noqa: BLE001 - it is that query's, and raised there
                asked.outcome = error
        found = self._recommender.answer_all([(query, own) for _, query, own in understood])
        for (asked, query, _), matches in zip(understood, found, strict=True):
            try:
                asked.outcome = (
                    asking.answer_of(self._recommender, query, matches) if isinstance(matches, list) else matches
                )
            except Exception as error:  # noqa: BLE001 - likewise
                asked.outcome = error

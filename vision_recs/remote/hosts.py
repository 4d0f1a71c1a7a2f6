"""How much is asked of one host, and when: a few requests at a time, at a pace, with pauses where the host needs them.

A host that asks for a pause (429, Retry-After) gets it from all requests, and a slower pace after it. So does a host
that fails again and again, whatever is asked: its pauses double until it answers.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from vision_recs.errors import ImageError
from vision_recs.remote.options import RemoteOptions

_FAILED_IMAGES = 5  # in a row: then it is the host that fails
_FIRST_REST = 8  # times the first pause of one image
_SLOWEST = 0.05  # requests a second
_RECOVERY = 1.02  # of the pace, with each answer
_LONGEST_REST_S = 86_400.0
_TOLD_FROM_S = 5.0

log = logging.getLogger(__name__)


class HostAway(ImageError):
    """The host wants a longer pause than a run allows, so that it is not asked at all."""


class Host:
    """What is known of one host; for several threads.

    *asked_to_wait* counts the pauses that the host asked for, and *rested_s* sums all its pauses up.
    """

    def __init__(
        self,
        name: str,
        options: RemoteOptions,
        *,
        wait: Callable[[float], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Begin at the pace of *options*; *wait* waits some seconds, which *clock* counts."""
        self.name = name
        self.asked_to_wait = 0
        self.rested_s = 0.0
        self._options = options
        self._wait = wait
        self._clock = clock
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(options.per_host)
        self._full_pace = self._pace = options.pace
        self._next_at = 0.0
        self._rest_from = self._rest_until = float("-inf")
        self._failed = self._rests = 0
        self._last = ImageError("refused", f"{name} does not answer")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until one more request may begin; it ends with the block.

        Raises HostAway where the host wants a longer pause than the options allow.
        """
        with self._places:
            while (delay := self._delay()) > 0:
                self._wait(delay)
            yield

    def _delay(self) -> float:
        """Return how long to wait until it is to be asked again, or 0 where the turn has come."""
        with self._lock:
            now = self._clock()
            rest = self._rest_until - now
            if rest > self._options.max_rest_s:
                raise HostAway(self._last.reason, f"{self._last} (the host is not asked for {rest:.0f} s)")
            delay = max(rest, self._next_at - now)
            if delay <= 0:
                self._next_at = now + 1 / self._pace
            return delay

    def slow_down(self, pace: float) -> None:
        """Begin at most *pace* requests a second from now on."""
        with self._lock:
            self._full_pace = min(self._full_pace, max(pace, _SLOWEST))
            self._pace = min(self._pace, self._full_pace)

    def answered(self) -> None:
        """Note that the host answered as it should."""
        with self._lock:
            self._failed = self._rests = 0
            self._pace = min(self._pace * _RECOVERY, self._full_pace)

    def asked_for_rest(self, seconds: float, began: float, why: ImageError) -> None:
        """Let the host rest for *seconds*: so it answered a request that *began* at a time of the clock."""
        with self._lock:
            self._last = why
            if began >= self._rest_from:  # else it is an answer from before the pause
                self.asked_to_wait += 1
                self._pace = max(self._pace / 2, _SLOWEST)
            self._rest(seconds)

    def failed(self, began: float, why: ImageError) -> None:
        """Note that a request that *began* then failed as requests fail where a host is away or overloaded."""
        with self._lock:
            self._last = why
            if began < self._rest_from:
                return
            self._failed += 1
            if self._failed >= _FAILED_IMAGES * self._options.tries:
                self._rest(self._options.backoff_s * _FIRST_REST * 2**self._rests * random.uniform(0.75, 1.25))  # noqa: S311
                self._rests += 1

    def _rest(self, seconds: float) -> None:
        now = self._clock()
        seconds = min(seconds, _LONGEST_REST_S)
        until = now + seconds
        if until > self._rest_until:
            self.rested_s += until - max(self._rest_until, now)
            self._rest_from, self._rest_until = now, until
            if seconds >= _TOLD_FROM_S:
                log.warning("%s rests for %.0f s (%s)", self.name, seconds, self._last.reason)


class Hosts:
    """All hosts that were asked, each with its own pace; for several threads."""

    def __init__(self, options: RemoteOptions, wait: Callable[[float], None]) -> None:
        """Use *options* for each; *wait* waits some seconds."""
        self._options = options
        self._wait = wait
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Host:
        """Return the host *name*."""
        with self._lock:
            if name not in self._hosts:
                self._hosts[name] = Host(name, self._options, wait=self._wait)
            return self._hosts[name]

    def notes(self) -> list[str]:
        """Return a sentence for each host that needed pauses."""
        with self._lock:
            return [
                f"{host.name} rested for {host.rested_s:,.0f} s in all; it asked for that {host.asked_to_wait:,} times"
                for host in self._hosts.values()
                if host.rested_s >= _TOLD_FROM_S
            ]

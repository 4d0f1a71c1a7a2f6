"""What the robots.txt of a server allows (RFC 9309)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from time import monotonic
from typing import Final

from protego import Protego

from vision_recs.remote.connection import Origin

NAME: Final = "visrec"
"""The name by which robots.txt may speak of visrec."""

_KEPT_S: Final = 86_400.0


class Robots:
    """The rules of all servers that were asked; for several threads."""

    def __init__(self, read: Callable[[Origin], str]) -> None:
        """Get the text of a robots.txt by *read*, which returns nothing where there is none, and may raise."""
        self._read = read
        self._rules: dict[Origin, tuple[float, Protego]] = {}
        self._locks: defaultdict[Origin, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def allow(self, origin: Origin, target: str) -> bool:
        """Whether the server *origin* allows visrec to get *target*, a path with its query."""
        return self._of(origin).can_fetch(f"{origin.scheme}://{origin.host}{target}", NAME)

    def pause(self, origin: Origin) -> float | None:
        """Return how many seconds the server wants between two requests, None where it does not say."""
        return self._of(origin).crawl_delay(NAME)

    def _of(self, origin: Origin) -> Protego:
        with self._lock:
            lock = self._locks[origin]
        with lock:  # it is read once, however many images wait for it
            until, rules = self._rules.get(origin, (0.0, None))
            if rules is None or monotonic() > until:
                rules = Protego.parse(self._read(origin))
                self._rules[origin] = monotonic() + _KEPT_S, rules
            return rules

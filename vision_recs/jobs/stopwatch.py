"""How long a stage is at work, whichever threads do it."""

from __future__ import annotations

import threading
from time import perf_counter
from types import TracebackType


class Stopwatch:
    """Adds up the time during which at least one thread is inside `with`; *seconds* is what it shows."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0

    def __enter__(self) -> None:
        """Begin, unless another thread has begun."""
        with self._lock:
            if not self._inside:
                self._since = perf_counter()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, unless another thread goes on."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self.seconds += perf_counter() - self._since

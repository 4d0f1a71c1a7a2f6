"""References that are counted: what is open closes when nobody uses it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable


class References:
    """Counts who uses something that is open, beginning with its owner, and closes it with the last one."""

    def __init__(self, close: Callable[[], None]) -> None:
        """Call *close* when the last reference is released."""
        self._close = close
        self._count = 1
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Add a reference."""
        with self._lock:
            self._count += 1

    def release(self) -> None:
        """Remove a reference, from any thread."""
        with self._lock:
            self._count -= 1
            is_last = self._count == 0
        if is_last:
            self._close()

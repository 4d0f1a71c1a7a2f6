"""What was worked out for a filter, kept for the next query with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Fact = TypeVar("Fact")

_KEPT = 8  # filters


class Recent(Generic[Fact]):
    """Keeps what was made of the last masks; a mask is known by being the same object. Safe to use from threads."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: dict[int, tuple[NDArray[np.bool_], Fact]] = {}
        self._lock = threading.Lock()

    def of(self, mask: NDArray[np.bool_], make: Callable[[NDArray[np.bool_]], Fact]) -> Fact:
        """Return what *make* makes of *mask*, which must not change."""
        known = self._kept.get(id(mask))
        if known is None:
            known = mask, make(mask)  # the mask is kept with it, so that no other one gets its id
            with self._lock:
                while len(self._kept) >= _KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[id(mask)] = known
        return known[1]

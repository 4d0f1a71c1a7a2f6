"""What answers to the queries of late are chosen from: popular items are asked for again and again.

An answer explores, and each has its own id, but what it is chosen from is the same for everybody as long as the
generation is served.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from vision_recs.recommend.offers import Choice

_MOST = 2_000  # of a pool of 40 candidates each: some 40 MB


class Choices:
    """The choices of a generation, by what names the query and its policy; several threads may use it at once."""

    def __init__(self, *, most: int = _MOST) -> None:
        """Begin with none; keep *most* of them, those that were asked for last."""
        self._most = most
        self._kept: OrderedDict[tuple[str, bool], Choice] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, bool]) -> Choice | None:
        """Return the choice that is kept under *key*, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: tuple[str, bool], choice: Choice) -> None:
        """Keep *choice* under *key*."""
        with self._lock:
            self._kept[key] = choice
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

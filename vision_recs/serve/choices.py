"""What answers to the queries of late are chosen from: popular items are asked for again and again.

An answer explores, and each has its own id, but what it is chosen from is the same for everybody as long as the
generation is served.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, NamedTuple, Protocol, TypeVar

from vision_recs.feedback.exploration import Slate

_MOST = 80_000  # candidates, some 55 MB: those of 2,000 answers of ten items


class Key(NamedTuple):
    """What names a choice: the *query* with its policy, or a digest of them, and whether the answer *is_learned*."""

    query: bytes
    is_learned: bool


class HasSlate(Protocol):
    """What answers are made from."""

    @property
    def slate(self) -> Slate:
        """The candidates."""
        ...


Chosen = TypeVar("Chosen", bound=HasSlate)


class Choices(Generic[Chosen]):
    """The choices of a generation; several threads may use it at once."""

    def __init__(self, *, most: int = _MOST) -> None:
        """Begin with none; keep those that were asked for last, *most* candidates together."""
        self._left = most
        self._kept: OrderedDict[Key, Chosen] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Chosen | None:
        """Return the choice that is kept under *key*, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: Key, choice: Chosen) -> None:
        """Keep *choice* under *key*."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = choice
            self._left -= _size(choice) - (0 if before is None else _size(before))
            while self._left < 0:
                self._left += _size(self._kept.popitem(last=False)[1])


def _size(choice: HasSlate) -> int:
    """Return how many candidates *choice* is as large as; one without any takes room, too."""
    return 1 + len(choice.slate.ranked) + len(choice.slate.outside)

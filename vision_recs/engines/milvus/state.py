"""What is kept of a collection: its serials, and when they were given up; and how long a reader may use one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import time

from vision_recs.engines.milvus.rows import BORN, DIED
from vision_recs.errors import EngineDamaged

_READ_FOR_S = 3600.0
"""How long the records of a serial are left after it was given up: readers may have it open."""

_ANSWERS_FOR_S = 3000.0
"""How long a reader answers after it has seen its serial sealed. The rest of the hour is for clocks that differ."""

_CHECKED_EVERY_S = 300.0
"""How often a reader looks whether its serial is sealed: one read of a small document."""


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of a collection.

    *newest* is the serial of its newest change. *sealed* are those that can be opened, ascending. *dropped* are those
    that were given up and whose records may still be there, with the times, in seconds of `time`.
    """

    newest: int = 0
    sealed: list[int] = field(default_factory=list)
    dropped: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes | None) -> State:
        """Return what `to_bytes` wrote, or that of a collection of which nothing is known, or nothing any more."""
        try:
            value = json.loads(data or b"{}")
            return cls(value["newest"], value["sealed"], {int(serial): at for serial, at in value["dropped"].items()})
        except (AttributeError, LookupError, TypeError, ValueError):
            return cls()

    def to_bytes(self) -> bytes:
        """Return the state as a document."""
        return json.dumps({"newest": self.newest, "sealed": self.sealed, "dropped": self.dropped}).encode()

    @property
    def readable(self) -> list[int]:
        """The serials whose records have to be there, ascending."""
        return sorted({*self.sealed, *self.dropped})

    def without(self, serials: Sequence[int]) -> State:
        """Return the state after *serials*, which are sealed, were given up."""
        left = [serial for serial in self.sealed if serial not in serials]
        return replace(self, sealed=left, dropped=self.dropped | dict.fromkeys(serials, time()))

    def without_old(self) -> State:
        """Return the state without the serials that were given up so long ago that no reader answers from them."""
        now = time()
        return replace(self, dropped={serial: at for serial, at in self.dropped.items() if now - at < _READ_FOR_S})


class Hold:
    """Tells whether the records of a *serial* that a reader has open are all there. Safe to use from several threads.

    They are, for an hour after the serial was seen sealed. So most answers need no look, and what the clocks of other
    machines say does not matter to a reader.
    """

    def __init__(self, serial: int, state: Callable[[], State], lost: EngineDamaged, seen: float) -> None:
        """Raise *lost* where they may not be there; *serial* was sealed at *seen*, and *state* reads what is kept."""
        self._serial = serial
        self._state = state
        self._lost = lost
        self._seen = self._asked = seen

    def require(self) -> None:
        """Raise EngineDamaged unless all that was read up to now was there; so call it after a read."""
        now = time()
        if 0 <= now - self._asked < _CHECKED_EVERY_S and 0 <= now - self._seen < _ANSWERS_FOR_S:
            return
        state, self._asked = self._state(), now
        if self._serial in state.sealed:
            self._seen = now
        elif self._serial not in state.dropped or not 0 <= now - self._seen < _ANSWERS_FOR_S:
            raise EngineDamaged(*self._lost.args)


def in_none_of(serials: Sequence[int]) -> str:
    """Return the condition of the records that are part of none of *serials*, ascending, and were not written since."""
    first, *_ = serials
    between = [f"({BORN} > {one} and {DIED} <= {next_})" for one, next_ in pairwise(serials)]
    return f"({' or '.join([f'({DIED} <= {first})', *between])})"

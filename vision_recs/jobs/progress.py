"""What a long job says of how far it is; the library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: *done* of *total* images, where *total* is None as long as nobody knows."""

    stage: str
    done: int
    total: int | None


Report: TypeAlias = Callable[[Progress], None]
"""Called often and from the calling thread; it should return quickly."""


def silent(progress: Progress) -> None:
    """Take notice of nothing."""
    del progress


Stopped: TypeAlias = Callable[[], bool]
"""Asked often, from the calling thread; once it says true, a job finishes what is in hand and ends."""


def go_on() -> bool:
    """Never stop."""
    return False

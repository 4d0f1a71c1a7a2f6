"""How far a long job is, and whether it should stop; the library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: *done* of *total* images, where *total* is None as long as it is not known.

    *detail* says more, such as the rate of each machine of a cluster. *known* of what is done took no work: its
    vector was there already, or it could not be read.
    """

    stage: str
    done: int
    total: int | None
    detail: str = ""
    known: int = 0


ProgressCallback: TypeAlias = Callable[[Progress], None]
"""A function that is called often, from the calling thread; it should return quickly."""


def silent(progress: Progress) -> None:
    """Ignore *progress*."""
    del progress


ShouldStop: TypeAlias = Callable[[], bool]
"""A function that is called often, from the calling thread; when it returns True, a job finishes its current shard."""


def never_stop() -> bool:
    """Return False."""
    return False

"""Exploration in one open place: how an answer shows, now and then, what nobody would know about otherwise.

With a probability *share*, one of the open places, each as likely, shows one item from outside of the best, drawn by
its weight. What was there and below moves down by one place, and the last of the best is left out. All else stays: pins
keep their places, and nothing is shown that the rules forbid, because the items outside are candidates of the same
rules. So the probability of every item at every place is a closed formula, which `Slate.propensities` has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import PolicyError

MOST_EXPLORED = 0.5
"""The largest share of answers that may explore: beyond it, the last of the best is hardly ever seen."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """How answers explore: a *share* of them, from 0 to 0.5, at *places*, the first and the last one, counted from 1.

    Without *places*, every place is open. No item with a score below *min_score* is tried. Raises PolicyError.
    """

    share: float = 0.0
    places: tuple[int, int] | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.share <= MOST_EXPLORED:
            raise PolicyError(f"a share of {self.share} of answers that explore is not from 0 to 0.5; try 0.3")
        if self.places is not None and not 1 <= self.places[0] <= self.places[1]:
            raise PolicyError(f"the places {list(self.places)} are not the first and the last one; write [2, 10]")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise PolicyError(f"a minimum score of {self.min_score} is not from -1 to 1; try 0.5")

    def admits(self, score: float) -> bool:
        """Whether an item with *score* may be tried."""
        return self.min_score is None or score >= self.min_score


NOT_EXPLORING = Exploration()


class Explored(NamedTuple):
    """What an answer tried: the item *outside*, counted from 0 among those outside, at the free place *slot*.

    Free places are those without a pin, counted from 0.
    """

    slot: int
    outside: int


class Outside(NamedTuple):
    """The candidates that the best leave over: their *ids*, and how likely each is tried, by its *weights* if any."""

    ids: tuple[str, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Slate:
    """What an answer is made from: the best items for its free places, those outside, and the pins.

    *ranked* are the ids of the best, in order; *outside* those of the other candidates, drawn in proportion to
    *weights*, above 0, or all alike without any. *pins* has the pinned items by place, from 1; one beyond the end is at
    the end. *open* are the free places at which an answer may explore, and *share* is how often it does.
    """

    ranked: tuple[str, ...]
    outside: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    pins: Mapping[int, str] = field(default_factory=dict)
    open: tuple[int, ...] = ()
    share: float = 0.0

    @classmethod
    def of(cls, ranked: Sequence[str], outside: Outside, exploration: Exploration, pins: Mapping[int, str]) -> Slate:
        """Return the slate that shows *ranked* besides *pins*, and tries one of *outside* as *exploration* says."""
        open_: Sequence[int] = range(len(ranked))
        if exploration.places is not None:
            first, last = exploration.places
            free = free_places(len(ranked), pins)
            open_ = [slot for slot, place in enumerate(free) if first <= place + 1 <= last]
        return cls(
            tuple(ranked),
            outside.ids,
            outside.weights if len(set(outside.weights)) > 1 else (),
            pins,
            tuple(open_),
            exploration.share,
        )

    @property
    def explores(self) -> bool:
        """Whether an answer of the slate may differ from the best."""
        return self.share > 0 and bool(self.open) and bool(self.outside)

    def explored(self, numbers: Sequence[float]) -> Explored | None:
        """Return what three random *numbers*, each from 0 to below 1, try; None: the answer is the best one."""
        whether, where, what = numbers
        if not self.explores or whether >= self.share:
            return None
        slot = self.open[int(where * len(self.open))]
        if not self.weights:
            return Explored(slot, int(what * len(self.outside)))
        sums = list(accumulate(self.weights))
        return Explored(slot, min(bisect_right(sums, what * sums[-1]), len(self.outside) - 1))

    def shown(self, explored: Explored | None = None) -> list[str]:
        """Return the ids of the answer, by place."""
        free = list(self.ranked)
        if explored is not None:
            free = [*free[: explored.slot], self.outside[explored.outside], *free[explored.slot : -1]]
        return with_pins(free, self.pins)

    def free_places(self) -> NDArray[np.int64]:
        """Return the place, from 0, of each free place (n,), where n is the number of *ranked*."""
        return np.array(free_places(len(self.ranked), self.pins), np.int64)

    def propensities(self) -> NDArray[np.float64]:
        """Return how likely each of *ranked*, then each of *outside*, is at each place (n + m, places)."""
        count, places = len(self.ranked), self.free_places()
        found = np.zeros((count + len(self.outside), count + len(self.pins)))
        found[:count][:, places] = rank_propensities(count, self.open, self.share if self.explores else 0.0)
        if self.explores:
            at = places[list(self.open)]
            found[count:, at] = (self.share / len(self.open)) * self.chances()[:, None]
        return found

    def chances(self) -> NDArray[np.float64]:
        """Return how likely each of *outside* is, in an answer that explores."""
        weights = np.array(self.weights or (1.0,) * len(self.outside))
        return np.asarray(weights / weights.sum())


def rank_propensities(count: int, open_: Sequence[int], share: float) -> NDArray[np.float64]:
    """Return how likely the item of each rank is at each free place (count, count).

    It stays at its place unless an open place at it or above explores; then it is one place further down.
    """
    found = np.zeros((count, count))
    above = np.searchsorted(np.sort(np.array(open_, np.int64)), np.arange(count), side="right")
    moved = share * above / len(open_) if len(open_) else np.zeros(count)
    rows = np.arange(count)
    found[rows, rows] = 1.0 - moved
    found[rows[:-1], rows[:-1] + 1] = moved[:-1]
    return found


def with_pins(free: Sequence[str], pins: Mapping[int, str]) -> list[str]:
    """Return *free* in order, with *pins* at their places, counted from 1, or at the end where those are beyond it."""
    arranged = list(free)
    for place in sorted(pins):
        arranged.insert(min(place - 1, len(arranged)), pins[place])
    return arranged


def free_places(count: int, pins: Mapping[int, str]) -> list[int]:
    """Return the place, from 0, of each of *count* free items beside *pins*."""
    if not pins:
        return list(range(count))
    pinned = frozenset(pins.values())
    arranged = with_pins([""] * count, pins)
    return [place for place, item in enumerate(arranged) if item not in pinned]

"""Which answer, and which place of it, an event belongs to; and which shoppers are programs.

What was seen, clicked or dismissed belongs to the answer that the event names, within an hour. What was put into the
cart or bought belongs to the last click on that item by that shopper within 24 hours, else to the answer that the event
names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from vision_recs.feedback.records import EVENT_TYPES, Event

CLICK_WINDOW_S = 3_600.0
BUY_WINDOW_S = 86_400.0
_SKEW_S = 300.0  # by which clocks differ: an event may seem to be older than its answer

_MOST_ANSWERS = 200
"""As many answers in one hour are not read by a person."""

_MANY_CLICKS, _CLICKS_AN_ANSWER = 30, 5.0
"""As many clicks, and as many for each answer, are not made by a person."""


class Given(NamedTuple):
    """An answer as attribution needs it: *shown* are the ids by place."""

    id: str
    time: float
    shopper: str
    shown: Sequence[str]


class Attributed(NamedTuple):
    """An event, and the answer and the place, from 1, that it belongs to."""

    event: Event
    answer: str
    place: int


def attribute(answers: Mapping[str, Given], events: Iterable[Event]) -> Iterator[Attributed]:
    """Yield each of *events* that belongs to one of *answers*, by id, in the order of time."""
    clicks: dict[tuple[str, str], Attributed] = {}
    for event in sorted(events, key=lambda event: (event.time, EVENT_TYPES.index(event.type), event.id)):
        answer = answers.get(event.answer)
        shopper = event.shopper or ("" if answer is None else answer.shopper)
        found = None
        if event.type in {"cart", "buy"}:
            found = _by_click(event, clicks.get((shopper, event.item)) if shopper else None)
            found = found or _by_answer(event, answer, BUY_WINDOW_S)
        else:
            found = _by_answer(event, answer, CLICK_WINDOW_S)
            if found is not None and event.type == "click" and shopper:
                clicks[shopper, event.item] = found
        if found is not None:
            yield found


def _by_answer(event: Event, answer: Given | None, window_s: float) -> Attributed | None:
    if answer is None or event.item not in answer.shown or not -_SKEW_S <= event.time - answer.time <= window_s:
        return None
    return Attributed(event, answer.id, answer.shown.index(event.item) + 1)


def _by_click(event: Event, click: Attributed | None) -> Attributed | None:
    if click is None or event.time - click.event.time > BUY_WINDOW_S:
        return None
    return Attributed(event, click.answer, click.place)


def bots(answers: Iterable[tuple[str, float]], clicks: Iterable[str]) -> set[str]:
    """Return the shoppers that are programs, by what no person does in a day.

    *answers* has, for each answer of the day, its shopper and its time; *clicks* has the shopper of each click.
    """
    by_hour = Counter((shopper, int(time // 3_600)) for shopper, time in answers if shopper)
    found = {shopper for (shopper, _), count in by_hour.items() if count > _MOST_ANSWERS}
    by_shopper: Counter[str] = Counter()
    for (shopper, _), count in by_hour.items():
        by_shopper[shopper] += count
    clicked = Counter(shopper for shopper in clicks if shopper)
    found |= {
        shopper
        for shopper, count in clicked.items()
        if count >= _MANY_CLICKS and count > _CLICKS_AN_ANSWER * max(1, by_shopper[shopper])
    }
    return found

"""Logged answers as arrays, and how likely each item of their pools was looked at: what policies are judged with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_recs.feedback import day_files
from vision_recs.feedback.answers import half_of
from vision_recs.feedback.compaction import attributed_on
from vision_recs.feedback.current import ANSWERS, Days, reads_days
from vision_recs.feedback.exploration import free_places, rank_propensities
from vision_recs.feedback.features import Matrix
from vision_recs.feedback.records import Answer, is_candidate

Ordinals = NDArray[np.int64]

MOST_ANSWERS = 200_000
"""How many answers at most are judged with: the newest."""


class Shape(NamedTuple):
    """What the probabilities of an answer depend on beside its weights.

    *size* items are ranked, *pins* are places from 1, *open* the free places that may explore, *share* how often.
    """

    size: int
    pins: tuple[int, ...]
    open: tuple[int, ...]
    share: float

    @property
    def places(self) -> list[int]:
        """The place, from 0, of each free place."""
        return free_places(self.size, {place: f"pin {place}" for place in self.pins})


@dataclass(frozen=True)
class LoggedAnswers:
    """n answers with pools of up to m items.

    *items* are ids; *asked* (n,) and *pool* (n, m) are positions in it, or -1 for none. A pool has first the items that
    were ranked, then those outside; *scores* (n, m) are their scores, *base* (n, m) these with what rules added, and
    *chances* (n, m) how likely each one outside is where an answer explores. *shape* (n,) is the position in *shapes*.
    *at* (n, m) is the place, from 0, at which an item was shown, or -1, and *clicked* (n, m) is 1 where it was clicked.
    *shopper* (n,) numbers the shoppers, *half* (n,) is theirs, and *arm* (n,) names their arm.
    """

    items: tuple[str, ...]
    shapes: tuple[Shape, ...]
    shopper: Ordinals
    half: NDArray[np.int8]
    arm: NDArray[np.str_]
    asked: Ordinals
    shape: Ordinals
    pool: Ordinals
    scores: Matrix
    base: Matrix
    chances: Matrix
    at: Ordinals
    clicked: Matrix

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.asked)

    def take(self, rows: NDArray[np.bool_] | Ordinals) -> LoggedAnswers:
        """Return the answers *rows*."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _BY_ANSWER})

    def logged(self, examination: Matrix) -> Matrix:
        """Return how likely each item of each pool (n, m) was looked at when it was logged.

        That is the sum over the places of how likely it was there times the *examination* of the place.
        """
        found = np.zeros(self.pool.shape)
        for number, shape in enumerate(self.shapes):
            rows = np.flatnonzero(self.shape == number)
            looked = seen(examination, shape)
            found[rows, : shape.size] = rank_propensities(shape.size, shape.open, shape.share) @ looked
            if shape.share and shape.open:
                outside = shape.share * looked[list(shape.open)].mean() * self.chances[rows, shape.size :]
                found[rows, shape.size :] = outside
        return np.where(self.pool >= 0, found, 0.0)

    def showing(self, order: Ordinals, examination: Matrix) -> Matrix:
        """Return how likely each item of each pool (n, m) is looked at where answers show it in *order* (n, m)."""
        found = np.zeros(self.pool.shape)
        for number, shape in enumerate(self.shapes):
            rows = np.flatnonzero(self.shape == number)
            found[rows[:, None], order[rows, : shape.size]] = seen(examination, shape)
        return np.where(self.pool >= 0, found, 0.0)

    def ranked(self, values: Matrix) -> Ordinals:
        """Return the order (n, m) of each pool by falling *values* (n, m); what is not there comes last."""
        return np.argsort(np.where(self.pool >= 0, -values, np.inf), axis=1, kind="stable")


_BY_ANSWER = (
    *("shopper", "half", "arm", "asked", "shape", "pool", "scores"),
    *("base", "chances", "at", "clicked"),
)


def seen(examination: Matrix, shape: Shape) -> Matrix:
    """Return the examination of each free place of *shape*; beyond the known places it is that of the last one."""
    return np.asarray(examination[np.minimum(shape.places, len(examination) - 1)])


@reads_days
def read_answers(root: str | Path, *, since: str | None = None, most: int = MOST_ANSWERS) -> LoggedAnswers:
    """Return the newest *most* answers of the folder of events *root* that policies can be judged with.

    These are answers of the store, to people, whose pools and scores are known; since the date *since*, if it is given.
    Raises EventsError and StoreDamaged.
    """
    days = Days.of(root)
    dates = [date for date in sorted(days.files, reverse=True) if since is None or date >= since]
    answers: list[Answer] = []
    clicks: set[tuple[str, int]] = set()
    for date in dates:
        if len(answers) >= most:
            break
        table = days.table(date, ANSWERS)
        people = table.filter(pc.invert(table["bot"]))
        known = day_files.answers_of(people)
        found = [answer for answer in known if answer.scores and not is_candidate(answer.arm)]
        answers += sorted(found, key=lambda answer: (-answer.time, answer.id))
        events = attributed_on(days, date, table)
        clicks |= {(each.answer, each.place) for each in events if each.event.type == "click"}
    return logged_answers(answers[:most], clicks)


def logged_answers(answers: Sequence[Answer], clicks: Iterable[tuple[str, int]]) -> LoggedAnswers:
    """Return *answers* as arrays; *clicks* has the id of the answer and the place, from 1, of each click."""
    clicked = set(clicks)
    items = sorted({item for each in answers for item in (*each.slate.ranked, *each.slate.outside, each.asked) if item})
    code_of = {item: code for code, item in enumerate(items)}
    shapes: dict[Shape, int] = {}
    shoppers: dict[str, int] = {}
    width = max((len(each.scores) for each in answers), default=0)
    arrays: dict[str, Any] = {
        "asked": np.full(len(answers), -1, np.int64),
        "shape": np.zeros(len(answers), np.int64),
        "shopper": np.zeros(len(answers), np.int64),
        "half": np.zeros(len(answers), np.int8),
        "pool": np.full((len(answers), width), -1, np.int64),
        "scores": np.full((len(answers), width), np.nan),
        "base": np.full((len(answers), width), np.nan),
        "chances": np.zeros((len(answers), width)),
        "at": np.full((len(answers), width), -1, np.int64),
        "clicked": np.zeros((len(answers), width)),
    }
    for row, answer in enumerate(answers):
        who = answer.shopper or answer.id
        arrays["asked"][row] = code_of.get(answer.asked, -1)
        arrays["shape"][row] = shapes.setdefault(_shape(answer), len(shapes))
        arrays["shopper"][row] = shoppers.setdefault(who, len(shoppers))
        arrays["half"][row] = half_of(who)
        _fill(arrays, row, answer, code_of, clicked)
    arm = np.array([answer.arm for answer in answers], np.str_)
    return LoggedAnswers(items=tuple(items), shapes=tuple(shapes), arm=arm, **arrays)


def _shape(answer: Answer) -> Shape:
    slate = answer.slate
    return Shape(len(slate.ranked), tuple(sorted(slate.pins)), slate.open, slate.share if slate.explores else 0.0)


def _fill(
    arrays: Mapping[str, Any],
    row: int,
    answer: Answer,
    code_of: Mapping[str, int],
    clicked: set[tuple[str, int]],
) -> None:
    pool = [*answer.slate.ranked, *answer.slate.outside]
    size = len(pool)
    place_of = {item: place for place, item in enumerate(answer.shown)}
    places = [place_of.get(item, -1) for item in pool]
    arrays["pool"][row, :size] = [code_of.get(item, -1) for item in pool]
    arrays["scores"][row, :size] = answer.scores
    arrays["base"][row, :size] = np.array(answer.scores) + np.array(answer.deltas or (0.0,) * size)
    arrays["at"][row, :size] = places
    arrays["clicked"][row, :size] = [(answer.id, place + 1) in clicked for place in places]
    if answer.slate.explores:
        arrays["chances"][row, len(answer.slate.ranked) : size] = answer.slate.chances()

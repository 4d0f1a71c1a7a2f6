"""`outcomes`: what did happen, by arm, with bounds that hold whenever one looks; and whether all is well.

Programs are counted, and left out of everything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vision_recs.errors import EvaluationError, EventsError
from vision_recs.feedback.anytime import difference_at_any_time
from vision_recs.feedback.compaction import attributed_on
from vision_recs.feedback.counts import Counts
from vision_recs.feedback.current import ANSWERS, Days, reads_days
from vision_recs.feedback.features import Matrix
from vision_recs.feedback.learning import Catalog, CrossFitted, KnowsAttributes, cross_fitted
from vision_recs.feedback.logged import LoggedAnswers
from vision_recs.feedback.records import ARMS, counterpart, is_candidate
from vision_recs.metrics import Difference, bounds_of_share, gini

MEASURES = ("clicks", "carts", "buys", "value")
"""What is compared, for an answer."""

_TYPE = {"click": "clicks", "cart": "carts", "buy": "buys"}
_TENTHS = 10


@dataclass(frozen=True)
class Arm:
    """What the shoppers of an arm did: *means* are for an answer, by the names of MEASURES, with *variances*."""

    name: str
    answers: int
    shoppers: int
    means: Mapping[str, float]
    variances: Mapping[str, float]


@dataclass(frozen=True)
class Exposed:
    """How impressions are spread over items: how many *items* had any, their Gini coefficient, and the top share.

    *top_percent* is the share of all impressions that the most shown hundredth of these items has.
    """

    impressions: int
    items: int
    gini: float
    top_percent: float


@dataclass(frozen=True)
class Outcomes:
    """What happened on *days*: by arm, the *differences* of each arm by measure, and how it was shown.

    An arm is compared with its *counterparts*: the plain one, or for a candidate the same arm of the store.
    *explored* compares answers that tried an item with those that did not, in clicks an answer. *programs* is the share
    of the answers that no person asked for.
    """

    days: tuple[str, ...]
    arms: tuple[Arm, ...]
    differences: Mapping[str, Mapping[str, Difference]]
    counterparts: Mapping[str, str]
    exposed: Exposed
    explored: tuple[float, float]
    explored_share: float
    programs: float


@dataclass(slots=True)
class _Sums:
    """Sums over the answers of each shopper of an arm: how many, and each measure."""

    answers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    measures: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))


@dataclass(slots=True)
class _Seen:
    """What is gathered day by day."""

    arms: dict[str, _Sums] = field(default_factory=lambda: defaultdict(_Sums))
    shown: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    explored: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    programs: int = 0
    answers: int = 0


@reads_days
def outcomes(root: str | Path, *, since: str | None = None, until: str | None = None) -> Outcomes:
    """Return what happened in the folder of events *root*, from the date *since* on, and before the date *until*.

    Raises EventsError where there are no answers, and StoreDamaged.
    """
    days = Days.of(root)
    dates = [date for date in sorted(days.files) if (since or "") <= date and (until is None or date < until)]
    found = _Seen()
    for date in dates:
        _gather(found, days, date)
    if found.answers == found.programs:
        raise EventsError("has no answers of people yet; serve with --events, and run `visrec events`", path=str(root))
    arms = {name: _arm(name, found.arms[name]) for name in sorted(found.arms, key=_order)}
    counterparts = {name: counterpart(name) for name in arms if counterpart(name) in arms.keys() - {name}}
    tried, clicks_tried, others, clicks_others = found.explored
    return Outcomes(
        days=tuple(dates),
        arms=tuple(arms.values()),
        differences={name: _differences(arms[other], arms[name]) for name, other in counterparts.items()},
        counterparts=counterparts,
        exposed=_exposed(found.shown.values()),
        explored=(clicks_tried / max(1.0, tried), clicks_others / max(1.0, others)),
        explored_share=tried / (tried + others),
        programs=found.programs / found.answers,
    )


def _order(name: str) -> tuple[bool, int, str]:
    """Return what arms are sorted by: those of the store come first, and the plain one before the learned one."""
    own = counterpart(name) if is_candidate(name) else name
    return is_candidate(name), ARMS.index(own) if own in ARMS else len(ARMS), name


def _gather(found: _Seen, days: Days, date: str) -> None:
    table = days.table(date, ANSWERS)
    done: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    known = set()
    for event, answer, place in attributed_on(days, date, table):
        if event.type in _TYPE:
            if (answer, place, event.type) not in known:  # a second click on an item says nothing new
                done[answer][_TYPE[event.type]] += 1
            known.add((answer, place, event.type))
            done[answer]["value"] += event.value if event.type == "buy" else 0.0
    found.answers += len(table)
    people = table.filter(pc.invert(table["bot"]))
    found.programs += len(table) - len(people)
    for row in people.select(["id", "shopper", "arm", "explored_slot"]).to_pylist():
        own = done.get(row["id"], {})
        sums, who = found.arms[row["arm"]], row["shopper"] or row["id"]
        sums.answers[who] += 1
        for name, value in own.items():
            sums.measures[name][who] += value
        at = 0 if row["explored_slot"] is not None else 2
        found.explored[at] += 1
        found.explored[at + 1] += own.get("clicks", 0.0)
    _add_shown(found.shown, people)


def _add_shown(shown: dict[str, int], people: pa.Table) -> None:
    for each in pc.value_counts(pc.list_flatten(people["shown"]).combine_chunks()).to_pylist():
        if each["values"]:
            shown[each["values"]] += each["counts"]


def _arm(name: str, sums: _Sums) -> Arm:
    """Return the means for an answer, with variances over shoppers, whose answers go together."""
    shoppers = list(sums.answers)
    answers = np.array([sums.answers[who] for who in shoppers], np.float64)
    total = answers.sum()
    means, variances = {}, {}
    for measure in MEASURES:
        values = np.array([sums.measures[measure].get(who, 0.0) for who in shoppers])
        means[measure] = float(values.sum() / total)
        variances[measure] = float(((values - means[measure] * answers) ** 2).sum() / total**2)
    return Arm(name, int(total), len(shoppers), means, variances)


def _differences(plain: Arm, arm: Arm) -> dict[str, Difference]:
    return {
        name: difference_at_any_time((plain.means[name], plain.variances[name]), (arm.means[name], arm.variances[name]))
        for name in MEASURES
    }


def _exposed(counts: Iterable[int]) -> Exposed:
    ordered = np.sort(np.array(list(counts), np.int64))[::-1]
    top = ordered[: max(1, len(ordered) // 100)]
    total = int(ordered.sum())
    return Exposed(total, len(ordered), gini(ordered), float(top.sum() / total) if total else 0.0)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A tenth of all impressions, by the clicks that were *expected* of them, and what they *had*, for each.

    Of as few impressions, what they have is by chance from *low* to *high* in 95 of 100 logs, were shoppers as before.
    """

    impressions: int
    expected: float
    had: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the difference to what was expected may be chance."""
        return self.low <= self.expected <= self.high


def calibration(crossed: Sequence[CrossFitted]) -> list[Calibrated]:
    """Return how the clicks that models expect compare with those of shoppers who taught them nothing, by tenths."""
    expected, had = (np.concatenate(each) for each in zip(*map(_shown_of, crossed), strict=True))
    order = np.argsort(expected, kind="stable")
    return [
        Calibrated(
            len(rows),
            float(expected[rows].mean()),
            float(had[rows].mean()),
            *bounds_of_share(had[rows].sum(), len(rows)),
        )
        for rows in np.array_split(order, _TENTHS)
        if len(rows)
    ]


@dataclass(frozen=True, slots=True)
class Fit:
    """How models fit the log: how likely each place is looked at (places,), the first one always, and `calibration`."""

    examination: list[float]
    tenths: list[Calibrated]


def fit_of(counts: Counts, answers: LoggedAnswers, items: KnowsAttributes) -> Fit:
    """Return how the models of each half of the shoppers, learned from *counts*, fit the *answers* of the other half.

    The attributes of *items* are features. Raises EvaluationError where the log has too few answers with clicks.
    """
    crossed = cross_fitted(counts, answers, Catalog.of(counts, answers, items))
    if crossed is None:
        raise EvaluationError("the log has too few answers with clicks to fit a model to; wait for more")
    places = [part.model.fitted.examination for part in crossed]
    shortest = min(map(len, places))
    examination = np.mean([each[:shortest] for each in places], axis=0)
    return Fit([round(each, 6) for each in examination.tolist()], calibration(crossed))


def _shown_of(part: CrossFitted) -> tuple[Matrix, Matrix]:
    examination = part.model.fitted.examination
    is_shown = part.answers.at >= 0
    at = examination[np.minimum(part.answers.at[is_shown], len(examination) - 1)]
    return at * part.clicks[is_shown], part.answers.clicked[is_shown]


def clicks_by_place(counts: Counts) -> Matrix:
    """Return the clicks for an impression at each place (places,), whatever was there."""
    places = int(counts.place.max()) + 1
    clicks = np.bincount(counts.place, counts.clicks, places)
    return np.asarray(clicks / np.maximum(np.bincount(counts.place, counts.impressions, places), 1.0))

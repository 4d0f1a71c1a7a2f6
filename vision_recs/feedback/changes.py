"""What changed since a date: what shoppers did, asked for and were shown; and what they did by group of items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vision_recs.errors import EventsError
from vision_recs.feedback.anytime import difference_at_any_time
from vision_recs.feedback.arms import MEASURES, Arm, outcomes
from vision_recs.feedback.current import COUNTS, SCHEMAS, Days, reads_days
from vision_recs.feedback.drift import Drift, drift_of
from vision_recs.feedback.learning import KnowsAttributes
from vision_recs.metrics import Difference
from vision_recs.types import Attribute, ItemImage, Vectors

_MOST_ITEMS = 2_000
_SUMS = ("impressions", "clicks", "carts", "buys", "value")


class KnowsVectors(KnowsAttributes, Protocol):
    """What the vectors of items are read from; a `Store` is one."""

    def images(self, item: str) -> Sequence[ItemImage]:
        """Return the images of *item*."""
        ...

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return the vectors of the images with *digests*."""
        ...


@dataclass(frozen=True)
class Changed:
    """What changed since a date: each arm's measures *before* and *after*, and their *differences*.

    *drifts* compare the vectors of what was before with those of what came after: of the items asked for ("queries"),
    of the items shown first ("shown"), and of the items that were in the log before and those that are new in it
    ("catalog"). None stands for too few.
    """

    before: Mapping[str, Arm]
    after: Mapping[str, Arm]
    differences: Mapping[str, Mapping[str, Difference]]
    drifts: Mapping[str, Drift | None]


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What an *arm* did with answers for items that have one *value* of an attribute; sums, and *rate*.

    *rate* is the clicks for an impression.
    """

    value: Attribute
    arm: str
    impressions: int
    clicks: int
    carts: int
    buys: int
    money: float

    @property
    def rate(self) -> float:
        """The clicks for an impression."""
        return self.clicks / max(1, self.impressions)


@reads_days
def changed_since(root: str | Path, date: str, items: KnowsVectors) -> Changed:
    """Return what changed in the folder of events *root* since *date*; the vectors are those of *items*.

    Raises EventsError where there is nothing before or after, and StoreDamaged.
    """
    before, after = (
        {arm.name: arm for arm in outcomes(root, **part).arms} for part in ({"until": date}, {"since": date})
    )
    days = Days.of(root)
    old, new = (_counts(days, [each for each in days.files if (each < date) == is_old]) for is_old in (True, False))
    known = {*old["asked"].to_pylist(), *old["shown"].to_pylist()}
    fresh = sorted({*new["asked"].to_pylist(), *new["shown"].to_pylist()} - known)
    drifts = {
        "queries": _drift(items, _drawn(old, "asked"), _drawn(new, "asked")),
        "shown": _drift(items, _drawn(old, "shown"), _drawn(new, "shown")),
        "catalog": _drift(items, sorted(known - {""})[:_MOST_ITEMS], fresh[:_MOST_ITEMS]),
    }
    both = [name for name in before if name in after]
    return Changed(before, after, {name: _differences(before[name], after[name]) for name in both}, drifts)


@reads_days
def outcomes_by(root: str | Path, name: str, items: KnowsAttributes, *, since: str | None = None) -> list[GroupOutcome]:
    """Return the outcomes by the attribute *name* of the items asked for, and by arm, the largest groups first.

    Raises EventsError where there are none.
    """
    days = Days.of(root)
    table = _counts(days, [date for date in days.files if since is None or date >= since])
    if not len(table):
        raise EventsError("has no counts yet; let shoppers see answers, and run `visrec events`", path=str(root))
    summed = table.group_by(["arm", "asked"], use_threads=False).aggregate([(each, "sum") for each in _SUMS])
    asked = sorted({item for item in summed["asked"].to_pylist() if item})
    known = items.attributes_of(asked)
    sums: dict[tuple[bool, Attribute, str], np.ndarray] = {}
    for row in summed.to_pylist():
        value = known.get(row["asked"], {}).get(name)
        key = (isinstance(value, bool), value, row["arm"])
        sums[key] = sums.get(key, np.zeros(len(_SUMS))) + [row[f"{each}_sum"] for each in _SUMS]
    found = []
    for (_, value, arm), own in sums.items():
        impressions, clicks, carts, buys = (int(each) for each in own[:4])
        found.append(GroupOutcome(value, arm, impressions, clicks, carts, buys, float(own[4])))
    return sorted(found, key=lambda each: (-each.impressions, str(each.value), each.arm))


def _counts(days: Days, dates: Iterable[str]) -> pa.Table:
    return pa.concat_tables([days.table(date, COUNTS) for date in dates] or [SCHEMAS[COUNTS].empty_table()])


def _drawn(counts: pa.Table, column: str) -> list[str]:
    """Return at most 2,000 items of *column*, one of each answer, evenly over all of these.

    More of an answer would be too much alike: half of them would tell of the other half.
    """
    first = counts.filter(pc.equal(counts["place"], 1))
    summed = first.group_by([column], use_threads=False).aggregate([("impressions", "sum")]).sort_by(column)
    summed = summed.filter(pc.not_equal(summed[column], ""))
    times = summed["impressions_sum"].to_numpy()
    if not len(times) or not times.sum():
        return []
    ends = np.cumsum(times)
    wanted = np.linspace(0, ends[-1], min(_MOST_ITEMS, int(ends[-1])), endpoint=False)
    drawn: list[str] = summed[column].take(pa.array(np.searchsorted(ends, wanted, side="right"))).to_pylist()
    return drawn


def _drift(items: KnowsVectors, old: Sequence[str], new: Sequence[str]) -> Drift | None:
    known = items.attributes_of(sorted({*old, *new}))
    digest_of = {item: items.images(item)[0].digest for item in known}
    sides = [[digest_of[item] for item in side if item in digest_of] for side in (old, new)]
    if not all(sides):
        return None
    distinct = sorted({*sides[0], *sides[1]})
    vectors = items.vectors_of(distinct)
    row_of = {digest: row for row, digest in enumerate(distinct)}
    return drift_of(*(vectors[[row_of[digest] for digest in side]] for side in sides))


def _differences(before: Arm, after: Arm) -> dict[str, Difference]:
    return {
        name: difference_at_any_time(
            (before.means[name], before.variances[name]), (after.means[name], after.variances[name])
        )
        for name in MEASURES
    }

"""The plots of the pages as plain numbers, which their templates draw as SVG.

Four kinds of plots are all that the pages have, so geometry takes fewer lines here than a plotting library takes to
import, and a page can follow the reader's light or dark colors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision_recs.evaluate import Group, IndexQuality
    from vision_recs.metrics import Difference, Interval, RankingResult

WIDTH = 640
NARROW = 440
"""A plot that a phone shows large enough to read."""

_ROW = 26
_LABELS, _SHORT_LABELS = 190, 130
_PLOT = 220
_LEFT = 52


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a bar chart: its label, the bar, and the bounds of its value, all x in pixels."""

    label: str
    note: str
    y: float
    x: float
    end: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, at *at* pixels."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart from 0 to 1, one row a group."""

    height: float
    bars: Sequence[Bar]
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class Area:
    """A filled outline, as the points of an SVG polygon."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the scores of the relevant and of the others are spread, each scaled to its own maximum."""

    areas: Sequence[Area]
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class Dot:
    """An index in the plot of recall against speed."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Recall against latency, which is on a logarithmic scale."""

    dots: Sequence[Dot]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def bars(groups: Sequence[Group], measure: str) -> Bars:
    """Return the chart of *measure* for each of *groups*."""

    def across(value: float) -> float:
        return round(_LABELS + value * (WIDTH - _LABELS - 60), 1)

    found = [
        Bar(
            label=str(group.value),
            note=f"{group.measures[measure].value:.3f}",
            y=number * _ROW,
            x=across(0),
            end=across(group.measures[measure].value),
            low=across(group.measures[measure].low),
            high=across(group.measures[measure].high),
        )
        for number, group in enumerate(groups)
    ]
    ticks = [Tick(across(step / 4), f"{step / 4:g}") for step in range(5)]
    return Bars(len(groups) * _ROW + 24, found, ticks)


def intervals(rows: Sequence[tuple[str, Interval | Difference]], *, sign: str = "") -> Bars:
    """Return the chart of the value of each of *rows*, with its bounds, on one axis that holds 0; it is NARROW.

    *sign* is "+" where values are differences.
    """
    lows, highs = [0.0, *(each.low for _, each in rows)], [0.0, *(each.high for _, each in rows)]
    left, right = min(lows), max(*highs, min(lows) + 1e-9)

    def across(value: float) -> float:
        return round(_SHORT_LABELS + (value - left) / (right - left) * (NARROW - _SHORT_LABELS - 80), 1)

    found = [
        Bar(
            label=label,
            note=f"{each.value:{sign}.4f}",
            y=number * _ROW,
            x=across(min(0.0, each.value)),
            end=across(max(0.0, each.value)),
            low=across(each.low),
            high=across(each.high),
        )
        for number, (label, each) in enumerate(rows)
    ]
    step = _round_step((right - left) / 3)
    marks = [step * number for number in range(math.ceil(left / step), math.floor(right / step) + 1)]
    return Bars(len(rows) * _ROW + 24, found, [Tick(across(mark), f"{mark:{sign if mark else ''}g}") for mark in marks])


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that is at least *least*."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def histogram(result: RankingResult) -> Histogram:
    """Return how the scores of the relevant targets and of the others are spread."""
    seen = [bin_ for bin_, count in enumerate(result.relevant_scores + result.other_scores) if count]
    first, last = seen[0], seen[-1] + 1
    count = len(result.relevant_scores)

    def across(bin_: float) -> float:
        return round(_LEFT + (bin_ - first) / (last - first) * (WIDTH - _LEFT - 20), 1)

    areas = []
    for name, counts in (("other", result.other_scores), ("relevant", result.relevant_scores)):
        most = max(1, int(counts.max()))
        points = [f"{across(first)},{_PLOT}"]
        for bin_ in range(first, last):
            top = round(_PLOT - counts[bin_] / most * (_PLOT - 20), 1)
            points += [f"{across(bin_)},{top}", f"{across(bin_ + 1)},{top}"]
        areas.append(Area(name, " ".join([*points, f"{across(last)},{_PLOT}"])))
    scores = [-1 + 2 * bin_ / count for bin_ in range(first, last + 1)]
    marks = [step / 10 for step in range(-10, 11) if scores[0] <= step / 10 <= scores[-1]]
    return Histogram(areas, [Tick(across((mark + 1) / 2 * count), f"{mark:.1f}") for mark in marks])


def scatter(found: Sequence[IndexQuality]) -> Scatter:
    """Return recall@10 against the median latency of each index."""
    logs = [math.log10(max(finding.p50_ms, 1e-3)) for finding in found]
    left, right = math.floor(min(logs)), max(math.floor(min(logs)) + 1, math.ceil(max(logs)))
    lowest = min(0.9, math.floor(min(finding.recall_at_10 for finding in found) * 10) / 10)

    def across(log: float) -> float:
        return round(_LEFT + (log - left) / (right - left) * (WIDTH - _LEFT - 110), 1)

    def up(recall: float) -> float:
        return round(_PLOT - (recall - lowest) / (1 - lowest) * (_PLOT - 20), 1)

    dots = [
        Dot(finding.index_factory, across(log), up(finding.recall_at_10))
        for finding, log in zip(found, logs, strict=True)
    ]
    recalls = [lowest + (1 - lowest) * step / 4 for step in range(5)]
    return Scatter(
        dots,
        [Tick(across(log), f"{10.0**log:g}") for log in range(left, right + 1)],
        [Tick(up(recall), f"{recall:.3f}") for recall in recalls],
    )

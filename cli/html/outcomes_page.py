"""The page of `visrec outcomes`: what each arm brought, clicks by place and by group, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.feedback.arms import MEASURES

from ..outcomes import (
    CALIBRATION_COLUMNS,
    CHANGE_COLUMNS,
    GROUP_COLUMNS,
    MOST_GROUPS,
    calibration_cells,
    change_rows,
    difference_text,
    drift_text,
    group_cells,
    health_text,
)
from .charts import WIDTH
from .page import render

if TYPE_CHECKING:
    from ..outcomes import Report

_HEIGHT = 160


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of the plot of places, in pixels, with its label and its value."""

    label: str
    value: float
    x: float
    y: float
    width: float
    height: float


def write_page(path: Path, report: Report) -> None:
    """Write to *path* the page of *report*."""
    found, changed = report.found, report.changed
    differences = [
        (arm, name, *difference_text(each), each.is_significant)
        for arm, by_measure in found.differences.items()
        for name, each in by_measure.items()
    ]
    groups = None if report.groups is None else report.groups[:MOST_GROUPS]
    render(
        path,
        "outcomes.html",
        found=found,
        measures=MEASURES,
        differences=differences,
        columns=_columns(report.places),
        group_by=report.group_by,
        group_columns=list(GROUP_COLUMNS),
        groups=None if groups is None else list(map(group_cells, groups)),
        more_groups=max(0, len(report.groups or ()) - MOST_GROUPS),
        change_columns=list(CHANGE_COLUMNS),
        changes={} if changed is None else {arm: change_rows(changed, arm) for arm in changed.differences},
        drifts={} if changed is None else {name: drift_text(each) for name, each in changed.drifts.items()},
        looked=None if report.fit is None else _columns(report.fit.examination),
        calibration_columns=list(CALIBRATION_COLUMNS),
        calibrated=[] if report.fit is None else list(map(calibration_cells, report.fit.tenths)),
        health=None if report.health is None else health_text(report.health),
        width=WIDTH,
        height=_HEIGHT,
    )


def _columns(places: Sequence[float]) -> list[Column]:
    highest, step = max([*places, 1e-9]), WIDTH / max(1, len(places))
    return [
        Column(
            str(number),
            value,
            (number - 1) * step + 2,
            _HEIGHT * (1 - value / highest),
            step - 4,
            _HEIGHT * value / highest,
        )
        for number, value in enumerate(places, 1)
    ]

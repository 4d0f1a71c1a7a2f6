"""The page of `visrec outcomes`: what each arm brought, and how often items are clicked at each place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.feedback.arms import MEASURES

from ..outcomes import difference_text
from .charts import WIDTH
from .page import render

if TYPE_CHECKING:
    from vision_recs.feedback import Outcomes

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


def write_page(path: Path, found: Outcomes, places: Sequence[float]) -> None:
    """Write to *path* the page of the outcomes *found*; *places* are the clicks for an impression at each place."""
    differences = [
        (arm, name, *difference_text(each), each.is_significant)
        for arm, by_measure in found.differences.items()
        for name, each in by_measure.items()
    ]
    render(
        path,
        "outcomes.html",
        found=found,
        measures=MEASURES,
        differences=differences,
        columns=_columns(places),
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

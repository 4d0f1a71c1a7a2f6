"""How much items are liked: their clicks against those that anything at their places would have had."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vision_recs.errors import EventsError
from vision_recs.feedback.counts import Counts, read_counts
from vision_recs.feedback.current import Days
from vision_recs.feedback.features import Matrix
from vision_recs.feedback.fitting import shrunk

DAYS = 28
"""How many days say what is liked."""


class Liked(NamedTuple):
    """An item with its *clicks*, and with how many times as many it had as its places explain, shrunk towards 1."""

    item: str
    clicks: float
    ratio: float


def expected_clicks(counts: Counts) -> Matrix:
    """Return the clicks (n,) that each row of *counts* would have, were all items alike: those of its place."""
    places = int(counts.place.max()) + 1
    clicks = np.bincount(counts.place, counts.clicks, places)
    seen = np.bincount(counts.place, counts.impressions, places)
    return np.asarray(counts.impressions * (clicks / np.maximum(seen, 1.0))[counts.place])


def read_liked(root: str | Path, *, days: int = DAYS) -> list[Liked]:
    """Return what shoppers clicked in the last *days* days that the folder *root* has, as `liked_items`.

    Raises EventsError where it is not a folder of events, and StoreDamaged; nothing clicked is no error.
    """
    dates = sorted(Days.of(root).files)[-days:]
    if not dates:
        return []
    try:
        return liked_items(read_counts(root, since=dates[0]))
    except EventsError:  # nobody but programs so far
        return []


def liked_items(counts: Counts) -> list[Liked]:
    """Return all items of *counts* that were clicked, the most clicked ones first."""
    size = len(counts.items)
    clicks = np.bincount(counts.shown, counts.clicks, size).astype(np.float64)
    expected = np.bincount(counts.shown, expected_clicks(counts), size).astype(np.float64)
    ratios = shrunk(clicks, expected)
    rows = sorted(np.flatnonzero(clicks).tolist(), key=lambda row: (-clicks[row], counts.items[row]))
    return [Liked(counts.items[row], float(clicks[row]), float(ratios[row])) for row in rows]

"""Clicks as judgments: pairs of items, graded by how many times as often they were clicked as their places explain."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vision_recs.catalog.judgments import Pair
from vision_recs.errors import EventsError
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.counts import Counts, read_counts
from vision_recs.feedback.fitting import shrunk
from vision_recs.feedback.liking import expected_clicks


def pairs_of(counts: Counts) -> list[Pair]:
    """Return the pairs of *counts* that are clicked more often than anything at their places would be.

    The grade is clicks / expected clicks, shrunk towards 1 where little is known. So what is often clicked only because
    it was on top is no pair. Pairs are ordered by their ids.
    """
    is_pair = counts.asked >= 0
    keys = counts.asked * len(counts.items) + counts.shown
    found, of_row = np.unique(keys[is_pair], return_inverse=True)
    clicks = np.bincount(of_row, counts.clicks[is_pair], len(found)).astype(np.float64)
    expected = np.bincount(of_row, expected_clicks(counts)[is_pair], len(found)).astype(np.float64)
    grades = shrunk(clicks, expected)
    rows = np.flatnonzero((clicks > 0) & (grades > 1))
    asked, shown = np.divmod(found[rows], len(counts.items))
    return [
        Pair(counts.items[one], counts.items[other], float(grade))
        for one, other, grade in zip(asked.tolist(), shown.tolist(), grades[rows].tolist(), strict=True)
    ]


def read_event_pairs(root: str | Path) -> list[Pair]:
    """Bring the folder of events *root* up to date, and return its pairs; raises EventsError where there are none."""
    compact(root)
    pairs = pairs_of(read_counts(root))
    if not pairs:
        raise EventsError("has no pairs that are clicked more often than others; wait for more clicks", path=str(root))
    return pairs

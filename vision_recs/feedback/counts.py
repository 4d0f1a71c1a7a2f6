"""Counts as arrays: what was shown and clicked, by query item, item and place, without any shopper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_recs.errors import EventsError
from vision_recs.feedback import day_files
from vision_recs.feedback.current import COUNTS, read_current, reads_days
from vision_recs.feedback.event_log import EventFolder
from vision_recs.feedback.records import candidate_arm

_KEYS = ("half", "asked", "shown", "place")
_SUMMED = ("impressions", "clicks", "carts", "buys", "value", "score", "best")


@dataclass(frozen=True)
class Counts:
    """Sums over answers: row i says how often an item was shown at a place for a query item, and what came of it.

    *items* are ids, ascending; *asked* and *shown* (n,) are positions in it, and *asked* is -1 for queries of another
    kind. *place* counts from 0. *score* and *best* are the mean score of the item and of the best item of these
    answers, NaN where they are not known. *half* is that of the shoppers. *days* are those that were summed.
    """

    items: tuple[str, ...]
    half: NDArray[np.int8]
    asked: NDArray[np.int64]
    shown: NDArray[np.int64]
    place: NDArray[np.int64]
    impressions: NDArray[np.float64]
    clicks: NDArray[np.float64]
    score: NDArray[np.float64]
    best: NDArray[np.float64]
    days: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.shown)

    def of_half(self, half: int) -> Counts:
        """Return the counts of one half of the shoppers."""
        rows = self.half == half
        names = ("half", "asked", "shown", "place", "impressions", "clicks", "score", "best")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


@reads_days
def read_counts(root: str | Path, *, since: str | None = None) -> Counts:
    """Return the counts of all days of the folder of events *root*, or of those from the date *since* on.

    Those of candidates are left out: their scores are of other vectors. Equal counts give equal arrays. Raises
    EventsError where there are none, and StoreDamaged.
    """
    folder = EventFolder(Path(root))
    days = {date: parts for date, parts in sorted(read_current(folder).days.items()) if since is None or date >= since}
    tables = [day_files.read_table(folder.root / parts[COUNTS].path) for parts in days.values()]
    tables = [table.filter(pc.invert(pc.starts_with(table["arm"], candidate_arm("")))) for table in tables]
    if not any(len(table) for table in tables):
        raise EventsError("has no counts yet; let shoppers see answers, and run `visrec events`", path=str(folder.root))
    table = pa.concat_tables(tables)
    summed = table.group_by(_KEYS, use_threads=False).aggregate([(name, "sum") for name in _SUMMED])
    return _counts(summed.sort_by([(name, "ascending") for name in _KEYS]), tuple(days))


def _counts(table: pa.Table, days: tuple[str, ...]) -> Counts:
    asked, shown = table["asked"].combine_chunks(), table["shown"].combine_chunks()
    known = pc.unique(pa.concat_arrays([asked, shown]))
    known = known.filter(pc.not_equal(known, ""))
    items = known.take(pc.sort_indices(known))
    impressions = _numbers(table["impressions_sum"])
    return Counts(
        tuple(items.to_pylist()),
        table["half"].to_numpy().astype(np.int8),
        pc.fill_null(pc.index_in(asked, value_set=items), -1).to_numpy().astype(np.int64),
        pc.index_in(shown, value_set=items).to_numpy().astype(np.int64),
        table["place"].to_numpy().astype(np.int64) - 1,
        impressions,
        _numbers(table["clicks_sum"]),
        _numbers(table["score_sum"]) / impressions,
        _numbers(table["best_sum"]) / impressions,
        days,
    )


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(), np.float64)

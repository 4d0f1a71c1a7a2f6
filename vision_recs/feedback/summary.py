"""What a folder of events holds, day by day."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from vision_recs.feedback.current import ANSWERS, COUNTS, EVENTS, Days, reads_days
from vision_recs.feedback.day_files import SUMS


@dataclass(frozen=True, slots=True)
class Day:
    """The *answers* and *events* of the day *date*, those of programs (*programs*), and the sums of its counts."""

    date: str
    answers: int
    events: int
    programs: int
    impressions: int
    clicks: int
    carts: int
    buys: int
    dismissals: int
    value: float


@reads_days
def days_of(root: str | Path) -> list[Day]:
    """Return the days of the folder of events *root*, by date; raises EventsError and StoreDamaged."""
    days = Days.of(root)
    return [_day(days, date) for date in sorted(days.files)]


def _day(days: Days, date: str) -> Day:
    answers, counts = days.table(date, ANSWERS), days.table(date, COUNTS)
    sums = {name: int(pc.sum(counts[name]).as_py() or 0) for name in SUMS}
    return Day(
        date,
        len(answers),
        len(days.table(date, EVENTS)),
        int(pc.sum(answers["bot"]).as_py() or 0),
        value=float(pc.sum(counts["value"]).as_py() or 0.0),
        **sums,
    )


@reads_days
def export_counts(root: str | Path, folder: Path) -> list[Path]:
    """Copy the counts of each day to `<date>.parquet` in *folder*, for other programs; they hold no shopper."""
    import shutil

    days = Days.of(root)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for date, parts in sorted(days.files.items()):
        target = folder / f"{date}.parquet"
        shutil.copyfile(days.folder.root / parts[COUNTS].path, target)
        written.append(target)
    return written

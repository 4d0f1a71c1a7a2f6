"""Progress on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from vision_recs.jobs.progress import Progress, Report

_LINE_EVERY_S = 10.0


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Report]:
    """Yield a function that shows the Progress it is given; silence where *quiet*."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[Report]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, tuple[rich.TaskID, float]] = {}

        def report(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(progress.stage, rate="", total=progress.total), monotonic()
            task, started = tasks[progress.stage]
            rate = f"{progress.done / max(monotonic() - started, 1e-3):,.0f} images/s"
            bar.update(task, completed=progress.done, total=progress.total, rate=rate)

        yield report


class _Lines:
    """Says how far a stage is when it begins, every ten seconds, and when it ends."""

    def __init__(self) -> None:
        self._stage = ""
        self._started = self._said = 0.0

    def __call__(self, progress: Progress) -> None:
        now = monotonic()
        if progress.stage != self._stage:
            self._stage, self._started, self._said = progress.stage, now, now
            return
        if progress.done != progress.total and now - self._said < _LINE_EVERY_S:
            return
        self._said = now
        elapsed = max(now - self._started, 1e-3)
        line = f"{progress.stage}: {progress.done:,}"
        if progress.total is not None:
            remaining = (progress.total - progress.done) * elapsed / max(progress.done, 1)
            line += f" of {progress.total:,} images, {progress.done / elapsed:,.0f} a second"
            line += f", {remaining:,.0f} s to go" if remaining else ""
        typer.echo(line, err=True)

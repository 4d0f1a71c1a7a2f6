"""Progress on stderr: a bar on a terminal; elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from vision_recs.jobs.progress import Progress, ProgressCallback

_LINE_EVERY_S = 10.0


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[ProgressCallback]:
    """Yield a function that shows a Progress, or does nothing if *quiet*."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[ProgressCallback]:
    from rich import progress as rich
    from rich.console import Console

    from .streams import TerminalOfBar

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(file=TerminalOfBar()), transient=True) as bar:
        tasks: dict[str, tuple[rich.TaskID, float, int]] = {}

        def report(progress: Progress) -> None:
            if progress.stage not in tasks:
                task = bar.add_task(progress.stage, rate="", total=progress.total)
                tasks[progress.stage] = task, monotonic(), progress.done
            task, started, before = tasks[progress.stage]
            rate = f"{(progress.done - before) / max(monotonic() - started, 1e-3):,.0f} images/s"
            rate += f" ({progress.detail})" if progress.detail else ""
            bar.update(task, completed=progress.done, total=progress.total, rate=rate)

        yield report


class _Lines:
    """Prints a line for a stage every ten seconds, and when the stage ends."""

    def __init__(self) -> None:
        self._stage = ""
        self._before = 0  # done before the first report, and so in a time that is not known
        self._started = self._printed = 0.0

    def __call__(self, progress: Progress) -> None:
        now = monotonic()
        if progress.stage != self._stage:
            self._stage, self._before = progress.stage, progress.done
            self._started = self._printed = now
            return
        if progress.done != progress.total and now - self._printed < _LINE_EVERY_S:
            return
        self._printed = now
        line = f"{progress.stage}: {progress.done:,}"
        if progress.total is not None:
            rate = (progress.done - self._before) / max(now - self._started, 1e-3)
            line += f" of {progress.total:,} images, {rate:,.0f} a second"
            remaining = progress.total - progress.done
            line += f", {remaining / rate:,.0f} s to go" if remaining and rate else ""
        line += f" ({progress.detail})" if progress.detail else ""
        typer.echo(line, err=True)

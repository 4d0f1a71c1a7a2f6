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
        tasks: dict[str, tuple[rich.TaskID, _Clock]] = {}

        def report(progress: Progress) -> None:
            if progress.stage not in tasks:
                task = bar.add_task(progress.stage, rate="", total=progress.total)
                tasks[progress.stage] = task, _Clock(progress)
            task, clock = tasks[progress.stage]
            rate = f"{clock.rate(progress):,.0f} images/s"
            rate += f" ({progress.detail})" if progress.detail else ""
            bar.update(task, completed=progress.done, total=progress.total, rate=rate)

        yield report


class _Clock:
    """Measures how fast a stage works, from its first report on; what took no work does not count."""

    def __init__(self, first: Progress) -> None:
        self._first, self._started = first, monotonic()

    def rate(self, progress: Progress) -> float:
        worked = progress.done - progress.known - (self._first.done - self._first.known)
        return worked / max(monotonic() - self._started, 1e-3)

    def seconds_left(self, progress: Progress) -> float | None:
        """Return how long the rest takes, if as much of it is known as was before; None where nothing is done."""
        done = progress.done - self._first.done
        if not done or progress.total is None:
            return None
        return (progress.total - progress.done) * (monotonic() - self._started) / done


class _Lines:
    """Prints a line for a stage every ten seconds, and when the stage ends."""

    def __init__(self) -> None:
        self._stage = ""
        self._clock: _Clock | None = None
        self._printed = 0.0

    def __call__(self, progress: Progress) -> None:
        now = monotonic()
        if progress.stage != self._stage or self._clock is None:
            self._stage, self._clock, self._printed = progress.stage, _Clock(progress), now
            return
        if progress.done != progress.total and now - self._printed < _LINE_EVERY_S:
            return
        self._printed = now
        line = f"{progress.stage}: {progress.done:,}"
        if progress.total is not None:
            line += f" of {progress.total:,} images, {self._clock.rate(progress):,.0f} a second"
            left = self._clock.seconds_left(progress)
            line += f", {left:,.0f} s to go" if left else ""
        line += f" ({progress.detail})" if progress.detail else ""
        typer.echo(line, err=True)

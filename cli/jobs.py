"""Running `index` and `embed` for a person: progress, Ctrl-C, and the report at the end."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import typer

from vision_recs.errors import ImagesSkipped

from .output import print_json
from .progress import show_progress
from .terminal import one_line

if TYPE_CHECKING:
    from vision_recs.jobs import EmbedReport, IndexOptions, UpdateReport
    from vision_recs.jobs.progress import ProgressCallback, ShouldStop


class Job(Protocol):
    """`vision_recs.index` or `vision_recs.embed`."""

    def __call__(  # noqa: D102 - see there
        self,
        catalog: str,
        store: Path,
        *,
        encoder: str | None,
        options: IndexOptions,
        progress: ProgressCallback,
    ) -> EmbedReport: ...


def run_job(
    job: Job,
    catalog: str,
    store: Path,
    *,
    encoder: str | None,
    options: IndexOptions,
    json: bool,
    quiet: bool,
    strict: bool,
) -> EmbedReport:
    """Run *job*, print its report and return it; exits with status 130 if the job was interrupted."""
    with until_interrupted(quiet=quiet) as interrupted, show_progress(quiet=quiet) as progress:
        report = job(
            catalog, store, encoder=encoder, options=replace(options, should_stop=interrupted), progress=progress
        )
    if json:
        print_json(asdict(report))
    else:
        _print_report(report)
    if interrupted():
        raise typer.Exit(130)
    if not quiet:
        _print_findings(report)
    if report.skipped or report.stale_images:
        _print_skipped(report, store, strict=strict, quiet=quiet)
    return report


@contextmanager
def until_interrupted(*, quiet: bool) -> Iterator[ShouldStop]:
    """Yield a function that tells whether SIGINT or SIGTERM came; a second signal ends the program at once."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        if not quiet:
            typer.echo("\nfinishing the current shard; press Ctrl-C again to stop at once", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_report(report: EmbedReport) -> None:
    rate = f" ({report.images_per_second:,.0f} a second)" if report.embedded else ""
    if not report.complete:
        typer.echo(f"embedded {report.embedded:,}{rate}; run the same command again to continue")
        return
    typer.echo(f"{report.items:,} items with {report.images:,} images in generation {report.generation}")
    typer.echo(
        f"embedded {report.embedded:,}{rate}, reused {report.reused:,}, skipped {report.skipped:,}, "
        f"removed {report.removed:,} in {report.seconds:,.1f} s"
    )
    if report.embedded:
        stages = ", ".join(f"{stage} {seconds:,.1f} s" for stage, seconds in report.stages.items())
        typer.echo(f"{stages}, in parallel; the bottleneck is {report.bottleneck}")
    typer.echo(
        f"encoder {report.encoder} [{report.fingerprint}], index {report.index_type}, "
        f"recall@10 {report.recall_at_10:.3f}{_shortfall(report)}"
    )
    print_merged(report)
    if report.fallback:
        typer.echo(f"computed by {report.runtime}, which may be ten times slower: {report.fallback}")
    if report.image_attributes:
        typer.echo(one_line(f"attributes of the image, not of the item: {', '.join(report.image_attributes)}"))


def print_notes(notes: Iterable[str]) -> None:
    """Print what there is to say of a catalog or of changes."""
    for note in notes:
        typer.echo(one_line(f"note: {note}"), err=True)


def print_merged(report: EmbedReport | UpdateReport) -> None:
    """Print why the index took longer than after most changes, if it did."""
    if report.merged_in_index:
        typer.echo(f"index: the {report.merged_in_index:,} vectors that lay beside it are part of it now")


def _shortfall(report: EmbedReport) -> str:
    return "" if report.target_recall_met else ", below --target-recall: give it more --max-memory"


def _print_findings(report: EmbedReport) -> None:
    """Print what there is to say of the catalog, and the command for columns in which rows of an item differ."""
    print_notes(report.notes)
    if report.contradictory_columns:
        options = (f"--image-attribute={column}" for column in report.contradictory_columns)
        command = one_line(shlex.join(["visrec", *sys.argv[1:], *options]))
        names = one_line(", ".join(report.contradictory_columns))
        typer.echo(
            f"rows of one item differ in {names}, and the first value is used; if they describe images:\n  {command}",
            err=True,
        )


def counted(reasons: Mapping[str, int]) -> str:
    """Return how many images there are for each reason: `3 timeout, 1 http-403`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())


def lists_of_skipped(store: str | Path | list[str], generation: int) -> str:
    """Return where the images are listed that a *generation* of *store* skipped; of a catalog that is split, all."""
    from vision_recs.store import Layout
    from vision_recs.store.partitions import is_several, store_folders

    if not is_several(store):
        return str(Layout(store_folders(store)[0]).skipped(generation))
    return (
        f"the newest file in each of {', '.join(str(Layout(each).skipped(0).parent) for each in store_folders(store))}"
    )


def _print_skipped(report: EmbedReport, store: Path, *, strict: bool, quiet: bool) -> None:
    """Print how much was skipped, how many images are stale, and why; raises ImagesSkipped if *strict*."""
    parts = []
    if report.skipped:
        parts.append(f"skipped {report.skipped:,} ({counted(report.skipped_reasons)}) beside {report.images:,} images")
    if report.stale_images:
        parts.append(f"{counted(report.stale_images)}: could not be read, and keep the vectors of an earlier run")
    message = f"{'; '.join(parts)}; see {lists_of_skipped(store, report.generation)}"
    if strict:
        raise ImagesSkipped(message)
    if not quiet:
        typer.echo(message, err=True)

"""`visrec update`: change some items of a store."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from vision_recs.errors import CatalogError, ImagesSkipped, write_error
from vision_recs.scratch import scratch_folder
from vision_recs.small_files import MOST_AT_ONCE

from . import options
from .jobs import counted, print_merged, print_notes, until_interrupted
from .output import print_json
from .progress import show_progress

if TYPE_CHECKING:
    from vision_recs.jobs import UpdateReport


def update(
    changes: Annotated[
        Path,
        typer.Argument(
            metavar="CHANGES",
            help="A table of changes (.jsonl, .csv, .tsv, .parquet), or - for JSON Lines on standard input.",
        ),
    ],
    store: options.Stores = None,
    device: options.Device = "auto",
    id_column: options.IdColumn = None,
    image_column: options.ImageColumn = None,
    images_below: options.ImagesBelow = None,
    strict: options.Strict = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Change some items of a store: prices, stock, images, new items, items that are gone.

    A line such as {"id": "mug-01", "price": 12.9} changes an attribute, {"id": "mug-01", "deleted": true} removes an
    item. With "version", a number or a time, a change that comes late does not undo a newer one.
    """
    from vision_recs.catalog import CatalogOptions
    from vision_recs.jobs import IndexOptions
    from vision_recs.jobs import update as job

    stores = options.named_stores(store)
    below = images_below or None
    chosen = IndexOptions(catalog=CatalogOptions(id_column, image_column, images_below=below), device=device)
    with _table(changes) as table, until_interrupted(quiet=quiet) as interrupted, show_progress(quiet=quiet) as show:
        report = job(table, stores, options=replace(chosen, should_stop=interrupted), progress=show)
    if json:
        print_json(asdict(report))
    else:
        _print(report, stores)
    if not quiet:
        print_notes(report.notes)
    if interrupted():
        raise typer.Exit(130)
    if strict and (report.unknown or report.skipped_reasons or report.stale_images):
        raise ImagesSkipped("some changes could not be made as they are; see above")


@contextmanager
def _table(changes: Path) -> Iterator[Path]:
    """Yield the file of *changes*; what comes from standard input is written into one first."""
    if str(changes) != "-":
        yield changes
        return
    with _stopped_by_sigterm(), scratch_folder(Path(tempfile.gettempdir())) as folder:
        file = folder / "stdin.jsonl"
        try:
            with file.open("wb") as copy:
                if sys.stdin is not None:  # which nobody has closed
                    copy.writelines(_checked(sys.stdin.buffer))
        except OSError as error:
            raise write_error(folder.parent, error) from error
        try:
            yield file
        except CatalogError as error:
            error.args = (str(error).replace(str(file), "standard input"),)
            raise


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM stop the program as Ctrl-C does, so that it leaves no file behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _checked(changes: BinaryIO) -> Iterator[bytes]:
    """Yield *changes* in blocks; raises CatalogError for a line without an end, before it has filled the disk."""
    length = 0
    while block := changes.read(1 << 20):
        yield block
        end = max(block.rfind(b"\n"), block.rfind(b"\r"))
        length = len(block) - 1 - end + (length if end < 0 else 0)
        if length > MOST_AT_ONCE:
            raise CatalogError(f"a line has more than {MOST_AT_ONCE:,} characters; break it up", path="standard input")


def _print(report: UpdateReport, store: str | list[str]) -> None:
    if not report.complete:
        typer.echo(f"embedded {report.embedded:,}; run the same command again to continue")
        return
    counts = {
        "changed": report.changed,
        "added": report.added,
        "removed": report.removed,
        "unchanged": report.unchanged,
    }
    items = ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if count or kind == "changed")
    typer.echo(f"{items} in {report.seconds:,.1f} s; generation {report.generation} has {report.items:,} items")
    if report.stale:
        typer.echo(f"stale: {report.stale:,} of {report.changes:,} changes; the store has a version as new")
    if report.unknown:
        typer.echo(f"unknown: {report.unknown:,} of {report.changes:,} changes; the store does not have the item")
    if report.embedded:
        typer.echo(f"embedded {report.embedded:,}")
    print_merged(report)
    if report.skipped_reasons or report.stale_images:
        from .jobs import lists_of_skipped

        parts = [f"skipped {counted(report.skipped_reasons)}"] if report.skipped_reasons else []
        if report.stale_images:
            parts.append(f"{counted(report.stale_images)}: could not be read, and keep the vectors of an earlier run")
        typer.echo(f"{'; '.join(parts)}; see {lists_of_skipped(store, report.generation)}", err=True)

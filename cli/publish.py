"""`visrec publish`: the published generation of a store goes into an engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .output import print_json
from .progress import show_progress

if TYPE_CHECKING:
    from vision_recs.engines import PublishReport


def publish(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="The engine: lance:DIR, lance+s3://BUCKET/PATH, milvus:FILE.db, milvus://HOST:PORT/DATABASE.",
        ),
    ],
    store: options.Store = options.STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, and print what would be written.")] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Let readers open the generation before, which is kept. Reads no store.")
    ] = False,
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many generations to keep, with the newest. [default: 2]")
    ] = None,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write every record again, also those that look right.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Publish the store to an engine, a vector database outside, from which other machines answer.

    Only what differs is written. Readers see the new generation when all of it is there and was verified. Stop it at
    any time and run it again to continue.
    """
    from vision_recs.engines import PublishOptions
    from vision_recs.engines import publish as job
    from vision_recs.jobs.progress import Progress

    if rollback:
        for name, given in (("--dry-run", dry_run), ("--rewrite", rewrite), ("--keep", keep is not None)):
            if given:
                raise typer.BadParameter(f"cannot be combined with {name}", param_hint="--rollback")
        _roll_back(uri, json=json)
        return
    chosen = PublishOptions(dry_run=dry_run, rewrite=rewrite, keep=2 if keep is None else keep)
    with show_progress(quiet=quiet) as show:
        report = job(
            uri,
            Path(store),
            options=chosen,
            progress=lambda stage, done, total: show(Progress(stage, done, total)),
        )
    for note in report.notes:
        typer.echo(note, err=True)
    if json:
        print_json(asdict(report))
    else:
        _print_report(report)


def _roll_back(uri: str, *, json: bool) -> None:
    from vision_recs.engines import rollback

    before, now = rollback(uri)
    if json:
        print_json({"uri": uri, "before": before, "generation": now})
    else:
        typer.echo(f"readers of {uri} open generation {now} again, not {before}; `visrec publish` undoes that")


def _print_report(report: PublishReport) -> None:
    counts = (
        f"inserted {report.inserted:,}, replaced {report.replaced:,}, deleted {report.deleted:,}, "
        f"unchanged {report.unchanged:,} images"
    )
    if report.dry_run:
        typer.echo(f"generation {report.generation} would be published to {report.uri}: {counts}")
        return
    typer.echo(f"published generation {report.generation} to {report.uri} in {report.seconds:,.1f} s: {counts}")
    kept = ", ".join(map(str, report.kept))
    typer.echo(
        f"recall@10 {report.recall:.3f}, with filters {report.filtered_recall:.3f} at least; kept generations: {kept}"
    )

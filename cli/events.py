"""`visrec events`: import a shop's logs, bring the days up to date, and say what there is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .output import print_json, print_table, print_verification
from .terminal import one_line

if TYPE_CHECKING:
    from vision_recs.feedback.compaction import Compacted
    from vision_recs.feedback.forgetting import Forgotten
    from vision_recs.feedback.importing import Imported
    from vision_recs.feedback.summary import Day


def events(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Logs of the shop: .jsonl, .csv or .parquet, an event in each row."),
    ] = None,
    events: options.Events = options.EVENTS,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="SHOPPER", help="Remove everything about this shopper.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its digest.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="Copy the counts, which hold no shopper, as Parquet.")
    ] = None,
    retention: Annotated[
        int | None,
        typer.Option("--retention", metavar="DAYS", min=1, help="Remove days that are older. [default: keep all]"),
    ] = None,
    json: options.Json = False,
) -> None:
    """Import events, bring the days and counts up to date, and show them.

    What is imported is counted once, however often a file is named. Days are those of UTC.
    """
    if verify:
        if files or forget is not None or export or retention is not None:
            raise typer.BadParameter(
                "cannot be combined with files, --forget, --export or --retention", param_hint="--verify"
            )
        _verify(events, json=json)
        return
    if forget == "":
        raise typer.BadParameter(
            "names nobody; write the name that the shop has for the shopper", param_hint="--forget"
        )
    from vision_recs.feedback.compaction import compact
    from vision_recs.feedback.forgetting import forget as run_forget
    from vision_recs.feedback.importing import import_events
    from vision_recs.feedback.summary import days_of, export_counts

    imported = import_events(events, files) if files else None
    forgotten = None if forget is None else run_forget(events, forget)
    compacted = compact(events, retention_days=retention)
    days = days_of(events)
    exported = [] if export is None else export_counts(events, export)
    if json:
        print_json(
            {
                "imported": None if imported is None else {**asdict(imported), "ignored": sorted(imported.ignored)},
                "forgotten": None if forgotten is None else asdict(forgotten),
                **asdict(compacted),
                "days": [asdict(day) for day in days],
                "exported": [str(path) for path in exported],
            }
        )
    else:
        _print(imported, forgotten, compacted, days)
        if export is not None:
            typer.echo(f"copied the counts of {len(exported)} days to {one_line(str(export))}")
    if imported is not None and imported.rows == imported.refused > 0:
        raise typer.Exit(1)


def _print(imported: Imported | None, forgotten: Forgotten | None, compacted: Compacted, days: list[Day]) -> None:
    if imported is not None:
        _print_imported(imported)
    if forgotten is not None:
        typer.echo(f"forgot {forgotten.answers:,} answers and {forgotten.events:,} events")
    _print_compacted(compacted)
    _print_days(days)


def _verify(folder: Path, *, json: bool) -> None:
    from vision_recs.feedback.verification import verify

    print_verification(folder, list(verify(folder)), "damaged file(s) or line(s)", json=json)


def _print_imported(imported: Imported) -> None:
    typer.echo(
        f"imported {imported.answers:,} answers and {imported.events:,} events of {imported.rows:,} rows; "
        f"{imported.refused:,} were refused"
    )
    for problem in imported.problems:
        typer.echo(one_line(problem), err=True)
    if imported.refused > len(imported.problems):
        typer.echo(f"and {imported.refused - len(imported.problems):,} more", err=True)
    if imported.ignored:
        typer.echo(one_line(f"columns that mean nothing here: {', '.join(sorted(imported.ignored))}"), err=True)


def _print_compacted(found: Compacted) -> None:
    notes = [
        (found.duplicates, "were known already"),
        (found.grown, "known answers show more items now"),
        (found.left_out, "items were left out, because another item has their place in the answer"),
        (found.damaged, "lines were cut off or altered"),
        (found.foreign, "belong to answers of another folder"),
        (found.waiting, "wait for their answer"),
        (found.expired, "days were removed"),
    ]
    more = "".join(f"; {count:,} {note}" for count, note in notes if count)
    typer.echo(f"{found.answers:,} new answers and {found.events:,} new events{more}")


def _print_days(days: list[Day]) -> None:
    if not days:
        return
    rows = [
        (
            day.date,
            *(f"{count:,}" for count in (day.answers, day.events, day.impressions, day.clicks, day.carts, day.buys)),
            f"{day.value:,.2f}",
            f"{day.programs:,}",
        )
        for day in days
    ]
    print_table(
        ("day", "answers", "events", "impressions", "clicks", "carts", "buys", "value", "answers to programs"), rows
    )

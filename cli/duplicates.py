"""`visrec duplicates`: groups of items that look the same, and placeholder images."""

from __future__ import annotations

import csv as csv_file
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .output import print_json, print_table
from .progress import show_progress

if TYPE_CHECKING:
    from vision_recs.batch.duplicates import Duplicates

_NAMED = 3
"""Items of a placeholder that are named on a terminal."""


def duplicates(
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="The least score of the best pair of images of two duplicates. [default: measured on the data, 3.5 "
            "standard deviations above the usual score of the nearest item of another product; 0.9 to 0.985; and below "
            "it, copies in another size, quality or margin, by their pixels]",
        ),
    ] = None,
    one_per: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Items with the same value of this attribute are variants, and duplicates only where their images "
            "have the same bytes; 'item': no items are variants. [default: variant_group]",
        ),
    ] = None,
    placeholder: Annotated[
        int,
        typer.Option(
            min=2, help="An image that at least this many products share is a placeholder and is not compared."
        ),
    ] = 10,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=options.new_file, help="Write a table with a row for each item, too."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=options.new_file, help="Write a page of images, too.")
    ] = None,
    store: options.Store = options.STORE,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print groups of items that look the same, and placeholders.

    A placeholder is an image that many items share.
    """
    from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
    from vision_recs.jobs.progress import Progress
    from vision_recs.recommend import EVERY_ITEM, VARIANTS
    from vision_recs.store import Store

    if threshold is not None and not 0 < threshold <= 1:
        raise typer.BadParameter(f"{threshold} is not above 0 and at most 1", param_hint="--threshold")
    variants = VARIANTS if one_per is None else None if one_per == EVERY_ITEM else one_per
    chosen = DuplicateOptions(threshold=threshold, one_per=variants, placeholder=placeholder, device=device)
    with Store.open(store) as opened:
        opened.pin()
        with show_progress(quiet=quiet) as progress:
            found = find_duplicates(
                opened, chosen, progress=lambda stage, done, total: progress(Progress(stage, done, total))
            )
        if json:
            _print_json(found)
        else:
            _print_groups(found)
        if csv is not None:
            _write_csv(csv, found)
            typer.echo(f"wrote {csv}", err=True)
        if html is not None:
            from .html.duplicates_page import write_page

            write_page(html, opened, found)
            typer.echo(f"wrote {html}", err=True)


def _print_json(found: Duplicates) -> None:
    for group in found.groups:
        print_json({**asdict(group), "score": round(group.score, 6), "threshold": found.threshold})
    for placeholder in found.placeholders:
        print_json({"kind": "placeholder", **asdict(placeholder)})


def _print_groups(found: Duplicates) -> None:
    how = ", measured on the data" if found.is_estimated else ""
    if found.looked_at:
        how += f"; {_counted(found.looked_at, 'image')} compared by pixels"
    if found.unread:
        how += f"; {_counted(found.unread, 'image')} of other machines, lost or changed, by vectors alone"
    typer.echo(
        f"{_counted(len(found.groups), 'group')} of duplicates and {_counted(len(found.placeholders), 'placeholder')} "
        f"among {_counted(found.items, 'item')}; threshold {found.threshold:.3f}{how}"
    )
    rows: list[tuple[str, ...]] = [
        (group.kind, f"{group.score:.3f}", str(len(group.items)), "  ".join(group.items)) for group in found.groups
    ]
    rows += [
        ("placeholder", "", str(len(each.items)), f"{each.image}: {_some_of(each.items)}")
        for each in found.placeholders
    ]
    if rows:
        print_table(("", "score", "items", ""), rows)


def _some_of(items: Sequence[str]) -> str:
    return "  ".join(items[:_NAMED]) + (" ..." if len(items) > _NAMED else "")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _write_csv(path: Path, found: Duplicates) -> None:
    """Write a row for each item of a group or of a placeholder; groups are numbered from 1."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv_file.writer(file)
        writer.writerow(("group", "kind", "score", "item_id", "image"))
        for number, group in enumerate(found.groups, 1):
            for item, image in zip(group.items, group.images, strict=True):
                writer.writerow((number, group.kind, f"{group.score:.6f}", item, image))
        for number, placeholder in enumerate(found.placeholders, len(found.groups) + 1):
            for item in placeholder.items:
                writer.writerow((number, "placeholder", "", item, placeholder.image))

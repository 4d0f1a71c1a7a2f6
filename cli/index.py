"""`visrec index`: catalogue -> store -> index, in one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vision_recs.errors import PicturesSkipped

from . import options
from .progress import show_progress
from .render import print_json

if TYPE_CHECKING:
    from vision_recs.jobs import IndexReport


def index(
    catalog: Annotated[
        Path, typer.Argument(metavar="CATALOG", help="A folder of pictures, or a table (.csv, .tsv, .jsonl, .parquet).")
    ],
    store: options.Index = options.INDEX,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            envvar="VISREC_ENCODER",
            metavar="NAME",
            help="See `visrec encoders`. [default: that of the index, else efficientnet-lite0]",
        ),
    ] = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    id_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of ids. [default: id, item_id, product_id, sku ...]")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of pictures. [default: image, picture, file ...]")
    ] = None,
    picture_column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A column that describes a picture, not its item. May be repeated."),
    ] = None,
    item_per_folder: Annotated[
        bool, typer.Option("--item-per-folder", help="Each folder is one item with several pictures.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the end if a picture had to be skipped.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Index a catalogue; run it again after changes, and only the difference is done."""
    from vision_recs.catalog import CatalogOptions
    from vision_recs.jobs import IndexOptions
    from vision_recs.jobs import index as run
    from vision_recs.store import Layout

    read = CatalogOptions(id_column, image_column, tuple(picture_column or ()), item_per_folder)
    chosen = IndexOptions(catalog=read, weights=weights, device=device)
    with show_progress(quiet=quiet) as progress:
        report = run(catalog, store, encoder=encoder, options=chosen, progress=progress)
    if json:
        print_json(asdict(report))
    else:
        _print_report(report)
        _hint_at_table(catalog)
    if report.skipped:
        _say_skipped(report, Layout(store).skipped(report.generation), strict=strict, quiet=quiet)


def _print_report(report: IndexReport) -> None:
    typer.echo(f"{report.items:,} items with {report.pictures:,} pictures in generation {report.generation}")
    rate = f" ({report.pictures_per_second:,.0f} a second)" if report.embedded else ""
    typer.echo(
        f"embedded {report.embedded:,}{rate}, reused {report.reused:,}, skipped {report.skipped:,}, "
        f"removed {report.removed:,} in {report.seconds:,.1f} s"
    )
    typer.echo(
        f"encoder {report.encoder} [{report.fingerprint}], engine {report.engine}, recall@10 {report.recall_at_10:.3f}"
    )
    if report.picture_columns:
        typer.echo(f"kept with each picture, not with its item: {', '.join(report.picture_columns)}")


def _hint_at_table(catalog: Path) -> None:
    table = next((catalog / name for name in ("catalog.csv", "catalog.parquet") if (catalog / name).is_file()), None)
    if table:
        typer.echo(f"each picture became an item; for the items and attributes of {table}, index that file instead")


def _say_skipped(report: IndexReport, file: Path, *, strict: bool, quiet: bool) -> None:
    """Say how many pictures were skipped and why: as an error if *strict*."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.skipped_reasons.items())
    message = f"skipped {report.skipped:,} of {report.skipped + report.pictures:,} pictures ({reasons}); see {file}"
    if strict:
        raise PicturesSkipped(message)
    if not quiet:
        typer.echo(message, err=True)

"""`visrec neighbors`: the most similar items of every item, in one file."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, similar
from .output import print_json
from .progress import show_progress

if TYPE_CHECKING:
    from vision_recs.batch.neighbors import NeighborsReport


class Method(StrEnum):
    """How the nearest images are found."""

    AUTO = "auto"
    EXACT = "exact"
    INDEX = "index"


def neighbors(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file to write: .parquet, .jsonl or .csv.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbors for each item.")] = 20,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="Only items that match are neighbors, as in 'in_stock'.")
    ] = None,
    query_filter: Annotated[
        str | None, typer.Option(metavar="EXPR", help="Only items that match get neighbors.")
    ] = None,
    changed_since: Annotated[
        int | None,
        typer.Option(
            metavar="GENERATION",
            help="Write only the items whose neighbors (ids or scores) differ from those in this older generation "
            "with the same options; an item that was removed, or that has no neighbors now, has one row of nulls, or "
            "an empty list. `visrec info` prints the generation; `visrec gc` removes older ones.",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help='Write one line for each item: {"item_id": ..., "neighbors": [[neighbor_id, score], ...]}.',
        ),
    ] = False,
    exclude: similar.Excluded = None,
    one_per: similar.OnePer = None,
    min_score: similar.MinScore = None,
    diversity: similar.Diversity = None,
    averaging: similar.Averaging = None,
    rules: similar.RulesFile = None,
    method: Annotated[
        Method,
        typer.Option(help="Compare all images exactly, or search the index. [auto: exact up to 300,000 images]"),
    ] = Method.AUTO,
    store: options.Stores = None,
    engine: options.Engine = None,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the most similar items of every item to a file.

    Stop it at any time and run it again to continue.
    """
    from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors, write_neighbors_of_engine
    from vision_recs.jobs.progress import Progress

    stores = options.named_stores(store)
    chosen = NeighborsOptions(
        k=k,
        where=similar.filter_of(where),
        query_filter=similar.filter_of(query_filter),
        policy=similar.policy_of(rules, exclude or [], one_per, min_score, diversity, averaging),
        method=method.value,
        changed_since=changed_since,
        nested=nested,
        device=device,
    )
    with show_progress(quiet=quiet) as progress:

        def show(done: int, total: int) -> None:
            progress(Progress("finding neighbors", done, total))

        if engine is None:
            report = write_neighbors(stores, out, chosen, progress=show)
        else:
            report = write_neighbors_of_engine(engine, out, chosen, progress=show)
    if where is not None or query_filter is not None:
        with similar.open_items(stores, engine, None, device) as (items, _):
            similar.note_unknown_values(items, chosen.where, chosen.query_filter)
    if json:
        print_json(asdict(report))
    else:
        _print_report(report)


def _print_report(report: NeighborsReport) -> None:
    changed = "" if report.changed_since is None else f" that changed since generation {report.changed_since}"
    resumed = f", {report.resumed:,} items were done before" if report.resumed else ""
    found = (
        "compared exactly"
        if report.method == "exact"
        else f"searched in the engine, recall@10 {report.recall:.3f}"
        if report.method == "engine"
        else f"searched with the index {report.method}, recall@{report.k} {report.recall:.3f}"
    )
    typer.echo(f"wrote {report.rows:,} rows for {report.items:,} items{changed} to {report.out}")
    typer.echo(f"{found}{resumed}, in {report.seconds:,.1f} s")

"""`visrec tune`: learn from the shop's own data what similar means, and keep it only where it helps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vision_recs

from . import options
from .evaluation_output import difference_cells, intervals_json
from .output import print_json, print_table

if TYPE_CHECKING:
    from vision_recs.tune import Tuned


def tune(
    store: options.Store = options.STORE,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Items with equal values of this attribute are similar.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of clicks or co-purchases: query, relevant, weight.")
    ] = None,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Judge by single images, which ask for their own item, too.")
    ] = False,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Learn only from items that match.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the vectors of the encoder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would bring, and publish nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Learn a projection of the vectors; it is published only if unseen items find better what is similar to them.

    Without --labels and --pairs it learns that the images of an item belong together.
    """
    from vision_recs.jobs import retune

    if undo:
        if labels or pairs or per_image or where or dry_run:
            raise typer.BadParameter("it stands alone", param_hint="--undo")
        undone = retune(store, None)
        _print_undone(undone.generation, undone.fingerprint, json=json)
        return
    if labels is not None and pairs is not None:
        raise typer.BadParameter("choose one of --labels and --pairs")
    if per_image and pairs is not None:
        raise typer.BadParameter("pairs are of items, so images cannot ask", param_hint="--per-image")
    opened = vision_recs.Store.open(store)
    tuned = _tune(opened, labels, pairs, where, per_image=per_image)
    generation = None
    if tuned.is_better and not dry_run:
        generation = retune(store, tuned.projection, encoder=opened.manifest.encoder.fingerprint).generation
    if json:
        print_json(_json(tuned, generation))
    else:
        _print(tuned, generation)


def _tune(
    opened: vision_recs.Store, labels: str | None, pairs: Path | None, where: str | None, *, per_image: bool
) -> Tuned:
    from vision_recs.catalog.judgements import read_pairs
    from vision_recs.tune import TuneOptions
    from vision_recs.tune import tune as run

    matching = None if where is None else vision_recs.Filter.parse(where)
    return run(opened, TuneOptions(labels, None if pairs is None else read_pairs(pairs), per_image, matching))


def _json(tuned: Tuned, generation: int | None) -> dict[str, object]:
    return {
        "before": intervals_json(tuned.before),
        "after": intervals_json(tuned.after),
        "differences": {name: asdict(difference) for name, difference in tuned.differences.items()},
        "published": generation is not None,
        "generation": generation,
        "reason": _verdict(tuned, generation),
        "lesson": tuned.lesson,
        "items": tuned.items,
        "queries": tuned.queries,
        "dim": tuned.projection.dim,
        "seconds": tuned.seconds,
    }


def _print(tuned: Tuned, generation: int | None) -> None:
    typer.echo(
        f"learnt from {tuned.items:,} items by {tuned.lesson} in {tuned.seconds:,.1f} s; "
        f"judged by {tuned.queries:,} queries that it had not seen"
    )
    rows = [
        (
            name.replace("_", " "),
            f"{tuned.before[name].value:.3f}",
            f"{tuned.after[name].value:.3f}",
            *difference_cells(difference)[:3],
        )
        for name, difference in tuned.differences.items()
    ]
    print_table(("", "plain", "tuned", "difference", "95 %", "p"), rows)
    typer.echo(_verdict(tuned, generation))


def _verdict(tuned: Tuned, generation: int | None) -> str:
    difference = tuned.differences[tuned.decided_by]
    bounds = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    name = tuned.decided_by.replace("_", " ")
    if generation is not None:
        return f"published as generation {generation}: {name} {bounds}"
    if tuned.is_better:
        return f"not published, as you wished; {name} would change by {bounds}"
    return f"not published: {name} {bounds} is not above 0 beyond its 95 % bounds; the index is as it was"


def _print_undone(generation: int, fingerprint: str, *, json: bool) -> None:
    if json:
        print_json({"undone": True, "generation": generation, "fingerprint": fingerprint})
    else:
        typer.echo(f"published generation {generation} with the vectors of the encoder [{fingerprint}]")

"""`visrec tune`: learn a projection of the vectors from the shop's own data, and publish it only if it helps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .evaluation_output import difference_cells, intervals_json
from .output import print_json, print_table
from .similar import filter_of

if TYPE_CHECKING:
    from vision_recs.store import Store
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
        bool,
        typer.Option(
            "--per-image", help="Evaluate with single images: each is a query, also for the other images of its item."
        ),
    ] = False,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Learn only from items that match.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the vectors of the encoder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what it would change, and publish nothing.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Learn a projection of the vectors from the shop's own data.

    It is published only if held-out items find their similar items better. Without --labels and --pairs, it learns that
    the images of an item are similar to each other.
    """
    from vision_recs.jobs import retune
    from vision_recs.store import Store

    if undo:
        if labels or pairs or per_image or where or dry_run:
            raise typer.BadParameter("cannot be combined with other options", param_hint="--undo")
        undone = retune(store, None)
        _print_undone(undone.generation, undone.space, json=json)
        return
    if labels is not None and pairs is not None:
        raise typer.BadParameter("give either --labels or --pairs")
    if per_image and pairs is not None:
        raise typer.BadParameter("cannot be combined with --pairs, which are pairs of items", param_hint="--per-image")
    with Store.open(store) as opened:
        tuned = _tune(opened, labels, pairs, where, per_image=per_image)
    generation = None
    if tuned.is_better and not dry_run:
        generation = retune(store, tuned.projection, encoder=opened.encoder.fingerprint).generation
    if json:
        print_json(_json(tuned, generation))
    else:
        _print(tuned, generation)


def _tune(opened: Store, labels: str | None, pairs: Path | None, where: str | None, *, per_image: bool) -> Tuned:
    from vision_recs.catalog.judgments import read_pairs
    from vision_recs.tune import TuneOptions
    from vision_recs.tune import tune as run

    judgments = None if pairs is None else read_pairs(pairs)
    return run(opened, TuneOptions(labels, judgments, per_image, filter_of(where)))


def _json(tuned: Tuned, generation: int | None) -> dict[str, object]:
    return {
        "before": intervals_json(tuned.before),
        "after": intervals_json(tuned.after),
        "differences": {name: asdict(difference) for name, difference in tuned.differences.items()},
        "published": generation is not None,
        "generation": generation,
        "reason": _verdict(tuned, generation),
        "learned_from": tuned.learned_from,
        "items": tuned.items,
        "queries": tuned.queries,
        "dim": tuned.projection.dim,
        "seconds": tuned.seconds,
    }


def _print(tuned: Tuned, generation: int | None) -> None:
    typer.echo(
        f"learned from {tuned.items:,} items by {tuned.learned_from} in {tuned.seconds:,.1f} s; "
        f"evaluated with {tuned.queries:,} held-out queries"
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
    print_table(("", "before", "after", "difference", "95 %", "p"), rows)
    typer.echo(_verdict(tuned, generation))


def _verdict(tuned: Tuned, generation: int | None) -> str:
    difference = tuned.differences[tuned.decided_by]
    bounds = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    name = tuned.decided_by.replace("_", " ")
    if generation is not None:
        return f"published as generation {generation}: {name} {bounds}"
    if tuned.is_better:
        return f"dry run: not published; {name} would change by {bounds}"
    return f"not published: {name} {bounds} is not significantly better; the store is unchanged"


def _print_undone(generation: int, fingerprint: str, *, json: bool) -> None:
    if json:
        print_json({"undone": True, "generation": generation, "fingerprint": fingerprint})
    else:
        typer.echo(f"published generation {generation} with the vectors of the encoder [{fingerprint}]")

"""`visrec tune`: learn a projection of the vectors from the shop's own data, and publish it only if it helps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .evaluation_output import difference_cells, intervals_json, judged_pairs
from .output import print_json, print_table
from .similar import filter_of

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
    events: options.EventPairs = None,
    per_image: Annotated[
        bool,
        typer.Option(
            "--per-image", help="Evaluate with single images: each is a query, also for the other images of its item."
        ),
    ] = False,
    unsupervised: Annotated[
        bool,
        typer.Option(
            "--unsupervised",
            help="Learn from the vectors alone: center them, and keep the axes that tell products apart. --labels or "
            "--pairs, or else variants or the images of each item, say whether it does harm.",
        ),
    ] = False,
    words: Annotated[
        bool,
        typer.Option("--words", help="Learn only how much the words of items count beside their images."),
    ] = False,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Learn only from items that match.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the vectors of the encoder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what it would change, and publish nothing.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Learn a projection of the vectors from the shop's own data.

    It is published only if held-out items find their similar items better, or with --unsupervised no worse. Without
    --labels, --pairs and --events, it learns that the images of an item are similar to each other.
    """
    from vision_recs.jobs import retune
    from vision_recs.store import Store
    from vision_recs.tune import TuneOptions
    from vision_recs.tune import tune as run

    if undo:
        if labels or pairs or events or per_image or unsupervised or words or where or dry_run:
            raise typer.BadParameter("cannot be combined with other options", param_hint="--undo")
        undone = retune(store, None)
        _print_undone(undone.generation, undone.space, json=json)
        return
    named = pairs or events
    if labels is not None and named is not None:
        raise typer.BadParameter("give one of --labels, --pairs and --events")
    if per_image and named is not None:
        raise typer.BadParameter(
            "cannot be combined with --pairs or --events, which are pairs of items", param_hint="--per-image"
        )
    if words and (per_image or unsupervised):
        raise typer.BadParameter("cannot be combined with --per-image or --unsupervised", param_hint="--words")
    judgments = judged_pairs(pairs, events)
    with Store.open(store) as opened:
        how = TuneOptions(labels, judgments, per_image, filter_of(where), unsupervised, words)
        tuned = run(opened, how)
    generation = None
    if tuned.is_better and not dry_run:
        generation = retune(store, tuned.projection, encoder=opened.encoder.fingerprint).generation
    if json:
        print_json(_json(tuned, generation))
    else:
        _print(tuned, generation)


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
        **({"words": float(share)} if (share := _share_of_words(tuned)) else {}),
        "seconds": tuned.seconds,
    }


def _print(tuned: Tuned, generation: int | None) -> None:
    typer.echo(
        f"learned from {tuned.items:,} items by {tuned.learned_from} in {tuned.seconds:,.1f} s; "
        f"evaluated with {tuned.queries:,} held-out queries"
    )
    if share := _share_of_words(tuned):
        typer.echo(f"words do best with a share of {share} of the score")
    if not tuned.queries:
        typer.echo(_verdict(tuned, generation))
        return
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


def _share_of_words(tuned: Tuned) -> str | None:
    """Return what words count in a score by what was learned, where only that was."""
    return tuned.projection.provenance.get("words")


def _verdict(tuned: Tuned, generation: int | None) -> str:
    if not tuned.queries:
        nothing = "no item has a variant or a second image, by which harm would show; compare with --labels"
        what = "dry run: not published" if generation is None else f"published as generation {generation}"
        return f"{what}: {nothing}"
    difference = tuned.differences[tuned.decided_by]
    bounds = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    name = tuned.decided_by.replace("_", " ")
    if generation is not None:
        return f"published as generation {generation}: {name} {bounds}"
    if tuned.is_better:
        return f"dry run: not published; {name} would change by {bounds}"
    verdict = f"may be worse by more than {tuned.may_lose}" if tuned.may_lose else "is not significantly better"
    return f"not published: {name} {bounds} {verdict}; the store is unchanged"


def _print_undone(generation: int, fingerprint: str, *, json: bool) -> None:
    if json:
        print_json({"undone": True, "generation": generation, "fingerprint": fingerprint})
    else:
        typer.echo(f"published generation {generation} with the vectors of the encoder [{fingerprint}]")

"""`visrec learn`: learn from what shoppers did, and publish it only if it brings more clicks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .evaluation_output import difference_cells
from .output import print_json, print_table

if TYPE_CHECKING:
    from vision_recs.feedback import LearnReport


def learn(
    events: options.Events = options.EVENTS,
    store: options.Store = options.STORE,
    since: options.Since = None,
    most: Annotated[
        float, typer.Option(metavar="SCORE", min=0, max=2, help="The most that an item is moved, as in [learn].")
    ] = 0.2,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to plain answers.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what it would change, and publish nothing.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Learn the order of answers from what shoppers did.

    It is published only if shoppers from whom nothing was learned would click more. Answers follow it where the rules
    have a table [learn].
    """
    from vision_recs.jobs import publish_model

    if undo:
        if since or dry_run:
            raise typer.BadParameter("cannot be combined with other options", param_hint="--undo")
        generation = publish_model(store, None).generation
        if json:
            print_json({"undone": True, "generation": generation})
        else:
            typer.echo(f"published generation {generation} with plain answers")
        return
    from vision_recs.feedback import compact, read_answers, read_counts
    from vision_recs.feedback import learn as run
    from vision_recs.store import Store

    day = None if since is None else since.date().isoformat()
    compact(events)
    with Store.open(store) as opened:
        report = run(read_counts(events, since=day), read_answers(events, since=day), opened, most=most)
        space = opened.fingerprint
    published = None
    if report.is_better and not dry_run:
        published = publish_model(store, report.model.to_bytes(), space=space).generation
    if json:
        print_json(_json(report, published))
    else:
        _print(report, published)


def _verdict(report: LearnReport, generation: int | None) -> str:
    if not report.is_better:
        return f"not published: {report.why}; the store is unchanged"
    return "dry run: not published" if generation is None else f"published as generation {generation}"


def _json(report: LearnReport, generation: int | None) -> dict[str, object]:
    return {
        "clicks": report.clicks,
        "impressions": report.impressions,
        "judged": None if report.judged is None else asdict(report.judged),
        "published": generation is not None,
        "generation": generation,
        "reason": _verdict(report, generation),
        "model": report.model.digest,
        "examination": [round(each, 4) for each in report.model.fitted.examination.tolist()],
        "weights": {
            name: round(weight, 4)
            for name, weight in zip(report.model.features.names, report.model.fitted.weights.tolist(), strict=True)
        },
    }


def _print(report: LearnReport, generation: int | None) -> None:
    typer.echo(f"learned from {report.clicks:,} clicks of {report.impressions:,} impressions")
    judged = report.judged
    if judged is not None:
        typer.echo(
            f"judged by {judged.answers:,} answers, as good as {judged.effective:,.0f} of the learned order itself"
        )
        row = ("clicks an answer", f"{judged.plain.value:.4f}", f"{judged.learned.value:.4f}")
        cells = difference_cells(judged.difference, digits=4)[:3]
        print_table(("", "plain", "learned", "difference", "95 %", "p"), [(*row, *cells)])
    typer.echo(_verdict(report, generation))

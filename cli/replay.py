"""`visrec replay`: what another order would have brought to the shoppers of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .evaluation_output import difference_cells
from .output import print_json, print_table
from .terminal import one_line

if TYPE_CHECKING:
    from vision_recs.feedback import LoggedAnswers, Replayed
    from vision_recs.feedback.replaying import Target


def replay(
    events: options.Events = options.EVENTS,
    store: options.Store = options.STORE,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="The answers of the store under these rules.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", metavar="DIR", help="The answers of this other store; under --rules, if these are given."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="The logged candidates by score and rules alone.")] = False,
    since: options.Since = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", callback=options.new_file, help="Write a page with plots.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Estimate what other answers would have brought to the shoppers of the log, in clicks an answer.

    It is refused where the log says too little about them; the page says why.
    """
    from vision_recs.feedback import compact, read_answers, read_counts
    from vision_recs.feedback.replaying import ASSUMPTION, replay_anyway
    from vision_recs.store import Store

    if plain == (rules is not None or baseline is not None):
        raise typer.BadParameter("give either --plain, or --rules FILE or --baseline DIR")
    compact(events)
    day = None if since is None else since.date().isoformat()
    answers = read_answers(events, since=day)
    with Store.open(store) as opened:
        target = _target(baseline or store, rules, answers, plain=plain)
        found = replay_anyway(read_counts(events), answers, opened, target)
    if html is not None:
        from .html.replay_page import write_page

        write_page(html, found, of=_name(rules, baseline))
        typer.echo(one_line(f"wrote {html}"), err=True)
    found.require()
    if json:
        print_json({**asdict(found), "assumption": ASSUMPTION})
        return
    _print(found, ASSUMPTION)


def _name(rules: Path | None, baseline: Path | None) -> str:
    """Return what was replayed, for a reader."""
    if rules is None and baseline is None:
        return "the logged candidates by score and rules alone"
    store = "the store" if baseline is None else f"the store {baseline}"
    return f"the answers of {store}" + ("" if rules is None else f" under {rules}")


def _target(store: Path, rules: Path | None, answers: LoggedAnswers, *, plain: bool) -> Target:
    from vision_recs.feedback.replaying import listed
    from vision_recs.feedback.replaying import plain as plain_order

    return plain_order if plain else listed(_lists(store, rules, answers))


def _lists(store: Path, rules: Path | None, answers: LoggedAnswers) -> dict[str, Sequence[str]]:
    """Return the answers under *rules* for each item that was asked for and is in *store*, without pinned items."""
    from vision_recs.recommend import Policy, Query, Recommender, read_policy

    policy = Policy() if rules is None else read_policy(rules)
    k = max((shape.size + len(shape.pins) for shape in answers.shapes), default=1)
    asked = sorted({answers.items[code] for code in answers.asked.tolist() if code >= 0})
    with Recommender.open(store) as recommender:
        known = recommender.items.attributes_of(asked)
        found = {item: recommender.query(Query(items=(item,), k=k), policy) for item in asked if item in known}
    return {
        item: [
            match.id
            for match in matches
            if match.explanation is None or all(effect.position is None for effect in match.explanation.effects)
        ]
        for item, matches in found.items()
    }


def _print(found: Replayed, assumption: str) -> None:
    typer.echo(
        f"{found.answers:,} answers, as good as {found.effective:,.0f} of the other order itself; the log could have "
        f"shown {found.support:.1%} of it"
    )
    cells = difference_cells(found.difference, digits=4)[:3]
    row = ("clicks an answer", f"{found.had.value:.4f}", f"{found.would.value:.4f}", *cells)
    print_table(("", "had", "would have had", "difference", "95 %", "p"), [row])
    typer.echo(assumption)

"""`visrec outcomes`: what shoppers did, by arm, and how answers are spread over the items."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .output import print_json, print_table
from .terminal import one_line

if TYPE_CHECKING:
    from vision_recs.feedback import Outcomes
    from vision_recs.metrics import Difference


def outcomes(
    events: options.Events = options.EVENTS,
    since: options.Since = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
    json: options.Json = False,
) -> None:
    """Show what shoppers did, by arm, with bounds that hold whenever one looks."""
    from vision_recs.feedback import compact, read_counts
    from vision_recs.feedback import outcomes as run
    from vision_recs.feedback.outcomes import clicks_by_place

    compact(events)
    day = None if since is None else since.date().isoformat()
    found = run(events, since=day)
    places = clicks_by_place(read_counts(events, since=day)).tolist()
    if html is not None:
        from .html.outcomes_page import write_page

        write_page(html, found, places)
    if json:
        print_json(_json(found, places))
        return
    _print(found, places)
    if html is not None:
        typer.echo(one_line(f"wrote {html}"))


def _json(found: Outcomes, places: list[float]) -> dict[str, object]:
    value = asdict(found)
    value["differences"] = {
        arm: {name: _difference_json(each) for name, each in by_measure.items()}
        for arm, by_measure in found.differences.items()
    }
    return {**value, "clicks_by_place": [round(each, 6) for each in places]}


def _difference_json(difference: Difference) -> dict[str, object]:
    """Return *difference*, with null for bounds that are not known yet."""
    values = {**asdict(difference), "is_significant": difference.is_significant}
    return {name: each if math.isfinite(each) else None for name, each in values.items()}


def _print(found: Outcomes, places: list[float]) -> None:
    from vision_recs.feedback.outcomes import MEASURES

    typer.echo(f"{found.days[0]} to {found.days[-1]}; {found.programs:.1%} of all answers went to programs")
    header = ("arm", "answers", "shoppers", *(f"{name} an answer" for name in MEASURES))
    rows = [
        (arm.name, f"{arm.answers:,}", f"{arm.shoppers:,}", *(f"{arm.means[name]:.4f}" for name in MEASURES))
        for arm in found.arms
    ]
    print_table(header, rows)
    for arm, differences in found.differences.items():
        cells = [(name, *difference_text(each)) for name, each in differences.items()]
        typer.echo()
        print_table((f"{arm} against plain", "difference", "bounds that hold at any time"), cells)
    shown = found.exposed
    typer.echo(
        f"\n{shown.items:,} items were shown, {shown.impressions:,} times; Gini {shown.gini:.2f}, share of the top 1% "
        f"of them {shown.top_percent:.1%}"
    )
    if found.explored_share:
        tried, others = found.explored
        typer.echo(f"{found.explored_share:.1%} of answers explored: {tried:.4f} clicks each, the others {others:.4f}")
    typer.echo("clicks by place: " + " ".join(f"{each:.4f}" for each in places))


def difference_text(difference: Difference) -> tuple[str, str]:
    """Return a difference and its bounds as text."""
    if not math.isfinite(difference.low):
        return f"{difference.value:+.4f}", "not known yet"
    return f"{difference.value:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}"

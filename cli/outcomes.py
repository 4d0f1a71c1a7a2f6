"""`visrec outcomes`: what shoppers did, by arm, and how answers are spread over the items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from . import options
from .output import print_json, print_table
from .terminal import one_line

if TYPE_CHECKING:
    from vision_recs.feedback import Counts, Outcomes
    from vision_recs.feedback.arms import Calibrated, Fit
    from vision_recs.feedback.changes import Changed, GroupOutcome
    from vision_recs.feedback.drift import Drift, Health
    from vision_recs.metrics import Difference


MOST_GROUPS = 30
"""How many groups are shown; JSON has all."""

_SAMPLE = 1_000


class Report(NamedTuple):
    """What is shown: the outcomes *found*, the clicks for an impression at each place, and what the store adds.

    *groups* are those by the attribute *group_by*; *changed* and *health* say what differs from before, and how well
    the vectors tell images apart, *fit* whether models expect the clicks that there are. None stands for what was not
    asked for.
    """

    found: Outcomes
    places: list[float]
    group_by: str
    groups: list[GroupOutcome] | None = None
    changed: Changed | None = None
    health: Health | None = None
    fit: Fit | None = None


def outcomes(
    events: options.Events = options.EVENTS,
    since: options.Since = None,
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by", metavar="NAME", help="arm, or an attribute of the items asked for, such as category."
        ),
    ] = "arm",
    changed_since: Annotated[
        datetime | None,
        typer.Option(
            "--changed-since",
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="Compare the days from this one on with those before, and tell whether queries and catalog drift.",
        ),
    ] = None,
    calibration: Annotated[
        bool,
        typer.Option(
            "--calibration",
            help="Show how likely each place is looked at, and whether models expect the clicks that there are.",
        ),
    ] = False,
    store: options.Store = options.STORE,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", callback=options.new_file, help="Write a page with plots.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what shoppers did, by arm, with bounds that hold whenever one looks.

    Where the store is at hand, how well its vectors tell images apart is shown, too.
    """
    from vision_recs.feedback import compact, read_counts
    from vision_recs.feedback import outcomes as run
    from vision_recs.feedback.arms import clicks_by_place

    compact(events)
    day = None if since is None else since.date().isoformat()
    found, counts = run(events, since=day), read_counts(events, since=day)
    places = clicks_by_place(counts).tolist()
    groups, changed, health = _of_store(events, store, group_by, changed_since, day)
    fit = _fit(counts, events, store, day) if calibration else None
    report = Report(found, places, group_by, groups, changed, health, fit)
    if html is not None:
        from .html.outcomes_page import write_page

        write_page(html, report)
        typer.echo(one_line(f"wrote {html}"), err=True)
    if json:
        print_json({**_json(found, places), **_more_json(report)})
        return
    _print(found, places)
    _print_more(report)


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
    from vision_recs.feedback.arms import MEASURES

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
        print_table((f"{arm} against {found.counterparts[arm]}", "difference", "bounds that hold at any time"), cells)
    shown = found.exposed
    typer.echo(
        f"\n{shown.items:,} items were shown, {shown.impressions:,} times; Gini {shown.gini:.2f}, share of the top 1% "
        f"of them {shown.top_percent:.1%}"
    )
    if found.explored_share:
        tried, others = found.explored
        typer.echo(f"{found.explored_share:.1%} of answers explored: {tried:.4f} clicks each, the others {others:.4f}")
    typer.echo("clicks by place: " + " ".join(f"{each:.4f}" for each in places))


def _of_store(
    events: Path, store: Path, group_by: str, changed_since: datetime | None, since: str | None
) -> tuple[list[GroupOutcome] | None, Changed | None, Health | None]:
    """Return the outcomes by group, what changed, and how the encoder is; None for what is not asked for."""
    from vision_recs.feedback.changes import changed_since as run_changed
    from vision_recs.feedback.changes import outcomes_by
    from vision_recs.feedback.drift import health_of
    from vision_recs.store import Layout, Store

    if group_by == "arm" and changed_since is None and not Layout(store).current.is_file():
        return None, None, None
    with Store.open(store) as opened:
        groups = None if group_by == "arm" else outcomes_by(events, group_by, opened, since=since)
        changed = None if changed_since is None else run_changed(events, changed_since.date().isoformat(), opened)
        sample = opened.sample_vectors(_SAMPLE)
    return groups, changed, health_of(sample) if len(sample) > 1 else None


def _fit(counts: Counts, events: Path, store: Path, since: str | None) -> Fit:
    """Return how models that are learned now fit the log."""
    from vision_recs.feedback import read_answers
    from vision_recs.feedback.arms import fit_of
    from vision_recs.store import Store

    with Store.open(store) as opened:
        return fit_of(counts, read_answers(events, since=since), opened)


def _more_json(report: Report) -> dict[str, object]:
    groups, changed, health = report.groups, report.changed, report.health
    more: dict[str, object] = {"health": None if health is None else asdict(health)}
    if report.fit is not None:
        more["fit"] = asdict(report.fit)
    if groups is not None:
        more["groups"] = [{**asdict(group), "rate": round(group.rate, 6)} for group in groups]
    if changed is not None:
        more["changed"] = {
            "before": {name: asdict(arm) for name, arm in changed.before.items()},
            "after": {name: asdict(arm) for name, arm in changed.after.items()},
            "differences": {
                arm: {name: _difference_json(each) for name, each in differences.items()}
                for arm, differences in changed.differences.items()
            },
            "drift": {
                name: None if each is None else {**asdict(each), "is_drift": each.is_drift}
                for name, each in changed.drifts.items()
            },
        }
    return more


def _print_more(report: Report) -> None:
    if report.health is not None:
        typer.echo(f"vectors: {health_text(report.health)}")
    if report.fit is not None:
        typer.echo("how likely each place is looked at: " + " ".join(f"{each:.2f}" for each in report.fit.examination))
        typer.echo()
        print_table(CALIBRATION_COLUMNS, list(map(calibration_cells, report.fit.tenths)))
        typer.echo(calibration_text(report.fit.tenths))
    if report.groups is not None:
        rows = [group_cells(each) for each in report.groups[:MOST_GROUPS]]
        typer.echo()
        print_table((one_line(report.group_by), *GROUP_COLUMNS), rows)
        if len(report.groups) > MOST_GROUPS:
            typer.echo(f"and {len(report.groups) - MOST_GROUPS:,} more; --json has all")
    if report.changed is not None:
        _print_changed(report.changed)


def health_text(health: Health) -> str:
    """Return how well vectors tell images apart, as text."""
    return (
        f"two images have a mean cosine of {health.mean_cosine:.2f}, and they spread in {health.dimensions:.0f} of "
        f"{health.dim} directions"
    )


GROUP_COLUMNS = ("arm", "impressions", "clicks", "clicks an impression", "buys")
"""What `group_cells` has of a group beside its value."""


def group_cells(group: GroupOutcome) -> tuple[str, ...]:
    """Return *group* as a row of a table."""
    counts = f"{group.impressions:,}", f"{group.clicks:,}", f"{group.rate:.4f}", f"{group.buys:,}"
    return str(group.value), group.arm, *counts


CALIBRATION_COLUMNS = ("impressions", "clicks expected each", "clicks each", "bounds by chance")
"""What `calibration_cells` has of a tenth of the impressions."""


def calibration_cells(tenth: Calibrated) -> tuple[str, str, str, str]:
    """Return *tenth* as a row of a table."""
    bounds = f"{tenth.low:.4f} to {tenth.high:.4f}"
    return f"{tenth.impressions:,}", f"{tenth.expected:.4f}", f"{tenth.had:.4f}", bounds


def calibration_text(tenths: Sequence[Calibrated]) -> str:
    """Return how many of *tenths* have as many clicks as were expected, but for chance."""
    holds = sum(tenth.holds for tenth in tenths)
    return f"what was expected is within the bounds of {holds} of {len(tenths)} parts; the others may not be chance"


CHANGE_COLUMNS = ("before", "since", "difference", "bounds that hold at any time")
"""What `change_rows` has of a measure."""


def change_rows(changed: Changed, arm: str) -> list[tuple[str, ...]]:
    """Return what changed for *arm* as rows of a table: each measure, and its CHANGE_COLUMNS."""
    before, after = changed.before[arm].means, changed.after[arm].means
    return [
        (name, f"{before[name]:.4f}", f"{after[name]:.4f}", *difference_text(each))
        for name, each in changed.differences[arm].items()
    ]


def drift_text(drift: Drift | None) -> str:
    """Return whether vectors differ from those of before, as text."""
    if drift is None:
        return "too few to tell whether they drift"
    verdict = "they differ from those before" if drift.is_drift else "no drift that a classifier sees"
    return f"a classifier has an AUC of {drift.auc:.2f} ({drift.low:.2f} to {drift.high:.2f}): {verdict}"


def _print_changed(changed: Changed) -> None:
    for arm in changed.differences:
        typer.echo()
        print_table((f"{arm}, an answer", *CHANGE_COLUMNS), change_rows(changed, arm))
    typer.echo()
    for name, each in changed.drifts.items():
        typer.echo(f"{name}: {drift_text(each)}")


def difference_text(difference: Difference) -> tuple[str, str]:
    """Return a difference and its bounds as text."""
    if not math.isfinite(difference.low):
        return f"{difference.value:+.4f}", "not known yet"
    return f"{difference.value:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}"

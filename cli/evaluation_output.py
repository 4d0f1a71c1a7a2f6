"""What measures look like on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .output import print_table
from .terminal import one_line

if TYPE_CHECKING:
    from vision_recs.catalog.judgments import Pair
    from vision_recs.evaluate import Comparison, IndexQuality, Relevance, SearchQuality
    from vision_recs.metrics import Difference, Interval

_SHOWN_GROUPS = 20


def relevance_json(relevance: Relevance, comparison: Comparison | None) -> dict[str, object]:
    """Return the object that `visrec evaluate --json` prints: the measures and their provenance."""
    value = _relevance(relevance)
    if comparison is not None:
        value["baseline"] = _relevance(comparison.baseline)
        value["differences"] = {
            name: {**asdict(difference), "is_significant": difference.is_significant}
            for name, difference in comparison.differences.items()
        }
    return value


def _relevance(relevance: Relevance) -> dict[str, object]:
    return {
        "judged_by": relevance.judged_by,
        "queries": relevance.queries,
        "targets": relevance.targets,
        "eligible_queries": relevance.eligible,
        "queries_without_relevant": relevance.skipped,
        **intervals_json(relevance.measures),
        "grouped_by": relevance.grouped_by,
        "groups": [
            {"value": group.value, "queries": group.queries, **intervals_json(group.measures)}
            for group in relevance.groups
        ],
        "exposure": asdict(relevance.exposure),
        "provenance": asdict(relevance.provenance),
    }


def intervals_json(measures: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    """Return `{"value", "low", "high"}` by the name of each measure."""
    return {name: asdict(interval) for name, interval in measures.items()}


def print_relevance(relevance: Relevance, comparison: Comparison | None) -> None:
    """Print a table of the measures, a table of the groups, and how recommendations spread over the catalog."""
    skipped = f"; {relevance.skipped:,} more queries have no relevant item" if relevance.skipped else ""
    typer.echo(
        f"{relevance.queries:,} queries against {relevance.targets:,} items, similar by {relevance.judged_by}{skipped}"
    )
    if comparison is None:
        print_table(("", "", "95 %"), [(_words(name), *_cells(found)) for name, found in relevance.measures.items()])
    else:
        _print_comparison(comparison)
    if relevance.groups:
        typer.echo("")
        rows = [
            (str(group.value), f"{group.queries:,}", *_cells(group.measures["precision_at_10"]))
            for group in relevance.groups[:_SHOWN_GROUPS]
        ]
        print_table((relevance.grouped_by or "", "queries", "precision at 10", "95 %"), rows)
    exposure = relevance.exposure
    typer.echo(
        f"\ncatalog coverage@10 {exposure.coverage:.1%}, Gini {exposure.gini:.2f}, share of the top 1% of items "
        f"{exposure.top_percent:.1%}, diversity {exposure.diversity:.2f}"
    )


def _print_comparison(comparison: Comparison) -> None:
    for name, side in (("baseline", comparison.baseline), ("candidate", comparison.candidate)):
        made = side.provenance
        typer.echo(one_line(f"{name}: {made.encoder} [{made.fingerprint}] in {made.store}"))
    rows = [
        (
            _words(name),
            f"{comparison.baseline.measures[name].value:.3f}",
            f"{comparison.candidate.measures[name].value:.3f}",
            *difference_cells(difference),
        )
        for name, difference in comparison.differences.items()
    ]
    print_table(("", "baseline", "candidate", "difference", "95 %", "p", ""), rows)


def judged_pairs(pairs: Path | None, events: Path | None) -> list[Pair] | None:
    """Return the judgments in the table *pairs*, or in the clicks of the folder *events*; None without both."""
    if pairs is not None and events is not None:
        raise typer.BadParameter("cannot be combined with --pairs", param_hint="--events")
    if events is not None:
        from vision_recs.feedback.pairs import read_event_pairs

        return read_event_pairs(events)
    from vision_recs.catalog.judgments import read_pairs

    return None if pairs is None else read_pairs(pairs)


def difference_cells(difference: Difference, *, digits: int = 3) -> tuple[str, str, str, str]:
    """Return the cells of a row: a difference, its 95 % bounds, its p value, and the verdict."""
    verdict = "not significant"
    if difference.is_significant:
        verdict = "better" if difference.value > 0 else "worse"
    bounds = f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"
    return f"{difference.value:+.{digits}f}", bounds, f"{difference.p:.4f}", verdict


def print_index_quality(found: Sequence[IndexQuality]) -> None:
    """Print a table of the recall and the latency of each index."""
    rows = [
        (
            quality.index_type,
            quality.index_factory,
            *(f"{recall:.4f}" for recall in (quality.recall_at_1, quality.recall_at_10, quality.recall_at_100)),
            *(f"{milliseconds:.2f}" for milliseconds in (quality.p50_ms, quality.p95_ms, quality.p99_ms)),
        )
        for quality in found
    ]
    print_table(("index", "factory", "recall@1", "recall@10", "recall@100", "p50 ms", "p95 ms", "p99 ms"), rows)


def print_search_quality(found: Sequence[SearchQuality]) -> None:
    """Print a table of the recall, the latency and the bytes of each search, and one of its recall with filters."""
    rows = [
        (
            quality.searched,
            f"{quality.recall_at_10:.4f}",
            *(f"{milliseconds:.2f}" for milliseconds in (quality.p50_ms, quality.p95_ms, quality.p99_ms)),
            "" if quality.bytes is None else f"{quality.bytes:,}",
        )
        for quality in found
    ]
    print_table(("search", "recall@10", "p50 ms", "p95 ms", "p99 ms", "bytes"), rows)
    filtered = [
        (
            quality.searched,
            one.where,
            f"{one.images:,}",
            f"{one.recall_at_10:.4f}",
            f"{one.short:,}",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
        )
        for quality in found
        for one in quality.filtered
    ]
    if filtered:
        typer.echo("")
        print_table(("search", "filter", "images", "recall@10", "short", "p50 ms", "p99 ms"), filtered)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cells(interval: Interval) -> tuple[str, str]:
    return f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"

"""`visrec evaluate`: whether the index finds what is nearest, and whether that is what the shop calls similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vision_recs

from . import options
from .evaluation_output import print_index_quality, print_relevance, relevance_json
from .output import print_json
from .progress import show_progress

if TYPE_CHECKING:
    from vision_recs.evaluate import Comparison, IndexQuality, Question, Relevance
    from vision_recs.filters import Filter
    from vision_recs.jobs.progress import Report
    from vision_recs.store import Store


def evaluate(
    store: options.Store = options.STORE,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Items with equal values of this attribute are similar.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of similar items: query, relevant, grade.")
    ] = None,
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Each image is a query of its own, also for the other images of its item."),
    ] = False,
    query_filter: Annotated[
        str | None, typer.Option(metavar="EXPR", help="The items that ask. [default: every target asks the others]")
    ] = None,
    target_filter: Annotated[
        str | None, typer.Option(metavar="EXPR", help="The items that may answer. [default: all]")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Report by this attribute, too. [default: that of --labels]")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="The most items that ask, drawn at random.")] = 5_000,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", metavar="NAME", help="Compare the index with this encoder; twice: the two encoders."),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(metavar="DIR", help="Compare with the index in this folder.")] = None,
    index_type: Annotated[
        list[str] | None,
        typer.Option(
            "--index-type",
            metavar="NAME",
            help="Measure this index, too: hnsw, or a factory string of FAISS. May be repeated.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report with plots and images.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure recall and speed of the index; or, given a truth, how relevant the neighbors are, by exact search."""
    from vision_recs.evaluate import measure_index_quality

    if pairs is not None and (labels is not None or per_image):
        raise typer.BadParameter("it stands alone: choose another truth, or this one", param_hint="--pairs")
    if labels is None is pairs and not per_image:
        _refuse_without_truth(query_filter, target_filter, group_by, encoder, baseline, html)
        found = measure_index_quality(vision_recs.Store.open(store), index_type or ())
        _print_findings(store, found, json=json)
        return
    question = _question(labels, pairs, query_filter, target_filter, sample, per_image=per_image)
    with show_progress(quiet=quiet) as progress:
        stores = _stores(store, encoder or (), baseline, progress)
    relevance, comparison = _measure(stores, question, group_by)
    if json:
        print_json(relevance_json(relevance, comparison))
    else:
        print_relevance(relevance, comparison)
    if html is not None:
        from .html.report import write_report

        write_report(html, stores[0], relevance, comparison, measure_index_quality(stores[0], index_type or ()))
        typer.echo(f"wrote {html}", err=True)


def _refuse_without_truth(*given: object) -> None:
    names = ("--query-filter", "--target-filter", "--group-by", "--encoder", "--baseline", "--html")
    for name, value in zip(names, given, strict=True):
        if value:
            raise typer.BadParameter("say what is similar with --labels, --pairs or --per-image", param_hint=name)


def _question(
    labels: str | None,
    pairs: Path | None,
    query_filter: str | None,
    target_filter: str | None,
    sample: int,
    *,
    per_image: bool,
) -> Question:
    from vision_recs.catalog.judgements import read_pairs
    from vision_recs.evaluate import Question

    return Question(
        labels=labels,
        pairs=None if pairs is None else read_pairs(pairs),
        queries=_filter(query_filter),
        targets=_filter(target_filter),
        per_image=per_image,
        sample=sample,
    )


def _filter(expression: str | None) -> Filter | None:
    return None if expression is None else vision_recs.Filter.parse(expression)


def _stores(store: Path, encoders: Sequence[str], baseline: Path | None, progress: Report) -> list[Store]:
    """Return the store to measure and, where there is one, the store to compare it with."""
    from vision_recs.jobs import store_of_encoder

    if len(encoders) + (baseline is not None) > (2 if baseline is None else 1):
        raise typer.BadParameter("two are compared: name one --baseline, or at most two of --encoder")
    own = vision_recs.Store.open(store)
    others = [store_of_encoder(own, name, progress=progress) for name in encoders]
    if baseline is not None:
        others.append(vision_recs.Store.open(baseline))
    return others if len(encoders) == 2 else [own, *others]  # noqa: PLR2004 - two encoders, compared with each other


def _measure(stores: Sequence[Store], question: Question, by: str | None) -> tuple[Relevance, Comparison | None]:
    from vision_recs.evaluate import compare_stores, measure_relevance

    if len(stores) == 1:
        return measure_relevance(stores[0], question, group_by=by), None
    comparison = compare_stores(stores[0], stores[1], question, group_by=by)
    return comparison.one, comparison


def _print_findings(store: Path, found: Sequence[IndexQuality], *, json: bool) -> None:
    from vision_recs.evaluate import Provenance

    if json:
        provenance = asdict(Provenance.of(vision_recs.Store.open(store)))
        print_json({"index": [asdict(finding) for finding in found], "provenance": provenance})
    else:
        print_index_quality(found)

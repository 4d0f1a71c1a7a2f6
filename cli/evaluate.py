"""`visrec evaluate`: whether the index finds what is nearest, and whether that is what the shop calls similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vision_recs

from . import options
from .measures import print_findings, print_relevance, relevance_json
from .progress import show_progress
from .render import print_json

if TYPE_CHECKING:
    from vision_recs.evaluate import Comparison, Finding, Question, Relevance
    from vision_recs.filters import Filter
    from vision_recs.jobs.progress import Report
    from vision_recs.store import Store


def evaluate(
    store: options.Index = options.INDEX,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Items with equal values of this attribute are similar.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of similar items: query, relevant, grade.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Let each picture ask, also for its own item by the others.")
    ] = False,
    queries: Annotated[
        str | None, typer.Option(metavar="EXPR", help="The items that ask. [default: every target asks the others]")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(metavar="EXPR", help="The items that may answer. [default: all]")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Report by this attribute, too. [default: that of --labels]")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="The most items that ask, drawn at random.")] = 5_000,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", metavar="NAME", help="Compare the index with this encoder; twice: the two encoders."),
    ] = None,
    against: Annotated[Path | None, typer.Option(metavar="DIR", help="Compare with the index in this folder.")] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Measure this index, too: hnsw, or a factory string of FAISS. May be repeated.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report with plots and pictures.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure recall and speed of the index; or, given a truth, how relevant the neighbours are, by exact search."""
    from vision_recs.evaluate import measure_finding

    if pairs is not None and (labels is not None or pictures):
        raise typer.BadParameter("it stands alone: choose another truth, or this one", param_hint="--pairs")
    if labels is None is pairs and not pictures:
        _refuse_without_truth(queries, targets, by, encoder, against, html)
        found = measure_finding(vision_recs.Store.open(store), engine or ())
        _print_findings(store, found, json=json)
        return
    question = _question(labels, pairs, queries, targets, sample, by_picture=pictures)
    with show_progress(quiet=quiet) as progress:
        stores = _stores(store, encoder or (), against, progress)
    relevance, comparison = _measure(stores, question, by)
    if json:
        print_json(relevance_json(relevance, comparison))
    else:
        print_relevance(relevance, comparison)
    if html is not None:
        from .report import write_report

        write_report(html, stores[0], relevance, comparison, measure_finding(stores[0], engine or ()))
        typer.echo(f"wrote {html}", err=True)


def _refuse_without_truth(*given: object) -> None:
    names = ("--queries", "--targets", "--by", "--encoder", "--against", "--html")
    for name, value in zip(names, given, strict=True):
        if value:
            raise typer.BadParameter("say what is similar with --labels, --pairs or --pictures", param_hint=name)


def _question(
    labels: str | None,
    pairs: Path | None,
    queries: str | None,
    targets: str | None,
    sample: int,
    *,
    by_picture: bool,
) -> Question:
    from vision_recs.catalog.pairs import read_pairs
    from vision_recs.evaluate import Question

    return Question(
        labels=labels,
        pairs=None if pairs is None else read_pairs(pairs),
        queries=_filter(queries),
        targets=_filter(targets),
        by_picture=by_picture,
        sample=sample,
    )


def _filter(expression: str | None) -> Filter | None:
    return None if expression is None else vision_recs.Filter.parse(expression)


def _stores(store: Path, encoders: Sequence[str], against: Path | None, progress: Report) -> list[Store]:
    """Return the store to measure and, where there is one, the store to compare it with."""
    from vision_recs.jobs import store_of_encoder

    if len(encoders) + (against is not None) > (2 if against is None else 1):
        raise typer.BadParameter("two are compared: name one --against, or at most two of --encoder")
    own = vision_recs.Store.open(store)
    others = [store_of_encoder(own, name, progress=progress) for name in encoders]
    if against is not None:
        others.append(vision_recs.Store.open(against))
    return others if len(encoders) == 2 else [own, *others]  # noqa: PLR2004 - two encoders, compared with each other


def _measure(stores: Sequence[Store], question: Question, by: str | None) -> tuple[Relevance, Comparison | None]:
    from vision_recs.evaluate import compare_stores, measure_relevance

    if len(stores) == 1:
        return measure_relevance(stores[0], question, group_by=by), None
    comparison = compare_stores(stores[0], stores[1], question, group_by=by)
    return comparison.one, comparison


def _print_findings(store: Path, found: Sequence[Finding], *, json: bool) -> None:
    from vision_recs.evaluate import Provenance

    if json:
        provenance = asdict(Provenance.of(vision_recs.Store.open(store)))
        print_json({"index": [asdict(finding) for finding in found], "provenance": provenance})
    else:
        print_findings(found)

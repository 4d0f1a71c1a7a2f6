"""`visrec evaluate`: the recall and the speed of the index, or the relevance of the nearest items."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from . import options
from .evaluation_output import (
    judged_pairs,
    print_index_quality,
    print_relevance,
    print_search_quality,
    relevance_json,
)
from .output import print_json
from .progress import show_progress
from .similar import filter_of, note_unknown_values

if TYPE_CHECKING:
    from vision_recs.catalog.judgments import Pair
    from vision_recs.engines import EngineItems
    from vision_recs.evaluate import Comparison, EvaluationTask, Measured, Relevance
    from vision_recs.jobs.progress import ProgressCallback
    from vision_recs.recommend.stores import OpenedStores
    from vision_recs.store import Store


def evaluate(
    store: options.Stores = None,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Items with equal values of this attribute are similar.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of similar items: query, relevant, grade.")
    ] = None,
    events: options.EventPairs = None,
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Each image is a query of its own, also for the other images of its item."),
    ] = False,
    query_filter: Annotated[
        str | None, typer.Option(metavar="EXPR", help="The items that are queries. [default: every target]")
    ] = None,
    target_filter: Annotated[
        str | None, typer.Option(metavar="EXPR", help="The items among which is searched. [default: all]")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Report by this attribute, too. [default: that of --labels]")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="The most items that are queries, drawn at random.")] = 5_000,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="Compare the store, the baseline, with this encoder; given twice: the first is the baseline.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Compare with the store in this folder, the baseline.")
    ] = None,
    index_type: Annotated[
        list[str] | None,
        typer.Option(
            "--index-type",
            metavar="NAME",
            help="Measure an index of this type, too: hnsw, ivf-pq, faiss:FACTORY. May be repeated.",
        ),
    ] = None,
    engine: options.Engine = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=options.new_file, help="Write a page with plots and images.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure the recall and the speed of the index.

    With --labels, --pairs, --events or --per-image, measure how relevant the nearest items are, by exact search, in the
    store or in an engine. Else, with --engine, measure an engine beside the store, also with filters; or alone, where
    there is no store on this machine.
    """
    place = options.named_stores(store)
    _require_one_kind(pairs, events, has_others=labels is not None or per_image)
    if labels is None is pairs is events and not per_image:
        _refuse_without_judgments(query_filter, target_filter, group_by, encoder, baseline, html)
        if engine is not None:
            if index_type:
                raise typer.BadParameter("is for a store; leave out --engine", param_hint="--index-type")
            if not isinstance(place, str):
                raise typer.BadParameter("is compared with one store; name one", param_hint="--engine")
            _measure_engine(Path(place), engine, json=json)
            return
        _measure_index(place, index_type or (), json=json)
        return
    if engine is not None:
        _refuse_images(encoder, html)
    from vision_recs.store.partitions import is_several

    if html is not None and is_several(place):
        raise typer.BadParameter("shows one store; name one", param_hint="--html")
    task = _task(labels, judged_pairs(pairs, events), query_filter, target_filter, sample, per_image=per_image)
    with ExitStack() as closing:
        with show_progress(quiet=quiet) as progress:
            stores = _opened(place, engine, encoder or (), baseline, progress, closing)
        relevance, comparison = _measure(stores, task, group_by)
        note_unknown_values(_known_by(stores[-1]), task.query_filter, task.target_filter)
        if json:
            print_json(relevance_json(relevance, comparison))
        else:
            print_relevance(relevance, comparison)
        if html is not None:
            from vision_recs.evaluate import measure_index_quality

            from .html.evaluation_page import write_page

            write_page(
                html,
                cast("Store", stores[-1]),
                relevance,
                comparison,
                measure_index_quality(cast("Store", stores[-1]), index_type or ()),
            )
            typer.echo(f"wrote {html}", err=True)


def _require_one_kind(pairs: Path | None, events: Path | None, *, has_others: bool) -> None:
    for name, given in (("--pairs", pairs), ("--events", events)):
        if given is not None and has_others:
            raise typer.BadParameter("cannot be combined with --labels or --per-image", param_hint=name)


def _refuse_without_judgments(*given: object) -> None:
    names = ("--query-filter", "--target-filter", "--group-by", "--encoder", "--baseline", "--html")
    for name, value in zip(names, given, strict=True):
        if value:
            raise typer.BadParameter("needs --labels, --pairs or --per-image", param_hint=name)


def _task(
    labels: str | None,
    pairs: list[Pair] | None,
    query_filter: str | None,
    target_filter: str | None,
    sample: int,
    *,
    per_image: bool,
) -> EvaluationTask:
    from vision_recs.evaluate import EvaluationTask

    return EvaluationTask(
        labels=labels,
        pairs=pairs,
        query_filter=filter_of(query_filter),
        target_filter=filter_of(target_filter),
        per_image=per_image,
        sample=sample,
    )


def _stores(
    place: str | list[str],
    encoders: Sequence[str],
    baseline: Path | None,
    progress: ProgressCallback,
    closing: ExitStack,
) -> list[Store] | list[OpenedStores]:
    """Return the store to measure, after the baseline that it is compared with, if there is one; or several as one.

    *closing* closes them.
    """
    from vision_recs.jobs import store_of_encoder
    from vision_recs.recommend import open_stores
    from vision_recs.recommend.stores import OpenedStores
    from vision_recs.store import Store

    if len(encoders) + (baseline is not None) > (2 if baseline is None else 1):
        raise typer.BadParameter("only two can be compared: give one --baseline, or --encoder at most twice")
    own = open_stores(place)
    closing.enter_context(own)
    if isinstance(own, OpenedStores):
        if encoders or baseline is not None:
            raise typer.BadParameter("only one store is compared with another; name one --store")
        return [own]
    others = [closing.enter_context(store_of_encoder(own, name, progress=progress)) for name in encoders]
    if baseline is not None:
        return [closing.enter_context(Store.open(baseline)), own]
    return others if len(encoders) == 2 else [own, *others]  # noqa: PLR2004 - two encoders, compared with each other


def _refuse_images(*given: object) -> None:
    for name, value in zip(("--encoder", "--html"), given, strict=True):
        if value:
            why = "needs the images, which an engine does not have; leave out --engine, or unset VISREC_ENGINE"
            raise typer.BadParameter(why, param_hint=name)


def _opened(
    place: str | list[str],
    engine: str | None,
    encoders: Sequence[str],
    baseline: Path | None,
    progress: ProgressCallback,
    closing: ExitStack,
) -> list[Measured]:
    """Return what is measured, after what it is compared with, if there is such a thing; *closing* closes them."""
    if engine is not None:
        return _engine_and_baseline(engine, baseline, closing)
    return [*_stores(place, encoders, baseline, progress, closing)]


def _engine_and_baseline(engine: str, baseline: Path | None, closing: ExitStack) -> list[Measured]:
    """Return the engine to measure, after the baseline that it is compared with, if there is one."""
    from vision_recs.engines import open_engine
    from vision_recs.store import Store

    before: list[Measured] = [] if baseline is None else [closing.enter_context(Store.open(baseline))]
    return [*before, closing.enter_context(open_engine(engine))]


def _known_by(measured: Measured) -> Store | OpenedStores | EngineItems:
    """Return what tells which values there are in *measured*."""
    from vision_recs.engines import OpenedEngine

    return measured.items if isinstance(measured, OpenedEngine) else measured


def _measure(stores: list[Measured], task: EvaluationTask, group_by: str | None) -> tuple[Relevance, Comparison | None]:
    from vision_recs.evaluate import compare_stores, measure_relevance

    if len(stores) == 1:
        return measure_relevance(stores[0], task, group_by=group_by), None
    baseline, candidate = stores
    comparison = compare_stores(cast("Store", baseline), cast("Store", candidate), task, group_by=group_by)
    return comparison.candidate, comparison


def _measure_engine(store: Path, engine: str, *, json: bool) -> None:
    from vision_recs.evaluate import measure_engine_quality
    from vision_recs.store import Layout

    is_wanted = store != options.STORE or Layout(store).current.exists()  # one that is named has to be there
    found = measure_engine_quality(engine, store if is_wanted else None)
    if json:
        print_json({"searches": [asdict(quality) for quality in found]})
    else:
        print_search_quality(found)


def _measure_index(place: str | list[str], index_types: Sequence[str], *, json: bool) -> None:
    from vision_recs.evaluate import Provenance, measure_index_quality
    from vision_recs.recommend import open_stores

    with open_stores(place) as opened:
        found = measure_index_quality(opened, index_types)
        provenance = asdict(Provenance.of(opened))
    if json:
        print_json({"indexes": [asdict(quality) for quality in found], "provenance": provenance})
    else:
        print_index_quality(found)

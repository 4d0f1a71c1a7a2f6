"""An engine beside the store: recall without and with filters, latency and bytes of both, measured in one run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from vision_recs.engines import EngineIndex, OpenedEngine, open_engine
from vision_recs.engines.verifying import sample_filters
from vision_recs.errors import EvaluationError
from vision_recs.filters import Filter
from vision_recs.indexes import ExactIndex, open_published
from vision_recs.indexes.exact import recall_at, scores_of
from vision_recs.store import Store
from vision_recs.types import ItemSource, Match, SearchRequest, VectorIndex, Vectors

_QUERIES, _K, _WARM_UP = 100, 10, 5


@dataclass(frozen=True, slots=True)
class FilteredQuality:
    """How a search does with the filter *where*, which *images* match.

    *short* answers had fewer matches than there are. The latencies are percentiles in milliseconds.
    """

    where: str
    images: int
    recall_at_10: float
    short: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """What a search finds of the 10 nearest images, and how fast; *searched* is the type of an index, or a URI.

    The latencies are percentiles in milliseconds, one query at a time. *bytes* are those of the index and the vectors
    of the store, or of the records in the engine; None where the engine does not tell.
    """

    searched: str
    generation: int
    queries: int
    recall_at_10: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bytes: int | None
    filtered: tuple[FilteredQuality, ...]


@dataclass(frozen=True, slots=True)
class _Searched:
    """An *index* to measure, its name, and the bytes that it takes."""

    name: str
    index: VectorIndex
    bytes: int | None


def measure_engine_quality(
    uri: str, store: str | Path | None, *, queries: int = _QUERIES, filters: Sequence[Filter] | None = None
) -> list[SearchQuality]:
    """Return how well the store in the folder *store* and the engine at *uri* search, by the same queries.

    Without *store*, the engine is compared with its own exact search. *filters* are some that its items suggest, unless
    they are given. Raises StoreError, EngineError, and EvaluationError where the two have not the same generation.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_engine(uri))
        published = opened.published
        searched = [_Searched(uri, opened.index, opened.table.size())]
        items: ItemSource = opened.items
        exact: VectorIndex = EngineIndex(published.with_search(None, 1.0), opened.table, opened.engine.dialect)
        if store is not None:
            local = stack.enter_context(Store.open(store))
            _require_same(local, opened)
            searched.insert(0, _Searched(local.manifest.index_type, open_published(local), _bytes_of(local)))
            items, exact = local, ExactIndex(local)
        vectors = items.sample_vectors(queries)
        wheres = [None, *(sample_filters(items) if filters is None else filters)]
        requests = [SearchRequest(vectors, _K, where) for where in wheres]
        expected = [exact.search(request) for request in requests]
        counts = [opened.index.count(request) for request in requests]
        return [_measured(each, published.generation, requests, expected, counts) for each in searched]


def _measured(
    searched: _Searched,
    generation: int,
    requests: Sequence[SearchRequest],
    expected: Sequence[list[list[Match]]],
    counts: Sequence[int],
) -> SearchQuality:
    results = []
    for request, exact, count in zip(requests, expected, counts, strict=True):
        found, latencies = _timed(searched.index, request)
        short = sum(len(one) < len(other) for one, other in zip(found, exact, strict=True))
        recall = recall_at(_K, scores_of(found), scores_of(exact))
        where = "" if request.where is None else str(request.where)
        results.append(FilteredQuality(where, count, recall, short, *latencies))
    plain, *filtered = results
    return SearchQuality(
        searched.name,
        generation,
        len(requests[0].vectors),
        plain.recall_at_10,
        plain.p50_ms,
        plain.p95_ms,
        plain.p99_ms,
        searched.bytes,
        tuple(filtered),
    )


def _timed(index: VectorIndex, request: SearchRequest) -> tuple[list[list[Match]], tuple[float, float, float]]:
    """Return the answers to each query of *request*, asked one at a time, and the percentiles 50, 95 and 99."""

    def ask(vector: Vectors) -> list[Match]:
        (answer,) = index.search(SearchRequest(vector[None], request.k, request.where))
        return answer

    for vector in request.vectors[:_WARM_UP]:
        ask(vector)
    answers, latencies = [], []
    for vector in request.vectors:
        started = perf_counter()
        answers.append(ask(vector))
        latencies.append((perf_counter() - started) * 1e3)
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(latencies, [50, 95, 99]))
    return answers, (p50, p95, p99)


def _require_same(store: Store, opened: OpenedEngine) -> None:
    mine, other = (store.fingerprint, store.generation), opened.index.source
    if mine != other:
        raise EvaluationError(
            f"{opened.engine.uri} has generation {other[1]} [{other[0]}], and the store has generation {mine[1]} "
            f"[{mine[0]}]; run `visrec publish {opened.engine.uri}` first"
        )


def _bytes_of(store: Store) -> int:
    """Return the bytes of the vectors and of the index of *store*."""
    directory = store.layout.index_of(store.manifest)
    folders = [store.layout.shard(shard.name) for shard in store.manifest.shards]
    folders += [] if directory is None else [directory]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())

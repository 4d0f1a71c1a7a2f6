"""How much of the exact neighbors an index finds, and how long a query takes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from vision_recs.indexes import ExactIndex, IndexConfig, build_or_update, open_index, open_published
from vision_recs.indexes.base import FAISS_PREFIX
from vision_recs.indexes.exact import recall_at, scores_of
from vision_recs.recommend.joined import JoinedStores
from vision_recs.recommend.partitions import PartitionedIndex
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store import Store
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import Match, SearchRequest, VectorIndex, Vectors

DEPTHS = (1, 10, 100)
"""How many neighbors recall is measured at."""

_EXACT = "exact"
"""The name of exact search, which needs no index."""

_QUERIES = 200
_TIMED_K = 10
_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class IndexQuality:
    """What an index finds for *queries* images of the store, one query at a time, and how fast.

    Recall at 1, 10 and 100 is the share of the exact neighbors that the index finds; the query image itself does not
    count, and an image with the score of the last exact neighbor counts as found. The latencies are percentiles in
    milliseconds of searches for 10 images, after ten that warm up. *index_factory* describes the index as FAISS does.
    *build_s* is None for the index of the store.
    """

    index_type: str
    index_factory: str
    queries: int
    recall_at_1: float
    recall_at_10: float
    recall_at_100: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    build_s: float | None


class _Sample(NamedTuple):
    """Query vectors, the digests of their images, and the scores of the exact neighbors of each."""

    vectors: Vectors
    digests: Sequence[str]
    exact: Sequence[Sequence[float]]


def measure_index_quality(
    opened: Store | OpenedStores, index_types: Sequence[str] = (), *, queries: int = _QUERIES
) -> list[IndexQuality]:
    """Return the quality of the index that is *opened*, and that of indexes of *index_types*, built to compare.

    *index_types* are names as in `IndexConfig`, or "exact". The query images are spread evenly. Several stores are
    searched together, as a query does. Raises UnknownIndexType.
    """
    stores = [opened] if isinstance(opened, Store) else opened.stores
    items: WholeItems = opened if isinstance(opened, Store) else JoinedStores(stores)
    positions = items.positions()
    chosen = positions[np.linspace(0, len(positions) - 1, min(queries, len(positions))).astype(np.int64)]
    vectors = items.vectors(chosen)
    digests = [items.rows([position], limit=1)[position][0].digest for position in chosen.tolist()]
    exact = _together(items, list(map(ExactIndex, stores))).search(SearchRequest(vectors, DEPTHS[-1] + 1))
    sample = _Sample(vectors, digests, scores_of(_without_queries(exact, digests)))
    own = _joined([store.manifest.index_type for store in stores])
    factory = _joined([(store.manifest.index_stats or {}).get("index_factory", own) for store in stores])
    found = [_measure((own, factory), _together(items, list(map(open_published, stores))), None, sample)]
    for name in dict.fromkeys(name for name in index_types if name not in {own, f"{FAISS_PREFIX}{factory}"}):
        with tempfile.TemporaryDirectory(prefix="visrec-") as folder:
            started = perf_counter()
            built = [_build(name, store, Path(folder) / str(number)) for number, store in enumerate(stores)]
            names = _joined([each.type for each in built]), _joined([each.factory for each in built])
            index = _together(items, [each.opened for each in built])
            found.append(_measure(names, index, perf_counter() - started, sample))
    return found


class _Built(NamedTuple):
    """An index that was built and is open, its *type* and its *factory* string."""

    type: str
    factory: str
    opened: VectorIndex


def _build(name: str, store: Store, folder: Path) -> _Built:
    """Build the index *name* of *store* into the new *folder*."""
    if name == _EXACT:
        return _Built(name, name, ExactIndex(store))
    folder.mkdir()
    index_type, stats = build_or_update(IndexConfig(index_type=name), store, folder)
    return _Built(index_type, stats.index_factory, open_index(index_type, store, folder))


def _together(items: WholeItems, indexes: Sequence[VectorIndex]) -> VectorIndex:
    return PartitionedIndex(items, indexes) if isinstance(items, JoinedStores) else indexes[0]


def _joined(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _measure(names: tuple[str, str], index: VectorIndex, build_s: float | None, sample: _Sample) -> IndexQuality:
    answers = index.search(SearchRequest(sample.vectors, DEPTHS[-1] + 1))
    scores = scores_of(_without_queries(answers, sample.digests))
    at_1, at_10, at_100 = (recall_at(depth, scores, sample.exact) for depth in DEPTHS)
    latencies = np.percentile(_latencies_ms(index, sample.vectors), [50, 95, 99])
    p50, p95, p99 = (round(float(value), 3) for value in latencies)
    return IndexQuality(*names, len(sample.vectors), at_1, at_10, at_100, p50, p95, p99, build_s)


def _without_queries(answers: Sequence[Sequence[Match]], digests: Sequence[str]) -> list[list[Match]]:
    """Return *answers* without the query images, which every index finds."""
    return [
        [match for match in answer if match.digest != digest] for answer, digest in zip(answers, digests, strict=True)
    ]


def _latencies_ms(index: VectorIndex, vectors: Vectors) -> list[float]:
    for vector in vectors[:_WARM_UP]:
        index.search(SearchRequest(vector[None], _TIMED_K))
    latencies = []
    for vector in vectors:
        started = perf_counter()
        index.search(SearchRequest(vector[None], _TIMED_K))
        latencies.append((perf_counter() - started) * 1e3)
    return latencies

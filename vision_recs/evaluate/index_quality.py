"""Whether an index finds what exact search finds, and how long a query takes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from vision_recs.indexes import IndexConfig, build_or_update, open_index
from vision_recs.indexes.recall import TIE
from vision_recs.store import Store
from vision_recs.types import Match, VectorIndex, Vectors

DEPTHS = (1, 10, 100)
_EXACT = "exact"  # the index that needs no files
_QUERIES = 200
_SHOWN = 10  # images that a timed query asks for


@dataclass(frozen=True, slots=True)
class IndexQuality:
    """What an index does with *queries* images of the store, each asked for on its own, one after the other.

    *recall* at 1, 10 and 100 is the share of what exact search finds, without the asked image; an image that scores
    as much as the last exact one counts as found. Latencies are those of asking for ten, after a first round that
    warms up. *index_factory* describes the index as FAISS does.
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


def measure_index_quality(
    store: Store, index_types: Sequence[str] = (), *, queries: int = _QUERIES
) -> list[IndexQuality]:
    """Return what the index of *store* finds and, for comparison, those of *index_types*, which are built for it.

    *index_types* are names or factory strings of FAISS. The images that ask are spread evenly over the store. Raises
    VisionRecsError for an index type that there is not.
    """
    positions = store.positions()
    chosen = positions[np.linspace(0, len(positions) - 1, min(queries, len(positions))).astype(np.int64)]
    vectors = store.vectors(chosen)
    digests = [store.rows([position], limit=1)[position][0].digest for position in chosen.tolist()]
    exact = open_index(_EXACT, store, store.layout.indexes)
    truth = _without_asked(exact.search(vectors, DEPTHS[-1] + 1), digests)
    asked = (vectors, digests, truth)
    own, stats = store.manifest.index_type, store.manifest.index_stats or {}
    found = [_measure((own, stats.get("index_factory", own)), _own_index(store), None, asked)]
    for name in dict.fromkeys(name for name in index_types if name not in {own, found[0].index_factory}):
        with tempfile.TemporaryDirectory(prefix="visrec-") as folder:
            started = perf_counter()
            index_type, index_factory = _built(name, store, Path(folder))
            seconds = perf_counter() - started
            found.append(
                _measure((index_type, index_factory), open_index(index_type, store, Path(folder)), seconds, asked)
            )
    return found


def _built(name: str, store: Store, folder: Path) -> tuple[str, str]:
    """Build what *name* stands for into *folder*, and return the index type and its factory string."""
    if name == _EXACT:
        return name, name
    index_type, stats = build_or_update(IndexConfig(index_type=name), store, folder)
    return index_type, stats.index_factory


def _own_index(store: Store) -> VectorIndex:
    directory = store.layout.index_dir(store.manifest.index_type, store.generation)
    return open_index(store.manifest.index_type if directory.is_dir() else "exact", store, directory)


def _measure(
    named: tuple[str, str],
    index: VectorIndex,
    build_s: float | None,
    asked: tuple[Vectors, Sequence[str], list[list[Match]]],
) -> IndexQuality:
    vectors, digests, truth = asked
    answers = _without_asked(index.search(vectors, DEPTHS[-1] + 1), digests)
    recalls = [_recall(answers, truth, depth) for depth in DEPTHS]
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(_latencies_ms(index, vectors), [50, 95, 99]))
    at_1, at_10, at_100 = recalls
    return IndexQuality(*named, len(vectors), at_1, at_10, at_100, p50, p95, p99, build_s)


def _without_asked(answers: Sequence[Sequence[Match]], digests: Sequence[str]) -> list[list[Match]]:
    """Return *answers* without the images that were asked for, which every index finds."""
    return [
        [match for match in answer if match.digest != digest] for answer, digest in zip(answers, digests, strict=True)
    ]


def _recall(answers: Sequence[Sequence[Match]], truth: Sequence[Sequence[Match]], depth: int) -> float:
    wanted = found = 0
    for answer, exact in zip(answers, truth, strict=True):
        best = exact[:depth]
        if best:
            wanted += len(best)
            found += sum(match.score >= best[-1].score - TIE for match in answer[:depth])
    return found / wanted if wanted else 1.0


def _latencies_ms(index: VectorIndex, vectors: Vectors) -> list[float]:
    for vector in vectors[:10]:
        index.search(vector[None], _SHOWN)
    latencies = []
    for vector in vectors:
        started = perf_counter()
        index.search(vector[None], _SHOWN)
        latencies.append((perf_counter() - started) * 1e3)
    return latencies

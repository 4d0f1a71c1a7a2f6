"""Autoselection: which index to build, the fastest that fits the memory and reaches the recall.

All vectors are compared where they are few; else a graph is built where it fits; else lists, of which there are two:
each is built over a part of the vectors, and they answer the same queries in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.autotune import NearestSearch, rate_of, stats_queries
from vision_recs.indexes.base import IndexType, find_index_type
from vision_recs.indexes.config import IndexConfig, IndexStats, read_profile
from vision_recs.indexes.flat import FlatIndexType, flat_bytes
from vision_recs.indexes.hnsw import HnswIndexType, graph_bytes, usual_components
from vision_recs.indexes.holdout import HoldoutQueries
from vision_recs.indexes.ivf_pq import IvfPqIndexType
from vision_recs.indexes.ivf_search import IvfCandidates
from vision_recs.indexes.rescoring import ApproximateSearch
from vision_recs.types import VectorReader, Vectors, VectorSource

_FLAT_NUMBERS = 25_000_000
"""Numbers of which comparing with all takes a few milliseconds: 20,000 vectors of 1,280."""

_PILOT = 10_000  # vectors over which the candidates are built for comparison
_ROUNDS = 5  # in which each candidate answers in turn
_CLEARLY = 1.3  # times as fast: less is noise, and the first of the candidates stays
_MOST_IN_GRAPH = 5_000_000  # vectors: building a graph of more takes hours
_MANY_COLUMNS = 256  # from which on more components are worth a trial


class _Trial(NamedTuple):
    candidate: IvfPqIndexType
    stats: IndexStats
    opened: NearestSearch


def choose(config: IndexConfig, source: VectorSource) -> IndexType:
    """Return the index type to build over *source* for *config*; raises UnknownIndexType."""
    if config.index_type != "auto":
        return find_index_type(config.index_type)
    if prefers_flat(config, source):
        return FlatIndexType()
    return _graph(config, source) or _fastest(_lists(config, source), config, source)


def prefers_flat(config: IndexConfig, source: VectorReader) -> bool:
    """Return whether *config* leaves the choice open, and comparing with all vectors of *source* is fast enough."""
    count = len(source.positions())
    is_small = count * source.dim <= _FLAT_NUMBERS
    return config.index_type == "auto" and is_small and _fits(flat_bytes(source.dim), source, config)


def _graph(config: IndexConfig, source: VectorReader) -> HnswIndexType | None:
    """Return the largest graph that fits the memory, up to the usual one; None where none does, or there are too many.

    It is not tried against lists: at 10,000 and at 100,000 vectors it answered 1.5 and 2 times as many queries as
    lists of the same recall, and trying them took longer than building the graph of 100,000.
    """
    positions = source.positions()
    if len(positions) > _MOST_IN_GRAPH:
        return None
    usual = usual_components(source, positions, seed=config.seed)
    sizes = (usual, min(usual, 256), min(usual, 128))
    return next((HnswIndexType(each) for each in sizes if _fits(graph_bytes(each), source, config)), None)


def _lists(config: IndexConfig, source: VectorReader) -> list[IvfPqIndexType]:
    """Return the inverted lists that fit the memory, the likeliest first; the smallest where none do."""
    count, dim = len(source.positions()), source.dim
    known = [IvfPqIndexType(), IvfPqIndexType(components=512)] if dim > _MANY_COLUMNS else [IvfPqIndexType()]
    found = [each for each in known if _fits(each.params(count, dim).bytes_per_vector, source, config)]
    return found or [IvfPqIndexType(components=128, bits=1)]


def _fits(bytes_per_vector: float, source: VectorReader, config: IndexConfig) -> bool:
    return config.max_memory is None or bytes_per_vector * len(source.positions()) <= config.max_memory


def _fastest(candidates: Sequence[IvfPqIndexType], config: IndexConfig, source: VectorReader) -> IvfPqIndexType:
    """Return the fastest of *candidates* that reaches the recall on a part of *source*, else the best one."""
    if len(candidates) == 1:
        return candidates[0]
    pilot = _Sample(source, _PILOT, config.seed)
    with tempfile.TemporaryDirectory(prefix="visrec-") as folder:
        trials: list[_Trial] = []
        for number, candidate in enumerate(candidates):
            directory = Path(folder) / str(number)
            directory.mkdir()
            stats = candidate.build(pilot, directory, config)
            lists = IvfCandidates(directory)
            opened = ApproximateSearch(pilot, lists, read_profile(directory)[1], size=lists.size)
            trials.append(_Trial(candidate, stats, opened))
        enough = [trial for trial in trials if trial.stats.target_recall_met]
        if not enough:
            return max(trials, key=lambda trial: trial.stats.recall_at_10).candidate
        return _clearly_fastest(enough, stats_queries(pilot, config)).candidate


def _clearly_fastest(trials: Sequence[_Trial], holdout: HoldoutQueries) -> _Trial:
    """Return the first of *trials*, or one that answers clearly faster: in the same rounds, so on as busy a machine."""
    rates = [[rate_of(trial.opened, holdout) for trial in trials] for _ in range(_ROUNDS)]
    medians = np.median(rates, axis=0).tolist()
    best = 0
    for number, rate in enumerate(medians):
        best = number if rate > _CLEARLY * medians[best] else best
    return trials[best]


class _Sample:
    """A `VectorReader` of some of the vectors of another one."""

    def __init__(self, source: VectorReader, count: int, seed: int) -> None:
        alive = source.positions()
        chosen = np.random.default_rng(seed).choice(alive, min(count, len(alive)), replace=False)
        self._source = source
        self._positions: NDArray[np.int64] = np.sort(chosen)
        self.fingerprint, self.generation, self.dim = source.fingerprint, source.generation, source.dim

    def positions(self) -> NDArray[np.int64]:
        return self._positions

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        return self._source.vectors(positions)

"""The index types `hnsw` (a graph) and `faiss` (whatever a factory string describes): one index of FAISS in a file.

The directory holds `index.faiss`, beside it the files of `hnsw_mmap` where the index is a graph, `positions.npy`
(int64: the position in the store of each ordinal of FAISS), `deleted.npy` (the ordinals that are gone), `profile.json`
and `holdout.npz`. FAISS compares by L2, which orders unit vectors as their cosine does, also behind a PCA.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import IndexBuildError, UnknownIndexType
from vision_recs.file_formats import save_npy
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.autotune import TuningInput, autotune
from vision_recs.indexes.base import FAISS_PREFIX, blocks, require_unaltered
from vision_recs.indexes.config import BuildRecord, IndexConfig, IndexStats, read_profile
from vision_recs.indexes.faiss_files import build_threads, read_faiss, train_alone, write_faiss
from vision_recs.indexes.faiss_search import (
    DELTA,
    DELTA_POSITIONS,
    INDEX,
    POSITIONS,
    FaissCandidates,
    has_graph,
    inner_index,
    read_positions,
    split_rotation,
    stretch,
)
from vision_recs.indexes.hnsw_mmap import graph_files, load_graph, reorder_by_proximity, save_graph
from vision_recs.indexes.holdout import HoldoutQueries
from vision_recs.indexes.inverted_lists import is_in_sorted, link_file, not_in_sorted, save_deleted
from vision_recs.indexes.rescoring import ApproximateIndex, ApproximateSearch
from vision_recs.types import VectorReader, Vectors, VectorSource
from vision_recs.vectors import principal_axes

_COMPONENTS = (128, 256, 512)
_LEAST_VARIANCE = 0.7  # that components have to hold: with less, so many candidates are rescored that more are faster
_SAMPLE = 10_000  # vectors whose variance is measured
_BLOCK = 16_384
_TRAINING = 100_000  # vectors at most
_EF_CONSTRUCTION = 100
_LARGEST_DELTA = 0.1  # times the vectors of the graph, from which on what was added is put into it
_MOST_DELETED = 0.2  # share of the vectors from which on the index is built anew
_MOST_GROWTH = 2.0  # times as many vectors as it was trained for, from which on it is built anew
_LINK_BYTES = 2 * 16 * 4 + 16 + 8  # a vector: neighbors on the lowest level, a little above, and the position


class _OneFile:
    """What index types have in common that keep one index of FAISS in a file."""

    def update(self, source: VectorReader, previous: Path, directory: Path, config: IndexConfig) -> IndexStats | None:
        """Write the index in *previous* with the new vectors added and the old ones marked as deleted.

        What is added to a graph goes into a small graph beside it, the delta; the files of the large one are linked.
        """
        record, profile = read_profile(previous)
        change = _Change.of(read_positions(previous), source.positions())
        if change.are_many_deleted or len(source.positions()) > _MOST_GROWTH * record.trained_for:
            return None
        with build_threads():
            known = _write_change(change, source, previous, directory)
        dead = np.flatnonzero(is_in_sorted(known, change.deleted))
        save_deleted(directory, dead)
        holdout = HoldoutQueries.load(previous).updated(source, change.added, change.deleted)
        given = TuningInput(config, record, profile, holdout)
        stats = autotune(source, directory, FaissCandidates(directory), given)
        in_delta = sum(map(len, read_positions(directory)[1:]))
        return replace(stats, in_delta=in_delta, dead=len(dead))

    def open(self, source: VectorSource, directory: Path) -> ApproximateIndex:
        """Map the files of *directory*; FAISS's own file, in which a graph has no vectors, is checked first."""
        require_unaltered(directory, INDEX)
        _, profile = read_profile(directory)
        candidates = FaissCandidates(directory)
        return ApproximateIndex(source, ApproximateSearch(source, candidates, profile, size=candidates.size))

    def verify(self, directory: Path) -> list[str]:  # noqa: ARG002 - an IndexType
        """Return nothing: the digests of the files say it all."""
        return []


@dataclass(frozen=True, slots=True)
class HnswIndexType(_OneFile):
    """Builds, updates and opens graphs over principal components, one byte each; see `IndexType`.

    *components* is how many are compared; None chooses as many as hold most of the variance.
    """

    components: int | None = None

    @property
    def name(self) -> str:
        """The name in `INDEX_TYPES`."""
        return "hnsw"

    def build(self, source: VectorReader, directory: Path, config: IndexConfig) -> IndexStats:
        """Write a graph of all vectors of *source*, tune it and measure it."""
        positions = source.positions()
        components = self.components or usual_components(source, positions, seed=config.seed)
        return _build(source, directory, config, graph_factory(len(positions), source.dim, components))


class FaissIndexType(_OneFile):
    """Builds, updates and opens the index that a factory string of FAISS describes; see `IndexType`."""

    name = "faiss"

    def build(self, source: VectorReader, directory: Path, config: IndexConfig) -> IndexStats:
        """Write the index that `config.index_type` describes, tune it and measure it.

        Raises UnknownIndexType without a factory string, IndexBuildError where FAISS cannot build the index.
        """
        factory = config.index_type.removeprefix(FAISS_PREFIX)
        if factory in ("", config.index_type):
            raise UnknownIndexType(
                f"the index type faiss takes a factory string; write it as {FAISS_PREFIX}IVF256,Flat"
            )
        return _build(source, directory, config, factory)


def graph_factory(vectors: int, dim: int, components: int) -> str:
    """Return the factory string of a graph over principal *components* of one byte each."""
    if vectors < dim:  # too few to have principal components
        return "HNSW16,SQ8"
    return f"PCAR{min(components, dim)},HNSW16,SQ8_direct_signed"


def graph_bytes(components: int) -> float:
    """Return how many bytes a vector takes in a graph over *components*: its code, its links and its position."""
    return float(components + _LINK_BYTES)


def usual_components(source: VectorReader, positions: NDArray[np.int64], *, seed: int) -> int:
    """Return how many principal components a graph of the vectors at *positions* best compares.

    Fewer are walked faster and take less memory. Rescoring more candidates makes up for what they lose, as long as they
    hold most of what tells the vectors apart.
    """
    choices = [min(source.dim, components) for components in _COMPONENTS]
    if len(positions) < source.dim:
        return choices[0]
    sample = np.random.default_rng(seed).choice(positions, min(len(positions), _SAMPLE), replace=False)
    held = np.cumsum(principal_axes(source.vectors(np.sort(sample))).variances)
    return next((each for each in choices if held[each - 1] >= _LEAST_VARIANCE * held[-1]), choices[-1])


class _Change(NamedTuple):
    """What becomes of an index: the positions of its ordinals, and of those in its delta; what is added and deleted."""

    base: NDArray[np.int64]
    delta: NDArray[np.int64]
    added: NDArray[np.int64]
    deleted: NDArray[np.int64]

    @classmethod
    def of(cls, known: Sequence[NDArray[np.int64]], alive: NDArray[np.int64]) -> _Change:
        """Return what makes the positions *alive* of those that are *known*, in the index and in its delta, if any."""
        base, *deltas = known
        ordered = np.sort(np.concatenate(known))
        delta = np.concatenate([base[:0], *deltas])
        return cls(base, delta, not_in_sorted(alive, ordered), not_in_sorted(ordered, alive))

    @property
    def are_many_deleted(self) -> bool:
        """Whether the index is better built anew."""
        return len(self.deleted) > _MOST_DELETED * (len(self.base) + len(self.delta))

    @property
    def is_small(self) -> bool:
        """Whether all that was ever added to the index may stay beside it."""
        return len(self.delta) + len(self.added) <= _LARGEST_DELTA * len(self.base)


def _write_change(change: _Change, source: VectorReader, previous: Path, directory: Path) -> NDArray[np.int64]:
    """Write what *change* makes of the index in *previous*; return the positions of its ordinals."""
    require_unaltered(previous, INDEX)
    index = read_faiss(previous / INDEX, mapped=False)
    inner = inner_index(index)
    if has_graph(inner) and change.is_small:
        for name in (INDEX, POSITIONS, *graph_files()):
            link_file(previous, directory, name)
        grown = np.concatenate([change.delta, change.added])
        if len(grown):
            if len(change.delta):
                load_graph(inner, previous, DELTA, is_writable=True)
            _add(index, source, change.added)
            save_graph(inner, directory, DELTA)
            save_npy(directory / DELTA_POSITIONS, grown)
        return np.concatenate([change.base, grown])
    added = np.concatenate([not_in_sorted(change.delta, change.deleted), change.added])
    if has_graph(inner):
        load_graph(inner, previous, is_writable=True)
    _add(index, source, added)
    known = np.concatenate([change.base, added])
    _write(directory, index, known)
    return known


def _build(source: VectorReader, directory: Path, config: IndexConfig, factory: str) -> IndexStats:
    started = perf_counter()
    positions = source.positions()
    try:
        with build_threads():
            index = _filled(source, positions, factory, config.seed)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise IndexBuildError(
            f"FAISS cannot build the index {factory!r} ({reason}); use another --index-type"
        ) from error
    if has_graph(inner_index(index)):
        positions = positions[reorder_by_proximity(inner_index(index))]
    _write(directory, index, positions)
    save_deleted(directory, positions[:0])
    record = BuildRecord(factory, len(positions), _bytes_per_vector(directory), perf_counter() - started)
    return autotune(source, directory, FaissCandidates(directory), TuningInput(config, record))


def _filled(source: VectorReader, positions: NDArray[np.int64], factory: str, seed: int) -> faiss.Index:
    index = faiss.index_factory(source.dim, factory, faiss.METRIC_L2)
    inner = inner_index(index)
    if isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efConstruction = _EF_CONSTRUCTION
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists.cp.min_points_per_centroid = 1  # FAISS would print a warning
    if not index.is_trained:
        count = min(len(positions), _TRAINING)
        random = np.random.default_rng(seed)
        sample = np.sort(random.choice(positions, count, replace=False)) if count else positions
        _train(index, source.vectors(sample) if count else random.random((1, source.dim), np.float32))
    _add(index, source, positions)
    return index


def _train(index: faiss.Index, vectors: Vectors) -> None:
    with train_alone() if has_graph(inner_index(index)) else nullcontext():
        index.train(vectors)
    rotation, _ = split_rotation(index)
    if rotation is not None and rotation.is_rounded:
        stretch(rotation.transform, vectors)


def _add(index: faiss.Index, source: VectorReader, positions: NDArray[np.int64]) -> None:
    rotation, inner = split_rotation(index)
    for _, vectors in blocks(source, _BLOCK, positions):
        inner.add(vectors if rotation is None else rotation.apply(vectors))
    index.ntotal = inner.ntotal


def _write(directory: Path, index: faiss.Index, positions: NDArray[np.int64]) -> None:
    inner = inner_index(index)
    if has_graph(inner):
        save_graph(inner, directory)
        index.reset()
    write_faiss(index, directory / INDEX)
    save_npy(directory / POSITIONS, positions)


def _bytes_per_vector(directory: Path) -> float:
    """Return how many bytes the files of the index have for each of its vectors."""
    count = sum(map(len, read_positions(directory)))
    return sum(file.stat().st_size for file in directory.iterdir()) / max(1, count)

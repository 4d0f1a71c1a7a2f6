"""An index of FAISS in one file: the HNSW graph, or whatever a factory string describes.

The folder holds `index.faiss`, beside it the files of `mapped_graph` where there is a graph, `positions.npy` (int64:
ordinal of FAISS -> position of the store) and `dead.npy`, the ordinals that are gone. FAISS compares by L2, which
orders unit vectors as their cosine does, also behind a PCA.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import VisionRecsError
from vision_recs.indexes.autotune import Told, finish
from vision_recs.indexes.base import blocks
from vision_recs.indexes.config import Built, IndexConfig, IndexStats, Tuning
from vision_recs.indexes.faiss_search import (
    INDEX,
    POSITIONS,
    FaissFile,
    behind,
    has_graph,
    peeled,
)
from vision_recs.indexes.hnsw_mmap import load_graph, put_neighbors_together, save_graph
from vision_recs.indexes.holdout import Questions
from vision_recs.indexes.inverted_lists import among, missing, save_dead
from vision_recs.indexes.rescoring import ApproximateIndex, open_approximate
from vision_recs.indexes.rotation import stretch
from vision_recs.npy import mmap_array
from vision_recs.types import Vectors, VectorSource

_COMPONENTS = (128, 256, 512)
_HELD = 0.7  # of the variance: with less, so many candidates need exact scores that more components are faster
_LOOKED_AT = 10_000  # vectors
_BLOCK = 16_384
_TRAINING = 100_000  # vectors at most
_EF_CONSTRUCTION = 100
_DEAD_SHARE = 0.2  # from which on the index is built anew
_GROWTH = 2.0


def graph_recipe(vectors: int, dim: int, components: int) -> str:
    """Return the factory string that `hnsw` stands for: a graph over so many principal *components* of a byte each."""
    if vectors < dim:  # of which there are no principal components
        return "HNSW16,SQ8"
    return f"PCAR{min(components, dim)},HNSW16,SQ8_direct_signed"


def usual_components(source: VectorSource, positions: NDArray[np.int64], *, seed: int) -> int:
    """Return how many principal components a graph of the vectors at *positions* best compares.

    Fewer are walked faster and take less memory; what they lose, exact scores of more candidates make good, as long as
    they hold most of what tells the vectors apart.
    """
    every = [min(source.dim, components) for components in _COMPONENTS]
    if len(positions) < source.dim:
        return every[0]
    sample = np.random.default_rng(seed).choice(positions, min(len(positions), _LOOKED_AT), replace=False)
    vectors = source.vectors(np.sort(sample))
    vectors = vectors - vectors.mean(axis=0)
    variances = np.linalg.eigvalsh((vectors.T @ vectors).astype(np.float64))[::-1]
    held = np.cumsum(variances)
    return next((each for each in every if held[each - 1] >= _HELD * held[-1]), every[-1])


class GraphEngine:
    """Builds, changes and opens `faiss`, an index that a factory string describes."""

    name = "faiss"

    @classmethod
    def build(cls, source: VectorSource, directory: Path) -> None:
        """Build the graph, for the recall that is usual."""
        config, positions = IndexConfig(), source.positions()
        components = usual_components(source, positions, seed=config.seed)
        cls.make(source, directory, config, graph_recipe(len(positions), source.dim, components))

    @classmethod
    def make(cls, source: VectorSource, directory: Path, config: IndexConfig, recipe: str) -> IndexStats:
        """Write the index that the factory string *recipe* describes, over all vectors of *source*.

        Raises VisionRecsError where FAISS cannot.
        """
        started = perf_counter()
        positions = source.positions()
        try:
            index = _filled(source, positions, recipe, config.seed)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise VisionRecsError(
                f"FAISS cannot build the index {recipe!r} ({reason}); use another --index-type"
            ) from error
        if has_graph(behind(index)):
            positions = positions[put_neighbors_together(behind(index))]
        _write(directory, index, positions, positions[:0])
        seconds = perf_counter() - started
        built = Built(cls.name, recipe, len(positions), _bytes_per_vector(directory), seconds)
        return finish(source, directory, FaissFile(directory), built=built, told=Told(config))

    @classmethod
    def update(cls, source: VectorSource, old: Path, directory: Path, facts: Mapping[str, Any]) -> IndexStats | None:
        """Write into *directory* what the index in *old* becomes for *source*; None where it has to be built anew."""
        built, config = Built(**facts["built"]), IndexConfig(**facts["config"])
        alive = source.positions()
        known: NDArray[np.int64] = mmap_array(old / POSITIONS, np.int64)
        ordered = np.sort(known)
        fresh, dead = missing(alive, ordered), missing(ordered, alive)
        if len(dead) > _DEAD_SHARE * len(known) or len(alive) > _GROWTH * built.trained_for:
            return None
        index = faiss.read_index(str(old / INDEX))
        if has_graph(behind(index)):
            load_graph(behind(index), old, to_change=True)
        _add(index, source, fresh)
        _write(directory, index, np.concatenate([known, fresh]), np.flatnonzero(among(known, dead)))
        told = Told(config, Tuning.from_dict(facts["tuning"]), Questions.load(old).after(source, fresh, dead))
        stats = finish(source, directory, FaissFile(directory), built=built, told=told)
        return stats if stats.target_recall_met or not facts["stats"]["target_recall_met"] else None

    @classmethod
    def open(cls, source: VectorSource, directory: Path) -> ApproximateIndex:
        """Map the files of *directory*."""
        return open_approximate(source, directory, name=cls.name, proposer=FaissFile)


class HnswEngine(GraphEngine):
    """Builds, changes and opens `hnsw`."""

    name = "hnsw"


def _filled(source: VectorSource, positions: NDArray[np.int64], recipe: str, seed: int) -> faiss.Index:
    index = faiss.index_factory(source.dim, recipe, faiss.METRIC_L2)
    inner = behind(index)
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
    index.train(vectors)
    rotation, _ = peeled(index)
    if rotation is not None and rotation.whole:
        stretch(rotation.transform, vectors)


def _add(index: faiss.Index, source: VectorSource, positions: NDArray[np.int64]) -> None:
    rotation, inner = peeled(index)
    for _, vectors in blocks(source, _BLOCK, positions):
        inner.add(vectors if rotation is None else rotation.apply(vectors))
    index.ntotal = inner.ntotal


def _write(directory: Path, index: faiss.Index, positions: NDArray[np.int64], dead: NDArray[np.int64]) -> None:
    inner = behind(index)
    if has_graph(inner):
        save_graph(inner, directory)
        index.reset()
    faiss.write_index(index, str(directory / INDEX))
    np.save(directory / POSITIONS, positions)
    save_dead(directory, dead)


def _bytes_per_vector(directory: Path) -> float:
    """Return how large the files of the index are for each of its vectors."""
    count = len(mmap_array(directory / POSITIONS, np.int64))
    return sum(file.stat().st_size for file in directory.iterdir()) / max(1, count)

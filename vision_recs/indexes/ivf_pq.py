"""Inverted lists of product-quantized codes, scanned by FAISS's fast scan: small, quick to build and to change.

A vector is reduced to its principal components, rotated, and cut into pairs of numbers of 4 bits each. The folder holds
`trained.faiss` (the rotation, the centroids of the lists and the codebooks; no vectors) and the segments of `lists`.
What the codes propose is scored exactly with the vectors of the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.autotune import Told, finish
from vision_recs.indexes.base import blocks
from vision_recs.indexes.config import Built, IndexConfig, IndexStats, Tuning
from vision_recs.indexes.holdout import Questions
from vision_recs.indexes.inverted_lists import Segment, merged, missing, positions_of, save_dead, share
from vision_recs.indexes.ivf_search import NEIGHBORS, TRAINED, InvertedIndex, segment_names
from vision_recs.indexes.rescoring import ApproximateIndex, open_approximate
from vision_recs.types import VectorSource

_BLOCK = 16_384
_TRAINING_NUMBERS = 1 << 26  # of vectors in memory while the principal components are found
_POINTS_PER_LIST = 39  # with which FAISS finds k-means well founded
_ITERATIONS = 10
_SEGMENTS = 8  # more are merged into one
_DEAD_SHARE = 0.1  # from which on segments are written anew without them
_GROWTH = 2.0  # against what it was trained for, from which on it is trained anew
_LISTS = 4  # times the square root of the number of vectors
_FEWEST_PER_LIST = 32  # vectors: FAISS scans so many at once
_FEWEST_TO_TRAIN = 64  # vectors, which 16 codewords need; fewer are taken several times


@dataclass(frozen=True, slots=True)
class Recipe:
    """How large an inverted index is: *lists*, *dim* principal components, *codes* of 4 bits for each vector."""

    lists: int
    dim: int
    codes: int

    def __str__(self) -> str:
        """Return the factory string of FAISS."""
        return f"PCAR{self.dim},IVF{self.lists},PQ{self.codes}x4fs,Refine(store)"

    @property
    def bytes_per_vector(self) -> float:
        """What a vector takes in memory: its code and its position."""
        return self.codes / 2 + 8


class InvertedEngine:
    """Builds, changes and opens `ivf-pq`."""

    name = "ivf-pq"

    @classmethod
    def build(cls, source: VectorSource, directory: Path) -> None:
        """Build it as `recipe_for` says, for the recall that is usual."""
        cls.make(source, directory, IndexConfig(), recipe_for(len(source.positions()), source.dim))

    @classmethod
    def make(cls, source: VectorSource, directory: Path, config: IndexConfig, recipe: Recipe) -> IndexStats:
        """Train on a sample of *source*, write the codes of all its vectors, tune and measure."""
        started = perf_counter()
        positions = source.positions()
        rotation, inverted = _train(source, positions, recipe, config.seed)
        _encode(source, positions, rotation, inverted).save(directory, "0")
        graph = _with_graph(inverted)
        faiss.write_index(faiss.IndexPreTransform(rotation, inverted), str(directory / TRAINED))
        del graph
        save_dead(directory, positions[:0])
        seconds = perf_counter() - started
        built = Built(cls.name, str(recipe), len(positions), recipe.bytes_per_vector, seconds)
        return finish(source, directory, InvertedIndex(directory), built=built, told=Told(config))

    @classmethod
    def update(cls, source: VectorSource, old: Path, directory: Path, facts: Mapping[str, Any]) -> IndexStats | None:
        """Write into *directory* what the index in *old* becomes for *source*; None where it has to be built anew.

        Only vectors that are new are read, and a few to measure with.
        """
        built, config = Built(**facts["built"]), IndexConfig(**facts["config"])
        alive = source.positions()
        if not len(alive) / _GROWTH <= built.trained_for <= len(alive) * _GROWTH:
            return None
        fresh, dead = _change(source, alive, old, directory)
        told = Told(config, Tuning.from_dict(facts["tuning"]), Questions.load(old).after(source, fresh, dead))
        stats = finish(source, directory, InvertedIndex(directory), built=built, told=told)
        return stats if stats.target_recall_met or not facts["stats"]["target_recall_met"] else None

    @classmethod
    def open(cls, source: VectorSource, directory: Path) -> ApproximateIndex:
        """Map the files of *directory*."""
        return open_approximate(source, directory, name=cls.name, proposer=InvertedIndex)


def recipe_for(vectors: int, dim: int, *, components: int = 256, bits: int = 2) -> Recipe:
    """Return the recipe for so many *vectors* of *dim* numbers: *components* of them, *bits* for each component."""
    components = max(1, min(dim, components, vectors))
    codes = max(1, components * bits // 4)
    components -= components % codes
    lists = max(1, min(vectors // _FEWEST_PER_LIST, round(_LISTS * vectors**0.5)))
    return Recipe(lists, components, codes)


def _change(
    source: VectorSource, alive: NDArray[np.int64], old: Path, directory: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write the segments of *old* and one with what is new, or all merged; return what came and what went."""
    names = segment_names(old)
    segments = [Segment.map(old, name) for name in names]
    known = positions_of(segments)
    fresh, gone = missing(alive, known), missing(known, alive)
    dead = gone
    shutil.copyfile(old / TRAINED, directory / TRAINED)
    whole = faiss.read_index(str(old / TRAINED))
    rotation, inverted = faiss.downcast_VectorTransform(whole.chain.at(0)), faiss.downcast_index(whole.index)
    if len(fresh):
        segments.append(_encode(source, fresh, rotation, inverted))
    following = str(max(map(int, names)) + 1)
    if len(segments) > _SEGMENTS or len(dead) > _DEAD_SHARE * len(known):
        merged(segments, dead).save(directory, following)
        dead = dead[:0]
    else:
        for name in names:
            share(old, directory, name)
        if len(fresh):
            segments[-1].save(directory, following)
    save_dead(directory, dead)
    return fresh, gone


def _train(
    source: VectorSource, positions: NDArray[np.int64], recipe: Recipe, seed: int
) -> tuple[faiss.LinearTransform, faiss.IndexIVFPQFastScan]:
    random = np.random.default_rng(seed)
    wanted = min(len(positions), max(_POINTS_PER_LIST * recipe.lists, 2 * 10_000))
    sample = np.sort(random.choice(positions, wanted, replace=False)) if wanted else positions
    read = (vectors for _, vectors in blocks(source, _BLOCK, sample))
    rotation = _rotation(source, sample, recipe, random)
    reduced = np.concatenate([np.empty((0, recipe.dim), np.float32), *(rotation.apply(vectors) for vectors in read)])
    if len(reduced) < _FEWEST_TO_TRAIN:
        reduced = (
            np.resize(reduced, (_FEWEST_TO_TRAIN, recipe.dim))
            if len(reduced)
            else random.standard_normal((_FEWEST_TO_TRAIN, recipe.dim), np.float32)
        )
    quantizer = faiss.IndexFlatL2(recipe.dim)
    inverted = faiss.IndexIVFPQFastScan(quantizer, recipe.dim, recipe.lists, recipe.codes, 4, faiss.METRIC_L2)
    inverted.by_residual = False  # one table for a query, not one for each list that it scans
    inverted.cp.niter = _ITERATIONS
    inverted.cp.seed = inverted.pq.cp.seed = seed + 1
    inverted.cp.min_points_per_centroid = inverted.pq.cp.min_points_per_centroid = 1
    inverted.train(reduced)
    return rotation, inverted


def _with_graph(inverted: faiss.IndexIVFPQFastScan) -> faiss.IndexHNSWFlat:
    """Let *inverted* find its lists in a graph of their centroids, which is returned to be kept alive."""
    graph = faiss.IndexHNSWFlat(inverted.d, NEIGHBORS)
    graph.add(inverted.quantizer.reconstruct_n(0, inverted.nlist))
    inverted.quantizer, inverted.own_fields = graph, False
    return graph


def _rotation(
    source: VectorSource, sample: NDArray[np.int64], recipe: Recipe, random: np.random.Generator
) -> faiss.LinearTransform:
    """Return the projection onto the principal components of *sample*, rotated so that all carry as much."""
    few = _TRAINING_NUMBERS // source.dim
    chosen = sample if len(sample) <= few else np.sort(random.choice(sample, few, replace=False))
    if len(chosen) < source.dim:  # too few to have principal components: a random projection keeps distances, too
        random_one = faiss.RandomRotationMatrix(source.dim, recipe.dim)
        random_one.init(int(random.integers(1, 2**31)))
        return random_one
    vectors = source.vectors(chosen)
    rotation = faiss.PCAMatrix(source.dim, recipe.dim)
    rotation.random_rotation = True
    rotation.train(np.ascontiguousarray(vectors))
    return rotation


def _encode(
    source: VectorSource,
    positions: NDArray[np.int64],
    rotation: faiss.LinearTransform,
    inverted: faiss.IndexIVFPQFastScan,
) -> Segment:
    codes = np.empty((len(positions), inverted.pq.code_size), np.uint8)
    lists = np.empty(len(positions), np.int64)
    centroids = faiss.downcast_index(inverted.quantizer)
    if isinstance(centroids, faiss.IndexHNSW):  # exact, since a vector stays in its list for good
        centroids = faiss.downcast_index(centroids.storage)
    start = 0
    for _, vectors in blocks(source, _BLOCK, positions):
        reduced = rotation.apply(vectors)
        stop = start + len(vectors)
        lists[start:stop] = centroids.search(reduced, 1)[1].ravel()
        codes[start:stop] = inverted.pq.compute_codes(reduced)
        start = stop
    return Segment.of(codes, positions, lists, count=inverted.nlist)

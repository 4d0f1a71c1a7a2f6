"""The index type `ivf-pq`: inverted lists of product-quantized codes, small, quick to build and to update.

A vector is reduced to its principal components, rotated, and cut into pairs of numbers of 4 bits each, which FAISS's
fast scan compares. The directory holds `trained.faiss` (the rotation, the centroids of the lists and the codebooks; no
vectors), the segments of `inverted_lists`, `profile.json` and `holdout.npz`. The candidates are rescored with the
vectors of the store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.autotune import TuningInput, autotune
from vision_recs.indexes.base import blocks, require_unaltered
from vision_recs.indexes.config import BuildRecord, IndexConfig, IndexStats, read_profile
from vision_recs.indexes.faiss_files import build_threads, read_faiss, train_alone, write_faiss
from vision_recs.indexes.holdout import HoldoutQueries
from vision_recs.indexes.inverted_lists import (
    Segment,
    link_file,
    link_segment,
    merged,
    not_in_sorted,
    positions_of,
    read_deleted,
    save_deleted,
)
from vision_recs.indexes.ivf_search import NEIGHBORS, TRAINED, IvfCandidates, segment_names
from vision_recs.indexes.rescoring import ApproximateIndex, ApproximateSearch
from vision_recs.types import VectorReader, VectorSource

_BLOCK = 16_384
_TRAINING_NUMBERS = 1 << 26  # of vectors in memory while the principal components are found
_POINTS_PER_LIST = 39  # with which FAISS finds k-means well founded
_ITERATIONS = 10
_MOST_SEGMENTS = 8  # more are merged into one
_MOST_DELETED = 0.1  # share of the vectors from which on segments are written anew without them
_MOST_GROWTH = 2.0  # times as many vectors as it was trained for, from which on it is trained anew
_LISTS = 4  # times the square root of the number of vectors
_FEWEST_PER_LIST = 32  # vectors: FAISS scans so many at once
_FEWEST_TO_TRAIN = 64  # vectors, which 16 codewords need; fewer are taken several times


@dataclass(frozen=True, slots=True)
class IvfPqParams:
    """How large an inverted index is: *lists*, *dim* principal components, and *codes* of 4 bits for each vector."""

    lists: int
    dim: int
    codes: int

    @property
    def factory(self) -> str:
        """The factory string of FAISS."""
        return f"PCAR{self.dim},IVF{self.lists},PQ{self.codes}x4fs,Refine(store)"

    @property
    def bytes_per_vector(self) -> float:
        """What a vector takes in memory: its code and its position."""
        return self.codes / 2 + 8


@dataclass(frozen=True, slots=True)
class IvfPqIndexType:
    """Builds, updates and opens inverted lists; see `IndexType`.

    A vector is reduced to *components* principal components, which take *bits* each.
    """

    components: int = 256
    bits: int = 2

    @property
    def name(self) -> str:
        """The name in `INDEX_TYPES`."""
        return "ivf-pq"

    def params(self, vectors: int, dim: int) -> IvfPqParams:
        """Return how large the index of so many *vectors* of *dim* columns is."""
        components = max(1, min(dim, self.components, vectors))
        codes = max(1, components * self.bits // 4)
        components -= components % codes
        lists = max(1, min(vectors // _FEWEST_PER_LIST, round(_LISTS * vectors**0.5)))
        return IvfPqParams(lists, components, codes)

    def build(self, source: VectorReader, directory: Path, config: IndexConfig) -> IndexStats:
        """Train on a sample of *source*, write the codes of all its vectors, tune and measure."""
        started = perf_counter()
        positions = source.positions()
        params = self.params(len(positions), source.dim)
        with build_threads():
            rotation, inverted = _train(source, positions, params, config.seed)
            _encode(source, positions, rotation, inverted).save(directory, "0")
        graph = _with_graph(inverted)
        write_faiss(faiss.IndexPreTransform(rotation, inverted), directory / TRAINED)
        del graph
        save_deleted(directory, positions[:0])
        record = BuildRecord(params.factory, len(positions), params.bytes_per_vector, perf_counter() - started)
        return autotune(source, directory, IvfCandidates(directory), TuningInput(config, record))

    def update(self, source: VectorReader, previous: Path, directory: Path, config: IndexConfig) -> IndexStats | None:
        """Write the segments of *previous* and one with the new vectors, or all of them merged.

        Only new vectors are read, and a few to measure with.
        """
        record, profile = read_profile(previous)
        alive = source.positions()
        if not len(alive) / _MOST_GROWTH <= record.trained_for <= len(alive) * _MOST_GROWTH:
            return None
        added, deleted = _write_segments(source, alive, previous, directory)
        holdout = HoldoutQueries.load(previous).updated(source, added, deleted)
        given = TuningInput(config, record, profile, holdout)
        stats = autotune(source, directory, IvfCandidates(directory), given)
        _, *deltas = (Segment.map(directory, name).positions for name in segment_names(directory))
        return replace(stats, in_delta=sum(map(len, deltas)), dead=len(read_deleted(directory)))

    def open(self, source: VectorSource, directory: Path) -> ApproximateIndex:
        """Map the files of *directory*; a list is read when a search first needs it. FAISS's own file is checked."""
        require_unaltered(directory, TRAINED)
        _, profile = read_profile(directory)
        candidates = IvfCandidates(directory)
        return ApproximateIndex(source, ApproximateSearch(source, candidates, profile, size=candidates.size))

    def verify(self, directory: Path) -> list[str]:  # noqa: ARG002 - an IndexType
        """Return nothing: the digests of the files say it all."""
        return []


def _write_segments(
    source: VectorReader, alive: NDArray[np.int64], previous: Path, directory: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write the segments of the updated index; return which positions were added, and which were deleted."""
    names = segment_names(previous)
    segments = [Segment.map(previous, name) for name in names]
    known = positions_of(segments)
    added, gone = not_in_sorted(alive, known), not_in_sorted(known, alive)
    deleted = gone
    require_unaltered(previous, TRAINED)
    link_file(previous, directory, TRAINED)
    whole = read_faiss(previous / TRAINED, mapped=False)
    rotation, inverted = faiss.downcast_VectorTransform(whole.chain.at(0)), faiss.downcast_index(whole.index)
    if len(added):
        segments.append(_encode(source, added, rotation, inverted))
    following = str(max(map(int, names), default=-1) + 1)
    if len(segments) > _MOST_SEGMENTS or len(deleted) > _MOST_DELETED * len(known):
        merged(segments, deleted).save(directory, following)
        deleted = deleted[:0]
    else:
        for name in names:
            link_segment(previous, directory, name)
        if len(added):
            segments[-1].save(directory, following)
    save_deleted(directory, deleted)
    return added, gone


def _train(
    source: VectorReader, positions: NDArray[np.int64], params: IvfPqParams, seed: int
) -> tuple[faiss.LinearTransform, faiss.IndexIVFPQFastScan]:
    random = np.random.default_rng(seed)
    count = min(len(positions), max(_POINTS_PER_LIST * params.lists, 2 * 10_000))
    sample = np.sort(random.choice(positions, count, replace=False)) if count else positions
    rotation = _rotation(source, sample, params, random)
    reduced = [rotation.apply(vectors) for _, vectors in blocks(source, _BLOCK, sample)]
    inverted = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatL2(params.dim), params.dim, params.lists, params.codes, 4, faiss.METRIC_L2
    )
    inverted.by_residual = False  # one table for a query, not one for each list that it scans
    inverted.cp.niter = _ITERATIONS
    inverted.cp.seed = inverted.pq.cp.seed = seed + 1
    inverted.cp.min_points_per_centroid = inverted.pq.cp.min_points_per_centroid = 1
    inverted.train(_enough_to_train(np.concatenate([np.empty((0, params.dim), np.float32), *reduced]), random))
    return rotation, inverted


def _enough_to_train(reduced: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Return *reduced* (n, dim), repeated where it has too few rows; random rows where it has none."""
    shape = (_FEWEST_TO_TRAIN, reduced.shape[1])
    if not len(reduced):
        return random.standard_normal(shape, np.float32)
    return reduced if len(reduced) >= _FEWEST_TO_TRAIN else np.resize(reduced, shape)


def _with_graph(inverted: faiss.IndexIVFPQFastScan) -> faiss.IndexHNSWFlat:
    """Let *inverted* find its lists in a graph of their centroids, which is returned to be kept alive."""
    graph = faiss.IndexHNSWFlat(inverted.d, NEIGHBORS)
    graph.add(inverted.quantizer.reconstruct_n(0, inverted.nlist))
    inverted.quantizer, inverted.own_fields = graph, False
    return graph


def _rotation(
    source: VectorReader, sample: NDArray[np.int64], params: IvfPqParams, random: np.random.Generator
) -> faiss.LinearTransform:
    """Return the projection onto the principal components of *sample*, rotated so that all have the same variance."""
    few = _TRAINING_NUMBERS // source.dim
    chosen = sample if len(sample) <= few else np.sort(random.choice(sample, few, replace=False))
    if len(chosen) < source.dim:  # too few to have principal components: a random projection keeps distances, too
        random_one = faiss.RandomRotationMatrix(source.dim, params.dim)
        random_one.init(int(random.integers(1, 2**31)))
        return random_one
    vectors = source.vectors(chosen)
    rotation = faiss.PCAMatrix(source.dim, params.dim)
    rotation.random_rotation = True
    with train_alone():
        rotation.train(np.ascontiguousarray(vectors))
    return rotation


def _encode(
    source: VectorReader,
    positions: NDArray[np.int64],
    rotation: faiss.LinearTransform,
    inverted: faiss.IndexIVFPQFastScan,
) -> Segment:
    """Return the segment of the vectors at *positions*."""
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

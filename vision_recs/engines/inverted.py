"""Inverted lists of product-quantised codes, scanned by FAISS's fast scan: small, quick to build and to change.

A vector is reduced to its principal components, rotated, and cut into pairs of numbers of 4 bits each. The folder holds
`trained.faiss` (the rotation, the centroids of the lists and the codebooks; no vectors) and the segments of `lists`.
What the codes propose is scored exactly with the vectors of the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.approximate import ApproximateIndex, open_approximate
from vision_recs.engines.lists import Lists, Segment, merged, missing, positions_of, read_dead, save_dead, share
from vision_recs.engines.questions import Questions
from vision_recs.engines.ranking import blocks
from vision_recs.engines.recent import Recent
from vision_recs.engines.rotation import Rotation
from vision_recs.engines.tuning import Told, finish
from vision_recs.engines.wish import Built, Figures, Tuning, Wish
from vision_recs.errors import StoreDamaged
from vision_recs.types import Subset, Vectors, VectorSource

_TRAINED = "trained.faiss"
_BLOCK = 16_384
_TRAINING_NUMBERS = 1 << 26  # of vectors in memory while the principal components are found
_POINTS_PER_LIST = 39  # with which FAISS finds k-means well founded
_ITERATIONS = 10
_SEGMENTS = 8  # more are merged into one
_DEAD_SHARE = 0.1  # from which on segments are written anew without them
_GROWTH = 2.0  # against what it was trained for, from which on it is trained anew
_NEAR = 0.02  # of the lists: those around a query, which say whether a filter leaves what is like it
_SCANNED_IF_FAR = 50_000
_LISTS = 4  # times the square root of the number of vectors
_FEWEST_PER_LIST = 32  # vectors: FAISS scans so many at once
_WALKED = 1 / 16  # of the lists: to find more of them, comparing with all is quicker than walking a graph
_SHORTEST_WALK = 16  # lists that are looked at
_NEIGHBOURS = 16  # in that graph
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


class NearestLists:
    """Which lists are nearest to a query: found in a graph of their centroids, or by comparing with all of them."""

    def __init__(self, graph: faiss.IndexHNSWFlat) -> None:
        """Search *graph*, and the centroids that it stores."""
        self._graph = graph
        self._all = faiss.downcast_index(graph.storage)

    def search(self, reduced: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return distances and numbers (n, *count*) of the lists nearest to each of *reduced*, nearest first."""
        distances = np.empty((len(reduced), count), np.float32)
        lists = np.empty((len(reduced), count), np.int64)
        pointers = (faiss.swig_ptr(each) for each in (distances, lists))
        if count > _WALKED * self._all.ntotal:
            self._all.search_c(len(reduced), faiss.swig_ptr(reduced), count, *pointers)
        else:
            self._graph.search_c(len(reduced), faiss.swig_ptr(reduced), count, *pointers, _walk(count))
        return distances, lists


@cache
def _walk(count: int) -> faiss.SearchParametersHNSW:
    return faiss.SearchParametersHNSW(efSearch=max(_SHORTEST_WALK, 2 * count))


@cache
def _scan_of(lists: int) -> faiss.SearchParametersIVF:
    return faiss.SearchParametersIVF(nprobe=lists)


class InvertedIndex:
    """Proposes candidates out of inverted lists; effort is how many lists are scanned."""

    def __init__(self, directory: Path) -> None:
        """Map the files of *directory*; raises StoreDamaged."""
        try:
            self._whole = faiss.read_index(str(directory / _TRAINED))
            self._rotation = Rotation.of(faiss.downcast_VectorTransform(self._whole.chain.at(0)))
            self._inverted = faiss.downcast_index(self._whole.index)
            segments = [Segment.map(directory, name) for name in _names(directory)]
        except (RuntimeError, AttributeError) as error:
            raise StoreDamaged(
                f"{directory / _TRAINED} cannot be read ({error}); rebuild it with `visrec index`"
            ) from error
        self._nearest_lists = NearestLists(faiss.downcast_index(self._inverted.quantizer))
        self._lists = Lists(self._inverted, segments, read_dead(directory))
        self._sizes = self._lists.sizes()
        self._marked: Recent[tuple[NDArray[np.uint8], NDArray[np.int64]]] = Recent()

    @property
    def largest_effort(self) -> int:
        """The effort that scans everything."""
        return int(self._inverted.nlist)

    @property
    def scanned_if_far(self) -> int:
        """Some: of more, `propose` scans every list, and only the codes are coarse for what is alike."""
        return _SCANNED_IF_FAR

    def work(self, effort: int, fetch: int) -> float:
        """Return about how many bytes a query reads."""
        inverted = self._inverted
        scanned = effort * self._lists.total / inverted.nlist * inverted.pq.code_size
        walked = min(inverted.nlist, 2 * _NEIGHBOURS * max(_SHORTEST_WALK, 2 * effort))
        return float(4 * walked * inverted.d + scanned + 8 * fetch * self._whole.d)

    def scans(self, count: int, effort: int | None) -> bool:  # noqa: ARG002 - a Proposer
        """No: with a filter, too, it scans lists, as many as are needed."""
        return False

    def misses(self, queries: Vectors, within: Subset) -> bool:
        """Whether the lists around one of *queries* hold less of *within* than half of what chance would have it."""
        count = max(1, round(_NEAR * self.largest_effort))
        _, lists = self._nearest_lists.search(self._rotation.apply(queries), count)
        return bool(_is_far(lists, self._mark(within)[1], self._sizes).any())

    def propose(self, queries: Vectors, count: int, effort: int, within: Subset | None = None) -> NDArray[np.int64]:
        """Return (n, *count*) positions for *queries*, -1 where there are no more.

        With *within*, lists are scanned until as many vectors of *within* were met as *effort* lists hold on average;
        all of them where the lists around a query hold fewer than chance would have it.
        """
        reduced = self._rotation.apply(queries)
        if within is None:
            distances, lists = self._nearest_lists.search(reduced, effort)
            parameters = _scan_of(effort)
        else:
            bits, sizes = self._mark(within)
            distances, lists = self._nearest_lists.search(reduced, self.largest_effort)
            lists = _enough(lists, sizes, self._sizes, effort / self.largest_effort)
            distances = np.ascontiguousarray(distances[:, : lists.shape[1]])
            parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=faiss.IDSelectorBitmap(bits))
        self._lists.need(lists.ravel())
        return self._scan(reduced, count, lists, distances, parameters)

    def _scan(
        self,
        reduced: Vectors,
        count: int,
        lists: NDArray[np.int64],
        distances: NDArray[np.float32],
        parameters: faiss.SearchParametersIVF,
    ) -> NDArray[np.int64]:
        """Call what FAISS's own wrapper for Python offers without parameters only."""
        found = np.empty((len(reduced), count), np.int64)
        scores = np.empty((len(reduced), count), np.float32)
        arrays = (faiss.swig_ptr(each) for each in (lists, distances, scores, found))
        self._inverted.search_preassigned_c(
            len(reduced),
            faiss.swig_ptr(reduced),
            count,
            *arrays,
            False,  # noqa: FBT003 - as in C++
            parameters,
        )
        return found

    def _mark(self, within: Subset) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the bits of *within*, and how many vectors of it each list holds; kept for the next query."""
        return self._marked.of(
            within.mask(), lambda mask: (np.packbits(mask, bitorder="little"), self._lists.sizes(mask))
        )


class InvertedEngine:
    """Builds, changes and opens `ivf-pq`."""

    name = "ivf-pq"

    @classmethod
    def build(cls, source: VectorSource, directory: Path) -> None:
        """Build it as `recipe_for` says, for the recall that is usual."""
        cls.make(source, directory, Wish(), recipe_for(len(source.positions()), source.dim))

    @classmethod
    def make(cls, source: VectorSource, directory: Path, wish: Wish, recipe: Recipe) -> Figures:
        """Train on a sample of *source*, write the codes of all its vectors, tune and measure."""
        started = perf_counter()
        positions = source.positions()
        rotation, inverted = _train(source, positions, recipe, wish.seed)
        _encode(source, positions, rotation, inverted).save(directory, "0")
        graph = _with_graph(inverted)
        faiss.write_index(faiss.IndexPreTransform(rotation, inverted), str(directory / _TRAINED))
        del graph
        save_dead(directory, positions[:0])
        seconds = perf_counter() - started
        built = Built(cls.name, str(recipe), len(positions), recipe.bytes_per_vector, seconds)
        return finish(source, directory, InvertedIndex(directory), built=built, told=Told(wish))

    @classmethod
    def update(cls, source: VectorSource, old: Path, directory: Path, facts: Mapping[str, Any]) -> Figures | None:
        """Write into *directory* what the index in *old* becomes for *source*; None where it has to be built anew.

        Only vectors that are new are read, and a few to measure with.
        """
        built, wish = Built(**facts["built"]), Wish(**facts["wish"])
        alive = source.positions()
        if not len(alive) / _GROWTH <= built.trained_for <= len(alive) * _GROWTH:
            return None
        fresh, dead = _change(source, alive, old, directory)
        told = Told(wish, Tuning.from_dict(facts["tuning"]), Questions.load(old).after(source, fresh, dead))
        figures = finish(source, directory, InvertedIndex(directory), built=built, told=told)
        return figures if figures.reached or not facts["figures"]["reached"] else None

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
    names = _names(old)
    segments = [Segment.map(old, name) for name in names]
    known = positions_of(segments)
    fresh, gone = missing(alive, known), missing(known, alive)
    dead = gone
    shutil.copyfile(old / _TRAINED, directory / _TRAINED)
    whole = faiss.read_index(str(old / _TRAINED))
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
    graph = faiss.IndexHNSWFlat(inverted.d, _NEIGHBOURS)
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


def _enough(
    lists: NDArray[np.int64], sizes: NDArray[np.int64], all_sizes: NDArray[np.int64], share: float
) -> NDArray[np.int64]:
    """Return the first of *lists* (n, m), nearest first, that hold *share* of what a filter leaves; -1 for others.

    *sizes* says how many vectors each list holds that the filter leaves, *all_sizes* how many of all. Where the nearest
    lists hold less than half of what chance would have it, the answers are far away, and no list may be left out.
    """
    held = sizes[lists]
    before = np.cumsum(held, axis=1) - held
    near = max(1, round(_NEAR * lists.shape[1]))
    wanted = np.where(_is_far(lists[:, :near], sizes, all_sizes), np.inf, share * sizes.sum())
    needed = (before < wanted[:, None]) & (held > 0)
    width = max(1, int((needed * np.arange(1, lists.shape[1] + 1)).max(initial=1)))
    return np.ascontiguousarray(np.where(needed, lists, -1)[:, :width])


def _is_far(lists: NDArray[np.int64], sizes: NDArray[np.int64], all_sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for which rows of *lists* a filter leaves less than half of what chance would have it leave there."""
    expected = all_sizes[lists].sum(axis=1) * (sizes.sum() / max(1, all_sizes.sum()))
    far: NDArray[np.bool_] = sizes[lists].sum(axis=1) < expected / 2
    return far


def _names(directory: Path) -> list[str]:
    return sorted((path.name.split(".")[0] for path in directory.glob("*.offsets.npy")), key=int)

"""Searching one index of FAISS, of whatever kind; `hnsw` writes its files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs._native import MOST_LINKS, MOST_NUMBERS, HeldGraph, NativeKernels, Shards, Visits
from vision_recs.errors import StoreDamaged
from vision_recs.file_formats import mmap_array
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.base import Scored, is_marked
from vision_recs.indexes.faiss_files import read_faiss, threads, view_codes
from vision_recs.indexes.hnsw_mmap import GRAPH, GraphArrays, load_graph
from vision_recs.indexes.inverted_lists import read_deleted
from vision_recs.indexes.rescoring import SCAN, SPARSE, TOO_FAR, Compared, FilterCache
from vision_recs.types import PositionSubset, Vectors

INDEX = "index.faiss"
POSITIONS = "positions.npy"
DELTA = "delta"
"""With which the names of the files begin of what was added to a graph."""

DELTA_POSITIONS = f"{DELTA}.{POSITIONS}"

_LARGEST_EF = 4_096
_SEQUENTIAL_SPEED = 4  # times as many bytes are read in a row as here and there, in the same time
_SPEED_BESIDE_WALK = 2  # the same, where C walks, in half the time of FAISS
_NEIGHBORHOOD = 128  # vectors around a query at most, of which the share that a filter leaves is looked at
_EXPECTED_IN_IT = 12  # vectors that the filter leaves of them on average, or of the largest neighborhood two thirds
_VISITED = 3  # vectors around a query are found for each one that is visited, nearly as well as by visiting them all
_KNOWN = 256  # shares that filters leave, and efforts, for which it is kept how far a walk goes
_FEWEST = 8  # candidates that a delta is asked for
_LARGEST = 127  # the largest whole number of a byte with a sign


_Marks: TypeAlias = NDArray[np.uint8] | bytes
"""A bit for each vector of a graph that may be found; none where all may."""


class FaissCandidates:
    """A `CandidateSource` of one index of FAISS. The search effort is efSearch or nprobe, where it has one of them.

    A graph may have a second one beside it, the delta, which holds what was added since: both are searched, and as they
    have the same codes, their distances say together which candidates are the nearest. The delta is first searched for
    half as many and with little effort, and anew where each of these is one of the nearest.
    """

    def __init__(self, directory: Path) -> None:
        """Map the files in *directory*; raises StoreDamaged."""
        self._whole = read_faiss(directory / INDEX, mapped=True)
        self._rotation, self._index = split_rotation(self._whole)
        self._codes = _Codes(faiss.downcast_index(self._index.storage)) if has_graph(self._index) else None
        indexes = [self._index]
        graphs: list[GraphArrays] = []
        if self._codes is not None:
            indexes += [faiss.clone_index(self._index)] * has_delta(directory)
            graphs = [load_graph(index, directory, name) for index, name in zip(indexes, (GRAPH, DELTA), strict=False)]
        positions, deleted = read_positions(directory), read_deleted(directory)
        if [len(own) for own in positions] != [index.ntotal for index in indexes]:
            raise StoreDamaged(f"the files of {directory} do not fit together; rebuild it with `visrec index`")
        self._count = sum(map(len, positions))
        if len(deleted) and not 0 <= deleted.min() <= deleted.max() < self._count:
            raise StoreDamaged(f"{directory} marks vectors as deleted that it lacks; rebuild it with `visrec index`")
        self.size = self._count - len(deleted)
        """How many vectors it has that are not deleted."""
        self._parts = []
        self._is_walked = self._can_be_walked()
        for index, own, graph in zip_longest(indexes, positions, graphs if self._is_walked else ()):
            is_own = deleted < len(own)
            self._parts.append(_Part(index, own, deleted[is_own], self._codes, self._held(graph, own)))
            deleted = deleted[~is_own] - len(own)
        self._largest_effort, _ = _search_parameters(self._index)
        self._bytes_per_step = _bytes_per_step(self._index)
        self._last_rotated: tuple[bytes, Vectors] | None = None

    @property
    def largest_effort(self) -> int:
        """The search effort with which it does all that it can."""
        return self._largest_effort

    @property
    def most_scanned_if_far(self) -> int:
        """All vectors: a graph is walked from the query outwards, and gives up before it is there."""
        return self._count

    def cost(self, search_effort: int, num_candidates: int) -> float:
        """Return about how many bytes a query reads."""
        return float(search_effort * self._bytes_per_step + 8 * num_candidates * self._whole.d)

    def prefers_scan(self, count: int, search_effort: int | None) -> bool:
        """Return whether the codes of *count* vectors are scanned sooner than a graph is walked."""
        if self._codes is None:
            return False
        if search_effort is None:
            return True
        speed = _SPEED_BESIDE_WALK if self._is_walked else _SEQUENTIAL_SPEED
        return bool(count * self._codes.size <= speed * search_effort * self._bytes_per_step)

    def density(self, queries: Vectors, within: PositionSubset) -> float:
        """Return how many times its share *within* has in the neighborhood of the query: see `CandidateSource`."""
        mask, count = within.mask(), within.count()
        if count >= self.size:
            return 1.0
        size, expected = _neighborhood(count / self.size)
        if not size:
            return 0.0
        near = self.candidates(queries, size, ceil(size / _VISITED))  # a share of what is around needs no more
        return min(np.count_nonzero(is_marked(mask, own[own >= 0])) for own in near) / expected

    def candidates(
        self, queries: Vectors, count: int, search_effort: int, within: PositionSubset | None = None
    ) -> NDArray[np.int64]:
        """Return the positions (n, *count*) of candidates for unit *queries* (n, dim), -1 where there are no more."""
        if count >= self.size:  # a graph does not reach every one of many equal vectors
            return np.tile(self._every(within), (len(queries), 1))
        queries = _contiguous(queries) if self._is_walked else self._rotated(queries)
        base, *deltas = (part.search for part in self._parts)
        found = base(queries, count, search_effort, within)
        if not deltas:
            return found.positions
        if within is None:  # few of the nearest are in the delta, as a rule
            few = max(_FEWEST, count // 2)
            some = deltas[0](queries, few, few, None)
            if (some.distances[:, -1] >= found.distances[:, -1]).all():  # not each of them is one of the nearest
                return _nearest_of(found, some)
        return _nearest_of(found, deltas[0](queries, count, search_effort, within))

    def nearest(  # noqa: PLR0913, PLR0917 - what is searched, for what, and how
        self,
        shards: Shards,
        queries: Vectors,
        k: int,
        count: int,
        search_effort: int | Visits,
        within: PositionSubset | None = None,
    ) -> Compared | None:
        """Return the *k* best of the *count* `candidates` for each of *queries*, and all that equal the k-th.

        They are compared with the vectors in *shards*. Returns None where these have to be read first, and where
        candidates come from elsewhere than a walk or a scan in C of one graph.
        """
        if len(self._parts) > 1 or count >= self.size:
            return None
        return self._parts[0].nearest(shards, _contiguous(queries), k, count, search_effort, within)

    def nearest_if_dense(  # noqa: PLR0913, PLR0917 - as above
        self, shards: Shards, query: Vectors, k: int, count: int, needed: float, within: PositionSubset
    ) -> Compared | None:
        """Return what `nearest` does for one *query* (1, dim), with an effort of *needed* / min(`density`, 1).

        The density is found by the same walk. Returns TOO_FAR where it is below `SPARSE`.
        """
        visits = _visits(within.count() / self._count, needed, self._largest_effort)
        return None if visits is None else self.nearest(shards, query, k, count, visits, within)

    def _held(self, graph: GraphArrays | None, positions: NDArray[np.int64]) -> HeldGraph | None:
        """Return *graph* as the functions in C take it."""
        if graph is None or self._rotation is None or _native.kernels is None:
            return None
        return _native.kernels.hold_graph(*graph, positions, self._rotation.matrix, self._rotation.offset)

    def _can_be_walked(self) -> bool:
        """Return whether the functions in C are there, and can walk the graph, if it is one."""
        if _native.kernels is None or self._rotation is None or not self._rotation.is_rounded:
            return False
        is_graph = isinstance(self._index, faiss.IndexHNSW)
        return is_graph and self._index.hnsw.nb_neighbors(0) <= MOST_LINKS and self._index.d <= MOST_NUMBERS

    def _rotated(self, queries: Vectors) -> Vectors:
        """Return *queries* in the space of the index; the same ones may come again, to be searched for otherwise."""
        if self._rotation is None:
            return queries
        last, named = self._last_rotated, queries.tobytes()  # the same array may hold others now
        if last is None or last[0] != named:
            last = self._last_rotated = named, self._rotation.apply(queries)
        return last[1]

    def _every(self, within: PositionSubset | None) -> NDArray[np.int64]:
        """Return all positions that may be candidates, ascending."""
        if within is not None:
            return within.positions()
        return np.sort(np.concatenate([part.alive() for part in self._parts]))


def _neighborhood(share: float) -> tuple[int, float]:
    """Return how many vectors around a query are looked at to see what a filter that leaves *share* of all has there.

    With it comes how many of these a random filter leaves. Where *share* is too small to tell, both are 0.
    """
    size = min(ceil(_EXPECTED_IN_IT / share), _NEIGHBORHOOD)
    return (size, share * size) if share * size >= 2 / 3 * _EXPECTED_IN_IT else (0, 0.0)


@lru_cache(_KNOWN)
def _visits(share: float, needed: float, largest: int) -> Visits | None:
    """Return how far a walk goes under a filter that leaves *share* of all: see `FaissCandidates.nearest_if_dense`."""
    size, expected = _neighborhood(share)
    if not size:
        return None
    return Visits(needed, min(ceil(needed / SPARSE), largest), ceil(size / _VISITED), size, expected, SPARSE)


class _Found(NamedTuple):
    """Distances (n, count), ascending, and positions (n, count), -1 where there are no more."""

    distances: NDArray[np.float32]
    positions: NDArray[np.int64]


def _nearest_of(found: _Found, others: _Found) -> NDArray[np.int64]:
    """Return the positions (n, count) of the nearest of *found* (n, count) and of *others*, the nearest first."""
    distances = np.concatenate([found.distances, others.distances], axis=1)
    positions = np.concatenate([found.positions, others.positions], axis=1)
    count = found.positions.shape[1]
    nearest = distances.argsort(axis=1)[:, :count]
    return positions[np.arange(len(positions))[:, None], nearest]


class _Part:
    """An index of FAISS, and where its vectors are in the store."""

    def __init__(
        self,
        index: faiss.Index,
        positions: NDArray[np.int64],
        deleted: NDArray[np.int64],
        codes: _Codes | None,
        graph: HeldGraph | None,
    ) -> None:
        """Search *index*, whose ordinals have *positions* (n,), except for the ordinals *deleted*.

        *codes* are those of *index*, if it is a graph. *graph* is the same, if the functions in C are there to walk and
        scan it: that takes half the time that FAISS does, and rotates the queries.
        """
        self._index = index
        self._positions = positions
        self._deleted = deleted
        self._codes = codes
        self._graph = graph
        self._parameters = cache(_search_parameters(index)[1])
        self._alive_bits: NDArray[np.uint8] | None = None
        self._filter_bits: FilterCache[NDArray[np.uint8]] = FilterCache()
        self._filtered_codes: FilterCache[tuple[faiss.Index, NDArray[np.int64]]] = FilterCache()
        self._held_codes: FilterCache[HeldGraph] = FilterCache()
        self._scanned_bits: FilterCache[NDArray[np.uint8]] = FilterCache()

    def alive(self) -> NDArray[np.int64]:
        """Return the positions of all vectors that are not deleted."""
        return np.delete(self._positions, self._deleted)

    def search(self, queries: Vectors, count: int, search_effort: int, within: PositionSubset | None) -> _Found:
        """Return *count* candidates for each of *queries*, which are in the space of the index unless C walks."""
        if self._graph is not None:
            return _walk(*self._searched(self._graph, search_effort, within), queries, count, search_effort)
        if within is not None and search_effort == SCAN:
            index, positions = self._filtered_codes.get(within.mask(), self._codes_of)
            return _search(index, queries, count, positions)
        bits = self._bits(within)
        if bits is None:
            parameters = self._parameters(search_effort)
        else:  # not cached: they refer to the bits
            parameters = _search_parameters(self._index)[1](search_effort, faiss.IDSelectorBitmap(bits))
        return _search(self._index, queries, count, self._positions, parameters)

    def nearest(  # noqa: PLR0913, PLR0917 - see FaissCandidates.nearest
        self,
        shards: Shards,
        queries: Vectors,
        k: int,
        count: int,
        search_effort: int | Visits,
        within: PositionSubset | None,
    ) -> Compared | None:
        """Return what `FaissCandidates.nearest` does for the only part."""
        if self._graph is None:
            return None
        graph, marks = self._searched(self._graph, search_effort, within)
        positions = np.empty((len(queries), count), np.int64)
        scores = np.empty((len(queries), count), np.float32)
        sizes = np.empty((len(queries), 2), np.int64)
        is_done = cast("NativeKernels", _native.kernels).search_graph(
            graph, queries, marks, *shards, positions, scores, sizes, k, search_effort
        )
        if not is_done:
            return TOO_FAR if is_done is None else None
        if len(queries) == 1:
            size, depth = sizes[0].tolist()
            return Compared([Scored(positions[0, :size], scores[0, :size])], depth)
        found = zip(positions, scores, sizes[:, 0].tolist(), strict=True)
        return Compared([Scored(own[:size], its[:size]) for own, its, size in found], int(sizes[:, 1].max()))

    def _searched(
        self, graph: HeldGraph, search_effort: int | Visits, within: PositionSubset | None
    ) -> tuple[HeldGraph, _Marks]:
        """Return the *graph* that is searched with *search_effort*, and which of its vectors are found *within*."""
        if within is not None and search_effort == SCAN:
            mask = within.mask()
            if mask in self._scanned_bits:  # it comes again: to copy its codes takes longer than to scan them once
                return self._held_codes.get(mask, self._hold_codes), b""
            return graph, self._scanned_bits.get(mask, self._bits_of)
        bits = self._bits(within)
        return graph, b"" if bits is None else bits

    def _hold_codes(self, mask: NDArray[np.bool_]) -> HeldGraph:
        """Return the codes at the positions that *mask* marks, as the functions in C take them."""
        kernels, graph = cast("NativeKernels", _native.kernels), cast("HeldGraph", self._graph)
        ordinals = np.flatnonzero(is_marked(mask, self._positions))
        codes = cast("_Codes", self._codes).at(self._index, ordinals)
        return kernels.hold_codes(graph, codes, self._positions[ordinals])

    def _codes_of(self, mask: NDArray[np.bool_]) -> tuple[faiss.Index, NDArray[np.int64]]:
        """Return an index of the codes at the positions that *mask* marks, and these positions."""
        ordinals = np.flatnonzero(is_marked(mask, self._positions))
        return cast("_Codes", self._codes).of(self._index, ordinals), self._positions[ordinals]

    def _bits_of(self, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return a bit for each ordinal, whether *mask* marks its position."""
        return np.packbits(is_marked(mask, self._positions), bitorder="little")

    def _bits(self, within: PositionSubset | None) -> NDArray[np.uint8] | None:
        """Return a bit for each ordinal that may be a candidate, or None for all of them."""
        if within is not None:
            return self._filter_bits.get(within.mask(), self._bits_of)
        if self._alive_bits is None and len(self._deleted):
            bits = np.full(-(-len(self._positions) // 8), 255, np.uint8)
            np.bitwise_and.at(bits, self._deleted >> 3, ~(1 << (self._deleted & 7)).astype(np.uint8))
            self._alive_bits = bits
        return self._alive_bits


class _Codes:
    """The codes of the vectors in a graph, to be compared with one after the other; *size* bytes each."""

    def __init__(self, storage: faiss.IndexFlatCodes) -> None:
        """Take from the empty *storage* how codes are made."""
        self.size = storage.sa_code_size()
        self._empty = faiss.clone_index(storage)

    def at(self, graph: faiss.IndexHNSW, ordinals: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the codes (n, size) at *ordinals* in *graph*."""
        codes = faiss.rev_swig_ptr(faiss.downcast_index(graph.storage).codes.data(), graph.ntotal * self.size)
        return np.ascontiguousarray(codes.reshape(-1, self.size)[ordinals])

    def of(self, graph: faiss.IndexHNSW, ordinals: NDArray[np.int64]) -> faiss.Index:
        """Return an index of the codes at *ordinals* in *graph* alone."""
        whole = faiss.clone_index(self._empty)
        chosen = faiss.downcast_index(whole)
        view_codes(chosen, self.at(graph, ordinals).ravel())
        chosen.referenced_objects = [whole, *chosen.referenced_objects]  # which owns it
        return chosen


class Rotation(NamedTuple):
    """The linear transform in front of an index: vectors (n, dim) become `vectors @ matrix.T + offset`.

    *transform* is the transform of FAISS, which has to stay alive. For a single query, FAISS wakes all threads, and so
    does a product of matrices of NumPy; for many, NumPy's BLAS has threads of its own, which keep cores from FAISS.
    Where the index stores whole numbers of one byte, *is_rounded* says that the result is rounded to such numbers.
    """

    transform: faiss.LinearTransform
    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    is_rounded: bool = False

    @classmethod
    def of(cls, transform: faiss.LinearTransform, *, is_rounded: bool = False) -> Rotation:
        """Return the rotation that *transform* was trained to."""
        matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
        offset = faiss.vector_to_array(transform.b) if transform.have_bias else np.zeros(transform.d_out, np.float32)
        return cls(transform, matrix, offset, is_rounded)

    def apply(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim) in the space of the index (n, d_out)."""
        if len(vectors) == 1:
            rotated: Vectors = (np.vecdot(self.matrix, vectors[0]) + self.offset)[None]
        else:
            rotated = self.transform.apply(vectors)
        if self.is_rounded:
            np.rint(rotated, out=rotated)
            np.clip(rotated, -_LARGEST, _LARGEST, out=rotated)
        return rotated


def stretch(transform: faiss.LinearTransform, vectors: Vectors) -> None:
    """Scale *transform* so that the numbers that it gives for *vectors* fill the range of a byte with a sign."""
    largest = np.abs(Rotation.of(transform).apply(vectors)).max(initial=0.0)
    scale = _LARGEST / largest if largest > 0 else 1.0
    for numbers in (transform.A, transform.b):
        faiss.copy_array_to_vector(faiss.vector_to_array(numbers) * np.float32(scale), numbers)


def has_delta(directory: Path) -> bool:
    """Return whether the index in *directory* has vectors that were added since its graph was made."""
    return (directory / DELTA_POSITIONS).exists()


def read_positions(directory: Path) -> list[NDArray[np.int64]]:
    """Return the positions in the store of the ordinals of the index in *directory*, and those of its delta, if any."""
    names = [POSITIONS, DELTA_POSITIONS] if has_delta(directory) else [POSITIONS]
    return [mmap_array(directory / name, np.int64) for name in names]


def inner_index(index: faiss.Index) -> faiss.Index:
    """Return the index behind the transforms of *index*, or *index* itself."""
    return faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index)


def split_rotation(index: faiss.Index) -> tuple[Rotation | None, faiss.Index]:
    """Return the transform of *index*, if it has exactly one and that is linear, and the index behind it."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform) and index.chain.size() == 1:
        transform = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(transform, faiss.LinearTransform):
            return Rotation.of(transform, is_rounded=_stores_whole_numbers(index)), inner_index(index)
    return None, index


def has_graph(index: faiss.Index) -> bool:
    """Return whether *index* is a graph that `hnsw_mmap` can save: any bytes are codes of numbers, not of places."""
    if not isinstance(index, faiss.IndexHNSW):
        return False
    storage = faiss.downcast_index(index.storage)
    return isinstance(storage, faiss.IndexScalarQuantizer | faiss.IndexPQ | faiss.IndexFlat)


def _stores_whole_numbers(index: faiss.Index) -> bool:
    """Return whether *index* stores each number as a whole number in one byte, which FAISS compares as it is."""
    inner = inner_index(index)
    storage = faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner
    direct = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return isinstance(storage, faiss.IndexScalarQuantizer) and bool(storage.sq.qtype == direct)


def _search(
    index: faiss.Index,
    queries: Vectors,
    count: int,
    positions: NDArray[np.int64],
    parameters: faiss.SearchParameters | None = None,
) -> _Found:
    """Return what *index* finds, whose vectors have *positions*."""
    ordinals = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    arrays = (faiss.swig_ptr(each) for each in (distances, ordinals))
    with threads(len(queries)):
        index.search_c(len(queries), faiss.swig_ptr(queries), count, *arrays, parameters)
    return _Found(distances, _positions_of(ordinals, positions))


def _contiguous(queries: Vectors) -> Vectors:
    """Return *queries* as the functions in C take them."""
    return np.ascontiguousarray(queries, np.float32)


def _walk(graph: HeldGraph, marks: _Marks, queries: Vectors, count: int, search_effort: int) -> _Found:
    """Return what a walk over *graph* finds, or a scan of it, among the vectors that *marks* mark."""
    positions = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    cast("NativeKernels", _native.kernels).walk_graph(graph, queries, marks, distances, positions, count, search_effort)
    return _Found(distances, positions)


def _positions_of(ordinals: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of *ordinals*, -1 where one of them is -1."""
    if ordinals.min(initial=0) >= 0:
        return positions[ordinals]
    return np.where(ordinals >= 0, positions[ordinals], -1) if len(positions) else ordinals


_Parameters = Callable[..., faiss.SearchParameters]
"""(search effort, selector = None) -> the search parameters of FAISS."""


def _search_parameters(index: faiss.Index) -> tuple[int, _Parameters]:
    """Return the largest search effort of *index*, and what makes its search parameters."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        largest, inner = _search_parameters(index.index)
        return largest, lambda effort, sel=None: faiss.SearchParametersPreTransform(index_params=inner(effort, sel))
    if isinstance(index, faiss.IndexRefine):
        largest, inner = _search_parameters(index.base_index)
        return largest, lambda effort, sel=None: faiss.IndexRefineSearchParameters(
            k_factor=4.0, base_index_params=inner(effort, sel), sel=sel
        )
    if isinstance(index, faiss.IndexIVF | faiss.IndexIVFFastScan):
        return index.nlist, lambda effort, sel=None: faiss.SearchParametersIVF(nprobe=effort, sel=sel)
    if isinstance(index, faiss.IndexHNSW):
        return _LARGEST_EF, lambda effort, sel=None: faiss.SearchParametersHNSW(efSearch=effort, sel=sel)
    return 1, lambda _, sel=None: faiss.SearchParameters(sel=sel)


def _bytes_per_step(index: faiss.Index) -> float:
    """Return about how many bytes more are read for a search effort that is greater by 1."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _bytes_per_step(index.index)
    if isinstance(index, faiss.IndexRefine):
        return _bytes_per_step(index.base_index)
    if isinstance(index, faiss.IndexHNSW):
        return float(index.hnsw.nb_neighbors(0) * faiss.downcast_index(index.storage).sa_code_size())
    code = index.sa_code_size()
    return float(code * index.ntotal / getattr(index, "nlist", 1))

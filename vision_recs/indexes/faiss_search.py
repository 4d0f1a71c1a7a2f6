"""Searching one index of FAISS, of whatever kind; GraphEngine writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.filter_cache import Recent
from vision_recs.indexes.hnsw_mmap import load_graph, look_at
from vision_recs.indexes.inverted_lists import read_dead
from vision_recs.indexes.rescoring import SCAN
from vision_recs.indexes.rotation import Rotation
from vision_recs.npy import mmap_array
from vision_recs.types import Subset, Vectors

INDEX = "index.faiss"
POSITIONS = "positions.npy"
_FILTERED_FETCH = 8
_LARGEST_EF = 4_096
_IN_A_ROW = 4  # times as many bytes are read in a row as here and there, in the same time
_NEIGHBORHOOD = 128  # vectors around a query, of which the share that a filter leaves is looked at
_TELLING = 8  # of them that the filter must leave on average, for the share to say something


class FaissFile:
    """Proposes candidates out of one index of FAISS; effort is efSearch or nprobe, where it has one of them."""

    def __init__(self, directory: Path) -> None:
        """Map the files of *directory*; raises StoreDamaged."""
        path = directory / INDEX
        try:
            self._whole = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise StoreDamaged(f"{path} cannot be read ({error}); rebuild it with `visrec index`") from error
        self._rotation, self._index = peeled(self._whole)
        self._codes = None
        if has_graph(self._index):
            self._codes = Codes(faiss.downcast_index(self._index.storage))
            load_graph(self._index, directory)
        self._positions: NDArray[np.int64] = mmap_array(directory / POSITIONS, np.int64)
        if len(self._positions) != self._index.ntotal:
            raise StoreDamaged(f"the files of {directory} do not fit together; rebuild it with `visrec index`")
        self._dead = read_dead(directory)
        self._largest_effort, self._parameters = _searched(self._index)
        self._parameters = cache(self._parameters)
        self._alive: NDArray[np.uint8] | None = None
        self._marked: Recent[NDArray[np.uint8]] = Recent()
        self._chosen: Recent[tuple[faiss.Index, NDArray[np.int64]]] = Recent()

    @property
    def largest_effort(self) -> int:
        """The effort with which it does all that it can."""
        return self._largest_effort

    @property
    def filtered_fetch(self) -> int:
        """Several: a byte is close to the number, but there are fewer numbers."""
        return _FILTERED_FETCH

    @property
    def scanned_if_far(self) -> int:
        """All of them: a graph is walked from the query outwards, and gives up before it is there."""
        return len(self._positions)

    def work(self, effort: int, fetch: int) -> float:
        """Return about how many bytes a query reads."""
        steps = max(effort, fetch) if isinstance(self._index, faiss.IndexHNSW) else effort
        return float(steps * _bytes_per_step(self._index) + 8 * fetch * self._whole.d)

    def scans(self, count: int, effort: int | None) -> bool:
        """Whether the codes of *count* vectors are scanned sooner than a graph is walked with *effort*."""
        if self._codes is None:
            return False
        walked = float("inf") if effort is None else _IN_A_ROW * effort * _bytes_per_step(self._index)
        return bool(count * self._codes.size <= walked)

    def misses(self, queries: Vectors, within: Subset) -> bool:
        """Whether fewer of the nearest vectors of a query are *within* than half of what chance would have it."""
        mask, count = within.mask(), within.count()
        if count >= len(self._positions) - len(self._dead):
            return False
        share = count / len(self._positions)
        if share * _NEIGHBORHOOD < _TELLING:
            return True
        near = self.propose(queries, _NEIGHBORHOOD, _NEIGHBORHOOD)
        return bool(((mask[near] & (near >= 0)).mean(axis=1) < share / 2).any())

    def propose(self, queries: Vectors, count: int, effort: int, within: Subset | None = None) -> NDArray[np.int64]:
        """Return (n, *count*) positions for *queries*, -1 where there are no more."""
        if count >= len(self._positions):  # a graph does not reach every one of many equal vectors
            return np.tile(self._every(within), (len(queries), 1))
        if self._rotation is not None:
            queries = self._rotation.apply(queries)
        if within is not None and effort == SCAN:
            index, positions = self._chosen.of(within.mask(), self._chosen_by)
            with _threads(len(queries)):
                return _found(index, queries, count, positions)
        bits = self._bits(within)
        if bits is None:
            parameters = self._parameters(effort)
        else:  # not kept: it refers to the bits
            parameters = _searched(self._index)[1](effort, faiss.IDSelectorBitmap(bits))
        return _found(self._index, queries, count, self._positions, parameters)

    def _chosen_by(self, mask: NDArray[np.bool_]) -> tuple[faiss.Index, NDArray[np.int64]]:
        """Return an index of the codes that *mask* marks by position, and their positions."""
        ordinals = np.flatnonzero(mask[self._positions])
        return cast("Codes", self._codes).of(self._index, ordinals), self._positions[ordinals]

    def _every(self, within: Subset | None) -> NDArray[np.int64]:
        """Return all positions that may be proposed, ascending."""
        return within.positions() if within is not None else np.sort(np.delete(self._positions, self._dead))

    def _bits(self, within: Subset | None) -> NDArray[np.uint8] | None:
        """Return a bit for each ordinal that may be proposed, or None for all of them."""
        if within is not None:
            return self._marked.of(within.mask(), lambda mask: np.packbits(mask[self._positions], bitorder="little"))
        if self._alive is None and len(self._dead):
            bits = np.full(-(-len(self._positions) // 8), 255, np.uint8)
            np.bitwise_and.at(bits, self._dead >> 3, ~(1 << (self._dead & 7)).astype(np.uint8))
            self._alive = bits
        return self._alive


class Codes:
    """The codes of the vectors in a graph, to be compared with one after the other; *size* bytes each."""

    def __init__(self, storage: faiss.IndexFlatCodes) -> None:
        """Take from the empty *storage* how codes are made."""
        self.size = storage.sa_code_size()
        self._empty = faiss.clone_index(storage)

    def of(self, graph: faiss.IndexHNSW, ordinals: NDArray[np.int64]) -> faiss.Index:
        """Return an index of the codes at *ordinals* in *graph* alone."""
        whole = faiss.clone_index(self._empty)
        chosen = faiss.downcast_index(whole)
        every = faiss.rev_swig_ptr(faiss.downcast_index(graph.storage).codes.data(), graph.ntotal * self.size)
        look_at(chosen, np.ascontiguousarray(every.reshape(-1, self.size)[ordinals]).ravel())
        chosen.referenced_objects = [whole, *chosen.referenced_objects]  # which owns it
        return chosen


Parameters = Callable[..., faiss.SearchParameters]
"""(effort, selector = None) -> what tells FAISS both."""


def behind(index: faiss.Index) -> faiss.Index:
    """Return the index behind what is done to the vectors first."""
    return faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index)


def peeled(index: faiss.Index) -> tuple[Rotation | None, faiss.Index]:
    """Return what *index* does first, if that is one linear map, and the index behind it."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform) and index.chain.size() == 1:
        transform = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(transform, faiss.LinearTransform):
            return Rotation.of(transform, whole=keeps_whole_numbers(index)), behind(index)
    return None, index


def keeps_whole_numbers(index: faiss.Index) -> bool:
    """Return whether *index* keeps numbers as they are in a byte each, which FAISS compares without a fraction."""
    inner = behind(index)
    kept = faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner
    whole = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return isinstance(kept, faiss.IndexScalarQuantizer) and bool(kept.sq.qtype == whole)


def has_graph(index: faiss.Index) -> bool:
    """Return whether *index* is a graph whose vectors are codes, which `mapped_graph` can keep."""
    return isinstance(index, faiss.IndexHNSW) and isinstance(faiss.downcast_index(index.storage), faiss.IndexFlatCodes)


def _found(
    index: faiss.Index,
    queries: Vectors,
    count: int,
    positions: NDArray[np.int64],
    parameters: faiss.SearchParameters | None = None,
) -> NDArray[np.int64]:
    """Return (n, *count*) of *positions*, which are those of the vectors in *index*; -1 where there are no more."""
    ordinals = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    arrays = (faiss.swig_ptr(each) for each in (distances, ordinals))
    index.search_c(len(queries), faiss.swig_ptr(queries), count, *arrays, parameters)
    if ordinals.min(initial=0) >= 0:
        return positions[ordinals]
    return np.where(ordinals >= 0, positions[ordinals], -1)


@contextmanager
def _threads(queries: int) -> Iterator[None]:
    """Have FAISS wake no more threads than there are *queries*: one that has to be waited for takes milliseconds."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, min(threads, queries)))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _searched(index: faiss.Index) -> tuple[int, Parameters]:
    """Return the largest effort with which *index* can be searched, and what tells it an effort and a selection."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        largest, inner = _searched(index.index)
        return largest, lambda effort, sel=None: faiss.SearchParametersPreTransform(index_params=inner(effort, sel))
    if isinstance(index, faiss.IndexRefine):
        largest, inner = _searched(index.base_index)
        return largest, lambda effort, sel=None: faiss.IndexRefineSearchParameters(
            k_factor=4.0, base_index_params=inner(effort, sel), sel=sel
        )
    if isinstance(index, faiss.IndexIVF | faiss.IndexIVFFastScan):
        return index.nlist, lambda effort, sel=None: faiss.SearchParametersIVF(nprobe=effort, sel=sel)
    if isinstance(index, faiss.IndexHNSW):
        return _LARGEST_EF, lambda effort, sel=None: faiss.SearchParametersHNSW(efSearch=effort, sel=sel)
    return 1, lambda _, sel=None: faiss.SearchParameters(sel=sel)


def _bytes_per_step(index: faiss.Index) -> float:
    """Return about how many bytes an effort of 1 more reads."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _bytes_per_step(index.index)
    if isinstance(index, faiss.IndexRefine):
        return _bytes_per_step(index.base_index)
    if isinstance(index, faiss.IndexHNSW):
        return float(index.hnsw.nb_neighbors(0) * faiss.downcast_index(index.storage).sa_code_size())
    code = index.sa_code_size()
    return float(code * index.ntotal / getattr(index, "nlist", 1))

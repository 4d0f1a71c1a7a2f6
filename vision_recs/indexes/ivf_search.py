"""Searching inverted lists of product-quantized codes; `ivf_pq` writes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.faiss_files import read_faiss, threads
from vision_recs.indexes.faiss_search import Rotation
from vision_recs.indexes.inverted_lists import InvertedLists, Segment, read_deleted
from vision_recs.indexes.rescoring import SPARSE, FilterCache
from vision_recs.types import PositionSubset, Vectors

TRAINED = "trained.faiss"
NEIGHBORS = 16
"""Neighbors of a centroid in the graph of centroids."""

_NEAR = 0.02  # share of the lists: those around a query, which say whether a filter leaves what is like it
_MOST_SCANNED_IF_FAR = 50_000
_WALKED = 1 / 16  # share of the lists: to find more of them, comparing with all is quicker than walking the graph
_SHORTEST_WALK = 16  # lists that are looked at


class NearestLists:
    """Finds the lists nearest to a query, in a graph of their centroids or by comparing with all of them."""

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
            with threads(len(reduced)):
                self._all.search_c(len(reduced), faiss.swig_ptr(reduced), count, *pointers)
        else:
            self._graph.search_c(len(reduced), faiss.swig_ptr(reduced), count, *pointers, _walk_parameters(count))
        return distances, lists


@cache
def _walk_parameters(count: int) -> faiss.SearchParametersHNSW:
    return faiss.SearchParametersHNSW(efSearch=max(_SHORTEST_WALK, 2 * count))


@cache
def _scan_parameters(lists: int) -> faiss.SearchParametersIVF:
    return faiss.SearchParametersIVF(nprobe=lists)


class IvfCandidates:
    """A `CandidateSource` of inverted lists. The search effort is how many lists are scanned."""

    def __init__(self, directory: Path) -> None:
        """Map the files in *directory*; raises StoreDamaged."""
        try:
            self._whole = read_faiss(directory / TRAINED, mapped=False)
            self._rotation = Rotation.of(faiss.downcast_VectorTransform(self._whole.chain.at(0)))
            self._inverted = faiss.downcast_index(self._whole.index)
            segments = [Segment.map(directory, name) for name in segment_names(directory)]
        except (RuntimeError, AttributeError) as error:
            raise StoreDamaged(
                f"{directory / TRAINED} cannot be read ({error}); rebuild it with `visrec index`"
            ) from error
        if any(not self._fits(segment) for segment in segments):
            raise StoreDamaged(f"the files of {directory} do not fit together; rebuild it with `visrec index`")
        self._nearest_lists = NearestLists(faiss.downcast_index(self._inverted.quantizer))
        self.lists = InvertedLists(self._inverted, segments, read_deleted(directory))
        self._sizes = self.lists.sizes()
        self._filters: FilterCache[tuple[NDArray[np.uint8], NDArray[np.int64]]] = FilterCache()

    def _fits(self, segment: Segment) -> bool:
        """Return whether *segment* has the lists and the codes that the index was trained for."""
        inverted = self._inverted
        return (len(segment.offsets), segment.codes.shape[1]) == (inverted.nlist + 1, inverted.pq.code_size)

    @property
    def size(self) -> int:
        """How many vectors it has that are not deleted."""
        return self.lists.total

    @property
    def largest_effort(self) -> int:
        """The search effort that scans all lists."""
        return int(self._inverted.nlist)

    @property
    def most_scanned_if_far(self) -> int:
        """Up to how many vectors are scored exactly; of more, `candidates` scans the codes in every list."""
        return _MOST_SCANNED_IF_FAR

    def cost(self, search_effort: int, num_candidates: int) -> float:
        """Return about how many bytes a query reads."""
        inverted = self._inverted
        scanned = search_effort * self.lists.total / inverted.nlist * inverted.pq.code_size
        walked = min(inverted.nlist, 2 * NEIGHBORS * max(_SHORTEST_WALK, 2 * search_effort))
        return float(4 * walked * inverted.d + scanned + 8 * num_candidates * self._whole.d)

    def prefers_scan(self, count: int, search_effort: int | None) -> bool:  # noqa: ARG002 - a CandidateSource
        """Return False: with a filter, too, lists are scanned, as many as are needed."""
        return False

    def density(self, queries: Vectors, within: PositionSubset) -> float:
        """Return how many times its share *within* has in the lists around the query: see `CandidateSource`."""
        count = max(1, round(_NEAR * self.largest_effort))
        _, lists = self._nearest_lists.search(self._rotation.apply(queries), count)
        return float(_densities(lists, self._filter(within)[1], self._sizes).min())

    def candidates(
        self, queries: Vectors, count: int, search_effort: int, within: PositionSubset | None = None
    ) -> NDArray[np.int64]:
        """Return the positions (n, *count*) of candidates for unit *queries* (n, dim), -1 where there are no more.

        With *within*, lists are scanned until they hold as many vectors of *within* as *search_effort* lists do on
        average; and all lists where those around a query hold fewer than expected.
        """
        reduced = self._rotation.apply(queries)
        if within is None:
            distances, lists = self._nearest_lists.search(reduced, search_effort)
            parameters = _scan_parameters(search_effort)
        else:
            bits, sizes = self._filter(within)
            distances, lists = self._nearest_lists.search(reduced, self.largest_effort)
            lists = _enough_lists(lists, sizes, self._sizes, search_effort / self.largest_effort)
            distances = np.ascontiguousarray(distances[:, : lists.shape[1]])
            parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=faiss.IDSelectorBitmap(bits))
        self.lists.load(lists.ravel())
        return self._scan(reduced, count, lists, distances, parameters)

    def _scan(
        self,
        reduced: Vectors,
        count: int,
        lists: NDArray[np.int64],
        distances: NDArray[np.float32],
        parameters: faiss.SearchParametersIVF,
    ) -> NDArray[np.int64]:
        """Scan *lists*. FAISS's own wrapper for Python offers this call without parameters only."""
        found = np.empty((len(reduced), count), np.int64)
        scores = np.empty((len(reduced), count), np.float32)
        arrays = (faiss.swig_ptr(each) for each in (lists, distances, scores, found))
        with threads(len(reduced)):
            self._inverted.search_preassigned_c(
                len(reduced),
                faiss.swig_ptr(reduced),
                count,
                *arrays,
                False,  # noqa: FBT003 - as in C++
                parameters,
            )
        return found

    def _filter(self, within: PositionSubset) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the bits of *within* by position, and how many of its vectors each list holds."""
        return self._filters.get(
            within.mask(), lambda mask: (np.packbits(mask, bitorder="little"), self.lists.sizes(mask))
        )


def segment_names(directory: Path) -> list[str]:
    """Return the names of the segments in *directory*, in the order in which they were written."""
    return sorted((path.name.split(".")[0] for path in directory.glob("*.offsets.npy")), key=int)


def _enough_lists(
    lists: NDArray[np.int64], sizes: NDArray[np.int64], all_sizes: NDArray[np.int64], share: float
) -> NDArray[np.int64]:
    """Return the first of *lists* (n, m), nearest first, that hold *share* of what a filter leaves; -1 for the others.

    *sizes* says how many of the vectors that the filter leaves are in each list, *all_sizes* how many of all vectors.
    Where the nearest lists hold less than half of what is expected, the answers are far away, and no list is left out.
    """
    held = sizes[lists]
    before = np.cumsum(held, axis=1) - held
    near = max(1, round(_NEAR * lists.shape[1]))
    wanted = np.where(_densities(lists[:, :near], sizes, all_sizes) < SPARSE, np.inf, share * sizes.sum())
    is_needed = (before < wanted[:, None]) & (held > 0)
    width = max(1, int((is_needed * np.arange(1, lists.shape[1] + 1)).max(initial=1)))
    return np.ascontiguousarray(np.where(is_needed, lists, -1)[:, :width])


def _densities(lists: NDArray[np.int64], sizes: NDArray[np.int64], all_sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each row of *lists* how many times as much a filter leaves as a random one is expected to leave."""
    expected = all_sizes[lists].sum(axis=1) * (sizes.sum() / max(1, all_sizes.sum()))
    densities: NDArray[np.float64] = np.where(expected > 0, sizes[lists].sum(axis=1) / np.maximum(expected, 1e-9), 1.0)
    return densities

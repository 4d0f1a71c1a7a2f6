"""Searching inverted lists of product-quantized codes; `inverted` writes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.filter_cache import Recent
from vision_recs.indexes.inverted_lists import Lists, Segment, read_dead
from vision_recs.indexes.rotation import Rotation
from vision_recs.types import Subset, Vectors

TRAINED = "trained.faiss"
_NEAR = 0.02  # of the lists: those around a query, which say whether a filter leaves what is like it
_SCANNED_IF_FAR = 50_000
_FILTERED_FETCH = 8
_WALKED = 1 / 16  # of the lists: to find more of them, comparing with all is quicker than walking a graph
_SHORTEST_WALK = 16  # lists that are looked at
NEIGHBORS = 16  # in that graph


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
            self._whole = faiss.read_index(str(directory / TRAINED))
            self._rotation = Rotation.of(faiss.downcast_VectorTransform(self._whole.chain.at(0)))
            self._inverted = faiss.downcast_index(self._whole.index)
            segments = [Segment.map(directory, name) for name in segment_names(directory)]
        except (RuntimeError, AttributeError) as error:
            raise StoreDamaged(
                f"{directory / TRAINED} cannot be read ({error}); rebuild it with `visrec index`"
            ) from error
        self._nearest_lists = NearestLists(faiss.downcast_index(self._inverted.quantizer))
        self._lists = Lists(self._inverted, segments, read_dead(directory))
        self._sizes = self._lists.sizes()
        self._marked: Recent[tuple[NDArray[np.uint8], NDArray[np.int64]]] = Recent()

    @property
    def filtered_fetch(self) -> int:
        """Many: codes of four bits put what is alike in any order."""
        return _FILTERED_FETCH

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
        walked = min(inverted.nlist, 2 * NEIGHBORS * max(_SHORTEST_WALK, 2 * effort))
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


def segment_names(directory: Path) -> list[str]:
    """Return the names of the segments in *directory*, in the order in which they were written."""
    return sorted((path.name.split(".")[0] for path in directory.glob("*.offsets.npy")), key=int)

"""The index type `flat`: every vector is compared through FAISS. It is exact and fast, and opens without being read.

The directory holds `flat.faiss` (an IndexFlatIP of float32 vectors) and `positions.npy` (int64: the position in the
store of each ordinal of FAISS).
"""

from __future__ import annotations

import contextlib
import os
import struct
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, read_error
from vision_recs.file_formats import mmap_array, save_npy
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.base import (
    NOTHING,
    Scored,
    blocks,
    is_marked,
    read_manifest,
    search_by_position,
    top_k_with_ties,
)
from vision_recs.indexes.faiss_files import threads, view_codes, write_faiss
from vision_recs.types import FilteredSource, Match, SearchRequest, VectorReader, Vectors, VectorSource
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:  # a query does not need these
    from vision_recs.indexes.config import IndexConfig, IndexStats

_VECTORS = "flat.faiss"
_POSITIONS = "positions.npy"

_BLOCK = 16_384  # vectors copied, or scored again, at once
_MARGIN = 16  # candidates beyond k, so that the k-th score almost always differs from the first one left out
_MOST_CANDIDATES = 1 << 22  # of one call of FAISS: bounds its memory for many queries and for large k
_WORTH_THREADS = 10_000_000  # numbers to compare with a query: for fewer, waking the threads takes longer
_READ_AHEAD = 128 * 1024  # bytes a request; the kernel cuts off longer ones
_KIND = b"IxFI"  # with which FAISS begins the file of an IndexFlatIP
_LONGEST_HEADER = 256  # bytes


class FlatIndexType:
    """Builds and opens flat indexes; see `IndexType`."""

    name = "flat"

    def build(self, source: VectorSource, directory: Path, config: IndexConfig) -> IndexStats:
        """Write the files; the vectors are in memory once, since FAISS needs them to write its file."""
        from vision_recs.indexes import autotune
        from vision_recs.indexes.config import BuildRecord

        started = perf_counter()
        count = _write(source, directory)
        record = BuildRecord("Flat", count, flat_bytes(source.dim), perf_counter() - started)
        measured = autotune.measure(self.open(source, directory), autotune.stats_queries(source, config))
        return autotune.stats_of(measured, config, record)

    def update(
        self,
        source: VectorSource,
        previous: Path,
        directory: Path,
        config: IndexConfig,  # noqa: ARG002 - an IndexType
    ) -> IndexStats | None:
        """Write the files anew, which is as quick; to measure again would take longer, and tell nothing new.

        The index is exact, and a query takes the time of the vectors. None where *previous* has none.
        """
        from vision_recs.indexes.config import IndexStats

        before, started = read_manifest(previous), perf_counter()
        if not before.vectors:
            return None
        count = _write(source, directory)
        stats = IndexStats(**before.stats)
        rate = stats.queries_per_second * before.vectors / max(count, 1)
        return replace(stats, queries_per_second=round(rate, 1), build_seconds=round(perf_counter() - started, 3))

    def open(self, source: VectorSource, directory: Path) -> FlatIndex:
        """Map the files of *directory*; the vectors are not read."""
        path = directory / _VECTORS
        positions = mmap_array(directory / _POSITIONS, np.int64)
        index = _map_flat(path, len(positions), source.dim)
        return FlatIndex(source, index, positions, path=path)

    def verify(self, directory: Path) -> list[str]:  # noqa: ARG002 - an IndexType
        """Return nothing: the digests of the files say it all."""
        return []


class FlatIndex:
    """An exact index of float32 vectors, memory-mapped."""

    def __init__(self, source: VectorSource, index: faiss.Index, positions: NDArray[np.int64], *, path: Path) -> None:
        """Search *index*, mapped from *path*, whose ordinal i is the vector of *source* at positions[i]."""
        self._source = source
        self._index = index
        self._positions = positions
        self._path = path
        self._is_read_ahead = False
        # FAISS sums in float32, in an order of its own. For unit vectors and any order, the error is below dim * 2^-24
        # (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); twice that leaves room for lengths near 1.
        self._tolerance = (source.dim + 1) * 2.0**-23
        self._last_selected: tuple[NDArray[np.bool_], int, faiss.SearchParameters] | None = None

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        return self._source.fingerprint, self._source.generation

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`."""
        return search_by_position(self._source, request, self.nearest)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        within: FilteredSource | None = None,
        *,
        depth: int | None = None,  # noqa: ARG002 - approximate indexes use it
    ) -> list[Scored]:
        """Return the *k* nearest positions to each unit query, and all whose score equals the k-th."""
        count, parameters = self._selected(within)
        if not count:
            return [NOTHING for _ in queries]
        if not self._is_read_ahead:
            self._is_read_ahead = True
            _read_ahead(self._path)
        num_candidates = min(k + _MARGIN, count)
        step = max(1, min(1024, _MOST_CANDIDATES // num_candidates))
        if self._index.ntotal * self._index.d < _WORTH_THREADS:
            step = 1  # FAISS shares out queries among threads
        found: list[Scored] = []
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            with threads(len(some)):
                approximate, ordinals = self._index.search(some, num_candidates, params=parameters)
            if ordinals.min() < 0:  # FAISS pads only where it cannot compare, and reads stray memory if asked for -1
                raise StoreDamaged(f"{self._path} holds vectors that are not numbers; rebuild it with `visrec index`")
            for query, own, last in zip(some, ordinals, approximate[:, -1].tolist(), strict=True):
                best = top_k_with_ties(self._scored(own, query), k)
                is_exact = len(own) == count or self._is_clear(best, last)
                found.append(best if is_exact else self._with_ties(query, best, k, parameters))
        return found

    def _selected(self, within: FilteredSource | None) -> tuple[int, faiss.SearchParameters | None]:
        """Return how many vectors are compared, and what tells FAISS which ones."""
        if within is None:
            return len(self._positions), None
        mask, last = within.mask(), self._last_selected
        if last is None or last[0] is not mask:  # a filter has one mask, which is not written to
            chosen = is_marked(mask, self._positions)
            selector = faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
            last = self._last_selected = mask, int(chosen.sum()), faiss.SearchParameters(sel=selector)
        return last[1:]

    def _is_clear(self, best: Scored, last: float) -> bool:
        """Return whether no vector that FAISS scores below *last* can belong to *best*, or tie with its lowest score.

        At -1 the scores are clipped, so that all lower ones may be equal to it.
        """
        return float(best.scores.min()) > max(last + self._tolerance, -1.0)

    def _with_ties(self, query: Vectors, best: Scored, k: int, parameters: faiss.SearchParameters | None) -> Scored:
        """Return the *k* best vectors, and all that equal the k-th, out of all that may reach the lowest of *best*."""
        lowest = float(best.scores.min())
        radius = lowest - self._tolerance if lowest > -1.0 else -np.inf
        with threads(1):
            _, _, ordinals = self._index.range_search(query[None], radius, params=parameters)
        return top_k_with_ties(self._scored(ordinals, query), k)

    def _scored(self, ordinals: NDArray[np.int64], query: Vectors) -> Scored:
        scores = [
            exact_cosine(self._index.reconstruct_batch(ordinals[start : start + _BLOCK]), query)
            for start in range(0, len(ordinals), _BLOCK)
        ]
        return Scored(self._positions[ordinals], np.concatenate(scores))


def flat_bytes(dim: int) -> float:
    """Return how many bytes a vector of *dim* columns takes: its numbers and its position."""
    return 4.0 * dim + 8


def _write(source: VectorSource, directory: Path) -> int:
    """Write the files of an index of all vectors of *source* into *directory*, and return how many there are."""
    positions = source.positions()
    write_faiss(_filled(source, positions), directory / _VECTORS)
    save_npy(directory / _POSITIONS, positions.astype(np.int64, copy=False))
    return len(positions)


def _filled(source: VectorReader, positions: NDArray[np.int64]) -> faiss.IndexFlat:
    index = faiss.IndexFlat(source.dim, faiss.METRIC_INNER_PRODUCT)
    if len(positions):
        # `add` would grow by doubling and hold the vectors nearly twice while it moves them.
        index.codes.resize(len(positions) * index.code_size)
        index.ntotal = len(positions)
        room = faiss.rev_swig_ptr(index.get_xb(), len(positions) * source.dim).reshape(-1, source.dim)
        start = 0
        for _, vectors in blocks(source, _BLOCK):
            room[start : start + len(vectors)] = vectors
            start += len(vectors)
    return index


def _map_flat(path: Path, count: int, dim: int) -> faiss.IndexFlat:
    """Return the index of *count* vectors of *dim* columns in the file *path*, mapped; raises StoreDamaged.

    FAISS would believe whatever stands before the numbers. Here it has to be what FAISS writes: the kind of index, how
    many columns and vectors it has, and last how many numbers follow.
    """
    index = faiss.IndexFlat(dim, faiss.METRIC_INNER_PRODUCT)
    begin, end = _KIND + struct.pack("<iq", dim, count), struct.pack("<q", count * dim)
    try:
        length = path.stat().st_size - count * index.code_size
        with path.open("rb") as file:
            header = file.read(length) if 0 < length < _LONGEST_HEADER else b""
        if not (header.startswith(begin) and header.endswith(end)):
            raise StoreDamaged(f"the files of {path.parent} do not fit together; rebuild it with `visrec index`")
        if count:
            view_codes(index, np.asarray(np.memmap(path, np.uint8, "r", length)))
    except OSError as error:
        raise read_error(path, error, "rebuild it with `visrec index`") from error
    return index


def _read_ahead(path: Path) -> None:
    """Have the kernel start to read the file: FAISS maps it for random access, a page at a time (20 times slower)."""
    with contextlib.suppress(AttributeError, OSError), path.open("rb") as file:  # advice only; macOS has none
        for offset in range(0, path.stat().st_size, _READ_AHEAD):
            os.posix_fadvise(file.fileno(), offset, _READ_AHEAD, os.POSIX_FADV_WILLNEED)

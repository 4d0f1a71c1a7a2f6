"""Compare with every vector, through FAISS: exact, fast, and opened without being read.

The folder holds `flat.faiss` (an IndexFlatIP), `positions.npy` (int64: ordinal of FAISS -> position of the store) and
`index.json`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from tokenize import TokenError

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Scored, best, blocks, matches, unit_queries
from vision_recs.indexes.index_dir import Label, open_label, write_label
from vision_recs.types import Match, Subset, Vectors, VectorSource
from vision_recs.vectors import exact_cosine

_VECTORS = "flat.faiss"
_POSITIONS = "positions.npy"

_BLOCK = 16_384  # vectors copied, or scored again, at once
_MARGIN = 16  # candidates beyond k, so that the k-th score is almost always clear of the first one left out
_CANDIDATES = 1 << 22  # that one call of FAISS may return: bounds its memory for many queries and for large k
_WORTH_THREADS = 10_000_000  # numbers to be compared with a query: with fewer, waking the threads takes longer
_READ_AHEAD = 128 * 1024  # bytes a request; the kernel cuts off longer ones


class FlatIndex:
    """An exact index of float32 vectors, memory-mapped."""

    def __init__(self, source: VectorSource, index: faiss.Index, positions: NDArray[np.int64], *, path: Path) -> None:
        """Search *index*, mapped from *path*, whose ordinal i is the vector of *source* at positions[i]."""
        self._source = source
        self._index = index
        self._positions = positions
        self._path = path
        self._asked_ahead = False
        # FAISS sums in float32, in an order of its own. For unit vectors and any order the error is below dim * 2^-24
        # (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); twice that leaves room for lengths near 1.
        self._tolerance = (source.dim + 1) * 2.0**-23

    @classmethod
    def build(cls, source: VectorSource, directory: Path) -> None:
        """Write the folder's files; the vectors are in memory once, as FAISS needs them to write its file."""
        positions = source.positions()
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
        faiss.write_index(index, str(directory / _VECTORS))
        np.save(directory / _POSITIONS, positions.astype(np.int64, copy=False))
        write_label(directory, source, name="flat", vectors=len(positions))

    @classmethod
    def open(cls, source: VectorSource, directory: Path) -> FlatIndex:
        """Map the files of *directory*; neither vectors nor digests are read."""
        label = open_label(directory, source, name="flat")
        path = directory / _VECTORS
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            positions = np.load(directory / _POSITIONS, mmap_mode="r")
        except (RuntimeError, ValueError, OSError, SyntaxError, TokenError) as error:  # the last two: numpy's header
            raise StoreDamaged(f"{directory} cannot be opened ({error}); rebuild it with `visrec index`") from error
        if not _fits(index, positions, label):
            raise StoreDamaged(f"the files of {directory} do not fit together; rebuild it with `visrec index`")
        return cls(source, index, positions, path=path)

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        return self._source.fingerprint, self._source.generation

    def search(self, vectors: Vectors, k: int, *, within: Subset | None = None) -> list[list[Match]]:
        """Return up to *k* images for each row of *vectors*: see `VectorIndex`."""
        queries = unit_queries(vectors, k, dim=self._source.dim)
        return matches(within or self._source, self.nearest(queries, k, within=within), k)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        within: Subset | None = None,
        depth: int | None = None,  # noqa: ARG002 - approximate indexes have it
    ) -> list[Scored]:
        """Return positions and scores of the *k* nearest to each unit query, and of what ties with the k-th."""
        count, parameters = self._selected(within)
        if not count:
            return [Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        if not self._asked_ahead:
            self._asked_ahead = True
            _read_ahead(self._path)
        fetch = min(k + _MARGIN, count)
        step = max(1, min(1024, _CANDIDATES // fetch))
        if self._index.ntotal * self._index.d < _WORTH_THREADS:
            step = 1  # FAISS shares out queries among threads
        found: list[Scored] = []
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            approximate, ordinals = self._index.search(some, fetch, params=parameters)
            if ordinals.min() < 0:  # FAISS pads only where it cannot compare, and reads stray memory if asked for -1
                raise StoreDamaged(f"{self._path} holds vectors that are not numbers; rebuild it with `visrec index`")
            for query, own, last in zip(some, ordinals, approximate[:, -1].tolist(), strict=True):
                nearest = best(self._scored(own, query), k)
                whole = len(own) == count or self._is_clear(nearest, last)
                found.append(nearest if whole else self._ties(query, nearest, k, parameters))
        return found

    def _selected(self, within: Subset | None) -> tuple[int, faiss.SearchParameters | None]:
        """Return how many vectors are compared, and what tells FAISS which."""
        if within is None:
            return len(self._positions), None
        chosen = within.mask()[self._positions]
        selector = faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
        return int(chosen.sum()), faiss.SearchParameters(sel=selector)

    def _is_clear(self, nearest: Scored, last: float) -> bool:
        """Whether nothing that FAISS puts below *last* can be among the *nearest*, or tie with one of them.

        At -1 the scores are clipped, so all below may be equal to it.
        """
        return float(nearest.scores.min()) > max(last + self._tolerance, -1.0)

    def _ties(self, query: Vectors, nearest: Scored, k: int, parameters: faiss.SearchParameters | None) -> Scored:
        """Return the *k* best of all that may score as much as the last of *nearest*, and all that equal the k-th."""
        lowest = float(nearest.scores.min())
        radius = lowest - self._tolerance if lowest > -1.0 else -np.inf
        _, _, within = self._index.range_search(query[None], radius, params=parameters)
        return best(self._scored(within, query), k)

    def _scored(self, ordinals: NDArray[np.int64], query: Vectors) -> Scored:
        scores = [
            exact_cosine(self._index.reconstruct_batch(ordinals[start : start + _BLOCK]), query)
            for start in range(0, len(ordinals), _BLOCK)
        ]
        return Scored(self._positions[ordinals], np.concatenate(scores))


def _fits(index: faiss.Index, positions: NDArray[np.int64], label: Label) -> bool:
    return (
        isinstance(index, faiss.IndexFlat)
        and index.metric_type == faiss.METRIC_INNER_PRODUCT
        and (index.ntotal, index.d) == (label.vectors, label.dim)
        and positions.dtype == np.int64
        and positions.shape == (label.vectors,)
    )


def _read_ahead(path: Path) -> None:
    """Have the kernel start to read the file: FAISS maps it for random access, a page at a time (20 times slower)."""
    with contextlib.suppress(AttributeError, OSError), path.open("rb") as file:  # advice only; macOS has none
        for offset in range(0, path.stat().st_size, _READ_AHEAD):
            os.posix_fadvise(file.fileno(), offset, _READ_AHEAD, os.POSIX_FADV_WILLNEED)

"""The codes of an inverted index on the disk: segments by list, mapped, and read list by list when a search needs them.

A segment is three NumPy files: `<name>.codes.npy` (n, code size), list after list; `<name>.positions.npy` (n,), the
positions of these codes in the store; `<name>.offsets.npy` (lists + 1,), where each list begins. Segments are never
changed, so that a generation shares those of the generation before it. `deleted.npy` holds the positions that are gone,
ascending.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.file_formats import mmap_array, save_npy
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.base import is_marked

_DELETED = "deleted.npy"
_PARTS = ("codes", "positions", "offsets")


class Segment(NamedTuple):
    """Codes (n, code size) and their positions (n,), ordered by list: list i from offsets[i] to offsets[i + 1]."""

    codes: NDArray[np.uint8]
    positions: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(
        cls, codes: NDArray[np.uint8], positions: NDArray[np.int64], lists: NDArray[np.int64], *, count: int
    ) -> Segment:
        """Return the segment of *codes*, whose vectors belong to *lists*; there are *count* lists."""
        order = np.argsort(lists, kind="stable")
        offsets = np.concatenate(([0], np.cumsum(np.bincount(lists, minlength=count))))
        return cls(codes[order], positions[order], offsets)

    def without(self, deleted: NDArray[np.int64]) -> Segment:
        """Return the segment without the positions *deleted*."""
        kept = ~is_in_sorted(self.positions, deleted)
        counts = np.concatenate(([0], np.cumsum(kept)))
        return Segment(self.codes[kept], self.positions[kept], counts[self.offsets])

    def save(self, directory: Path, name: str) -> None:
        """Write the files of the segment *name*."""
        for part in _PARTS:
            save_npy(directory / f"{name}.{part}.npy", getattr(self, part))

    @classmethod
    def map(cls, directory: Path, name: str) -> Segment:
        """Map the files of the segment *name*; raises StoreDamaged where they do not fit together."""
        codes = mmap_array(directory / f"{name}.codes.npy", np.uint8, columns=True)
        positions = mmap_array(directory / f"{name}.positions.npy", np.int64)
        offsets = mmap_array(directory / f"{name}.offsets.npy", np.int64)
        ends = offsets[:1].tolist(), offsets[-1:].tolist()
        if ends != ([0], [len(positions)]) or len(codes) != len(positions) or (np.diff(offsets) < 0).any():
            raise StoreDamaged(
                f"the files of segment {name} in {directory} do not fit together; rebuild it with `visrec index`"
            )
        return cls(codes, positions, offsets)


def link_segment(previous: Path, directory: Path, name: str) -> None:
    """Add the segment *name* of *previous* to *directory*."""
    for part in _PARTS:
        link_file(previous, directory, f"{name}.{part}.npy")


def link_file(previous: Path, directory: Path, name: str) -> None:
    """Add the file *name* of *previous* to *directory*: as a hard link, or where there is none as a copy."""
    try:
        os.link(previous / name, directory / name)
    except OSError:
        shutil.copyfile(previous / name, directory / name)


def merged(segments: Sequence[Segment], deleted: NDArray[np.int64]) -> Segment:
    """Return one segment that holds all of *segments* except the positions *deleted*."""
    count = len(segments[0].offsets) - 1
    lists = [np.repeat(np.arange(count), np.diff(segment.offsets)) for segment in segments]
    positions = np.concatenate([segment.positions for segment in segments])
    codes = np.concatenate([segment.codes for segment in segments])
    return Segment.of(codes, positions, np.concatenate(lists), count=count).without(deleted)


def save_deleted(directory: Path, deleted: NDArray[np.int64]) -> None:
    """Write which positions of an index are gone."""
    save_npy(directory / _DELETED, np.sort(deleted))


def read_deleted(directory: Path) -> NDArray[np.int64]:
    """Return the positions of an index that are gone, ascending."""
    return mmap_array(directory / _DELETED, np.int64)


class InvertedLists:
    """Reads each inverted list into an index of FAISS when it is first needed. Safe to use from several threads."""

    def __init__(
        self, index: faiss.IndexIVFPQFastScan, segments: Sequence[Segment], deleted: NDArray[np.int64]
    ) -> None:
        """Fill the empty *index* from *segments*, except for the positions *deleted*."""
        self._lists = faiss.downcast_InvertedLists(index.invlists)
        self._packer = index.get_CodePacker()
        self._segments = segments
        self._deleted = deleted
        self._is_read = np.zeros(index.nlist, dtype=np.bool_)
        self._lock = threading.Lock()
        index.ntotal = self.total = sum(len(segment.positions) for segment in segments) - len(deleted)

    def load(self, lists: NDArray[np.int64]) -> None:
        """Read those of *lists* that were not read yet; a negative number stands for no list."""
        needed = lists[lists >= 0]
        if self._is_read[needed].all():
            return
        with self._lock:
            for number in sorted(set(needed[~self._is_read[needed]].tolist())):
                self._fill(number)
                self._is_read[number] = True

    def sizes(self, mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return how many vectors each list holds, or how many of the vectors at the positions that *mask* marks."""
        sizes = np.zeros(len(self._is_read), np.int64)
        for segment in self._segments:
            if mask is None:
                sizes += np.diff(segment.offsets)
            else:
                marked = np.concatenate(([0], np.cumsum(is_marked(mask, segment.positions))))
                sizes += np.diff(marked[segment.offsets])
        return sizes

    def _fill(self, number: int) -> None:
        positions, codes = self._entries(number)
        if not len(positions):
            return
        blocks = -(-len(positions) // self._packer.nvec)
        flat = np.zeros((blocks * self._packer.nvec, codes.shape[1]), np.uint8)
        flat[: len(codes)] = codes
        packed = np.empty((blocks, self._packer.block_size), np.uint8)
        for number_of_block in range(blocks):
            self._packer.pack_all(
                faiss.swig_ptr(flat[number_of_block * self._packer.nvec :]), faiss.swig_ptr(packed[number_of_block])
            )
        self._lists.add_entries(number, len(positions), faiss.swig_ptr(positions), faiss.swig_ptr(packed))

    def _entries(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return the positions and codes in list *number*, of all segments."""
        places = [segment.offsets[number : number + 2].tolist() for segment in self._segments]
        pairs = list(zip(self._segments, places, strict=True))
        positions = np.concatenate([segment.positions[begin:end] for segment, (begin, end) in pairs])
        codes = np.concatenate([segment.codes[begin:end] for segment, (begin, end) in pairs])
        if len(self._deleted):
            kept = ~is_in_sorted(positions, self._deleted)
            positions, codes = positions[kept], codes[kept]
        return positions, codes


def positions_of(segments: Iterable[Segment]) -> NDArray[np.int64]:
    """Return the positions of all codes in *segments*, ascending."""
    return np.sort(np.concatenate([np.empty(0, np.int64), *(segment.positions for segment in segments)]))


def is_in_sorted(positions: NDArray[np.int64], ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of *positions* are in *ordered*, which ascends (`np.isin` would load numpy.ma)."""
    if not len(ordered):
        return np.zeros(len(positions), np.bool_)
    places = np.minimum(np.searchsorted(ordered, positions), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == positions
    return found


def not_in_sorted(positions: NDArray[np.int64], ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of *positions* that are not in *ordered*, which ascends."""
    return positions[~is_in_sorted(positions, ordered)]

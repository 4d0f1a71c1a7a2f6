"""The vectors of the shards of a generation, mapped from their files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs._native import Shards
from vision_recs.errors import StoreDamaged, read_error
from vision_recs.file_formats import map_npy
from vision_recs.store.layout import VECTORS_FILE, Layout, ShardEntry
from vision_recs.types import Vectors
from vision_recs.vectors import normalize_rows

_READ_ONE_BY_ONE = 256
"""Vectors: for fewer, finding out which ones come from the same shard takes longer than it saves."""


def map_vectors(folder: Path, *, rows: int, dim: int) -> NDArray[np.float16]:
    """Map the vectors (rows, dim) of the shard in *folder*; raises ValueError or OSError where the file is another."""
    vectors = map_npy(folder / VECTORS_FILE, np.float16, 2)
    if vectors.shape != (rows, dim):
        raise ValueError(f"it holds {vectors.shape} numbers, not {rows} vectors of {dim}")
    return vectors


class ShardVectors:
    """The vectors of some shards by position, as the encoder made them; a shard is opened when it is needed."""

    def __init__(self, layout: Layout, shards: Sequence[ShardEntry], dim: int) -> None:
        """Read *shards*, ascending by position, whose vectors have *dim* numbers."""
        self._layout = layout
        self._shards = shards
        self._dim = dim
        self._firsts = np.array([shard.first_position for shard in shards], np.int64)
        self._ends = np.array([shard.stop_position for shard in shards], np.int64)
        self._open = self._closed()

    @property
    def open(self) -> OpenShards:
        """The shards that are open; others are added when they are needed."""
        return self._open

    @property
    def end(self) -> int:
        """The first position after those of all shards."""
        return int(self._ends.max(initial=0))

    def unit(self, positions: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return what `normalize_rows` returns for the vectors at *positions* (n, dim), in that order.

        Raises StoreDamaged for a position that is in no shard.
        """
        if _native.kernels is None:
            return normalize_rows(self.read(positions))
        scaled = np.empty((len(positions), self._dim), np.float32)
        alive = np.empty(len(positions), np.bool_)
        positions = np.ascontiguousarray(positions, np.int64)
        mapped = self._open  # a shard that is closed meanwhile stays mapped until these vectors are read
        start = 0
        while True:
            rest = slice(start, None)
            missing = _native.kernels.gather_half(positions[rest], *mapped.shards, scaled[rest], alive[rest], self._dim)
            if missing < 0:
                return scaled, alive
            start += missing
            self._shard(self._number(int(positions[start])), mapped)

    def cosines(self, positions: NDArray[np.int64], queries: Vectors) -> NDArray[np.float32] | None:
        """Return the cosines (m, n) of *queries* (m, dim) with the vectors at *positions* (m, n), without keeping them.

        A position below 0 has the score -2. Returns None where vectors have to be read by `unit`: without the functions
        in C, from a shard that is not open yet, and where a vector is missing or has no direction.
        """
        if _native.kernels is None:
            return None
        scores = np.empty(positions.shape, np.float32)
        mapped = self._open  # a shard that is closed meanwhile stays mapped until these vectors are read
        positions, queries = np.ascontiguousarray(positions, np.int64), np.ascontiguousarray(queries, np.float32)
        missing = _native.kernels.cosines_at(positions, *mapped.shards, queries, scores, self._dim)
        return scores if missing < 0 else None

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the vectors at *positions* (n, dim), in that order; raises as `unit` does."""
        vectors = np.empty((len(positions), self._dim), dtype=np.float16)
        if len(positions) <= _READ_ONE_BY_ONE:
            for row, position in enumerate(positions.tolist()):
                number = self._number(position)
                vectors[row] = self._shard(number, self._open)[position - self._firsts[number]]
        else:
            self._read_by_shard(positions, vectors)
        return vectors

    def open_all(self) -> None:
        """Open every shard now."""
        for number in range(len(self._shards)):
            self._shard(number, self._open)

    def close(self) -> None:
        """Forget the files that are open."""
        self._open = self._closed()

    def _closed(self) -> OpenShards:
        return OpenShards({}, Shards(self._firsts, self._ends, np.zeros(len(self._shards), np.int64)))

    def damaged(self, position: int, what: str) -> StoreDamaged:
        """Return the error for the vector at *position*; *what* says what is wrong with the vector."""
        return StoreDamaged(f"the vector at position {position} of {self._layout.root} {what}; run `visrec verify`")

    def _read_by_shard(self, positions: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        shard_of = np.searchsorted(self._firsts, positions, side="right") - 1
        inside = (shard_of >= 0) & (positions < self._ends[shard_of])
        if not inside.all():
            raise self.damaged(int(positions[np.argmin(inside)]), "is in no shard")
        within = positions - self._firsts[shard_of]
        if (shard_of == shard_of[0]).all():  # then nothing is copied twice
            np.take(self._shard(int(shard_of[0]), self._open), within, axis=0, out=vectors, mode="clip")
            return
        order = np.argsort(shard_of, kind="stable")
        ends = np.cumsum(np.bincount(shard_of))
        for number in np.flatnonzero(np.diff(ends, prepend=0)).tolist():  # not np.unique: it loads numpy.ma, 10 ms
            chosen = order[ends[number - 1] if number else 0 : ends[number]]
            vectors[chosen] = self._shard(number, self._open)[within[chosen]]

    def _number(self, position: int) -> int:
        number = bisect_right(self._firsts, position) - 1
        if number < 0 or position >= self._ends[number]:
            raise self.damaged(position, "is in no shard")
        return number

    def _shard(self, number: int, mapped: OpenShards) -> NDArray[np.float16]:
        """Return shard *number* of *mapped*, to which the shard is added."""
        found = mapped.vectors.get(number)
        if found is None:
            entry = self._shards[number]
            folder = self._layout.shard(entry.name)
            try:
                vectors = map_vectors(folder, rows=entry.rows, dim=self._dim)
            except (OSError, ValueError) as error:
                raise read_error(folder / VECTORS_FILE, error) from error
            found = mapped.vectors.setdefault(number, vectors)  # another thread may have been first
            mapped.shards.addresses[number] = found.__array_interface__["data"][0]
        return found


class OpenShards(NamedTuple):
    """The *vectors* of the shards that are open, by number, and where they and the others are, address 0.

    They stay mapped for as long as this is kept, also when the shards are closed.
    """

    vectors: dict[int, NDArray[np.float16]]
    shards: Shards

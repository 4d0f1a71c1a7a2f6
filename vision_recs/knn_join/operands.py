"""The vectors that ask and those that answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import blocks
from vision_recs.knn_join.groups import Kinds
from vision_recs.types import Vectors, VectorSource

_AT_ONCE = 16_384  # vectors that are read at once

Place: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.int64]]


@dataclass(frozen=True)
class Sides:
    """The vectors that ask and those that answer; what is on both sides comes first among the *columns*.

    Column c is number rank[c] of those that answer. The first len(row_of) columns are the rows row_of[c], ascending.
    *kinds* are those of the columns.
    """

    rows: Vectors
    columns: Vectors
    rank: NDArray[np.int64]
    row_of: NDArray[np.int64]
    kinds: Kinds | None

    @cached_property
    def column_of_rank(self) -> NDArray[np.int64]:
        """The column of each number of those that answer."""
        columns = np.empty_like(self.rank)
        columns[self.rank] = np.arange(len(self.rank))
        return columns

    def asked_by(self, rows: Vectors, asker: NDArray[np.int64] | None) -> Sides:
        """Return other *rows*, by *asker* where there are kinds, that ask the same columns."""
        kinds = None if self.kinds is None or asker is None else self.kinds.asked_by(asker)
        return replace(self, rows=rows, row_of=np.empty(0, np.int64), kinds=kinds)

    @classmethod
    def of(
        cls, source: VectorSource, asking: NDArray[np.int64], answering: NDArray[np.int64], kinds: Kinds | None
    ) -> Sides:
        """Read the vectors of *source*; *kinds* are those of *answering*."""
        found = place_in(answering)(asking)
        is_shared = found >= 0
        row_of = np.flatnonzero(is_shared)
        is_left = np.ones(len(answering), dtype=np.bool_)
        is_left[found[row_of]] = False
        rank = np.concatenate([found[row_of], np.flatnonzero(is_left)])
        kinds = None if kinds is None else kinds.in_order(rank)
        rows = read(source, asking)
        if len(row_of) == len(rank) == len(asking):
            return cls(rows, rows, rank, row_of, kinds)
        columns = np.concatenate([rows[row_of], read(source, answering[rank[len(row_of) :]])])
        return cls(rows, columns, rank, row_of, kinds)


def read(source: VectorSource, positions: NDArray[np.int64]) -> Vectors:
    """Return the vectors of *source* at *positions*; raises ZeroVector for one that is not of unit length."""
    vectors = np.empty((len(positions), source.dim), dtype=np.float32)
    start = 0
    for _, block in blocks(source, _AT_ONCE, positions):
        vectors[start : start + len(block)] = block
        start += len(block)
    return vectors


def place_in(positions: NDArray[np.int64]) -> Place:
    """Return what finds the place in *positions* of each of others, -1 for one that is not there."""
    places = np.full(int(positions.max(initial=-1)) + 2, -1, dtype=np.int64)
    places[positions] = np.arange(len(positions))
    return lambda others: places[np.minimum(others, len(places) - 1)]

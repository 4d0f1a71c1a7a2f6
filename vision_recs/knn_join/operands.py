"""The operands of a join: the query vectors and the corpus vectors, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import blocks
from vision_recs.knn_join.groups import Groups
from vision_recs.knn_join.keys import require_countable
from vision_recs.types import VectorReader, Vectors

_BLOCK = 16_384  # vectors that are read at once

Places: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Returns the place of each of some positions in a list of positions, or -1."""


@dataclass(frozen=True)
class Operands:
    """The vectors of both sides, as rows and columns of a matrix of scores: *queries* (n, dim) and *corpus* (m, dim).

    A vector on both sides comes first in *corpus*: columns 0 to len(row_of) - 1 are the rows `row_of[column]`,
    ascending. The caller numbers the corpus in another order: column c has the number `number[c]`. *groups* are those
    of the columns.
    """

    queries: Vectors
    corpus: Vectors
    number: NDArray[np.int64]
    row_of: NDArray[np.int64]
    groups: Groups | None

    @cached_property
    def column_of(self) -> NDArray[np.int64]:
        """The column of each corpus number."""
        columns = np.empty_like(self.number)
        columns[self.number] = np.arange(len(self.number))
        return columns

    def for_queries(self, queries: Vectors, owner: NDArray[np.int64] | None) -> Operands:
        """Return other *queries*, with their owners where there are groups, and the same corpus."""
        groups = None if self.groups is None or owner is None else self.groups.for_queries(owner)
        return replace(self, queries=queries, row_of=np.empty(0, np.int64), groups=groups)

    @classmethod
    def read(
        cls, source: VectorReader, queries: NDArray[np.int64], corpus: NDArray[np.int64], groups: Groups | None
    ) -> Operands:
        """Return the vectors of *source* at the positions *queries* and *corpus*; *groups* are those of *corpus*.

        A vector on both sides is read once. Raises TooManyVectors, and ZeroVector for a vector that is not of unit
        length.
        """
        require_countable(len(corpus))
        found = places_in(corpus)(queries)
        row_of = np.flatnonzero(found >= 0)
        is_left = np.ones(len(corpus), dtype=np.bool_)
        is_left[found[row_of]] = False
        number = np.concatenate([found[row_of], np.flatnonzero(is_left)])
        groups = None if groups is None else groups.reordered(number)
        rows = read_vectors(source, queries)
        if len(row_of) == len(number) == len(queries):
            return cls(rows, rows, number, row_of, groups)
        columns = np.empty((len(number), source.dim), dtype=np.float32)
        np.take(rows, row_of, axis=0, out=columns[: len(row_of)], mode="clip")  # the mode that copies once
        columns[len(row_of) :] = read_vectors(source, corpus[number[len(row_of) :]])
        return cls(rows, columns, number, row_of, groups)


def read_vectors(source: VectorReader, positions: NDArray[np.int64]) -> Vectors:
    """Return the vectors (n, dim) of *source* at *positions*; raises ZeroVector for one that is not of unit length."""
    vectors = np.empty((len(positions), source.dim), dtype=np.float32)
    start = 0
    for _, block in blocks(source, _BLOCK, positions):
        vectors[start : start + len(block)] = block
        start += len(block)
    return vectors


def places_in(positions: NDArray[np.int64]) -> Places:
    """Return a function that finds the place in *positions* of each of some positions, -1 for one that is not there."""
    places = np.full(int(positions.max(initial=-1)) + 2, -1, dtype=np.int64)
    places[positions] = np.arange(len(positions))
    return lambda others: places[np.minimum(others, len(places) - 1)]

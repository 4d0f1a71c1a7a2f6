"""The k-nearest-neighbor join: the nearest of many vectors for each of many vectors, exactly and fast.

Blocks of fast matrix products are compared with a threshold for each query vector that none of its k nearest can miss:
what k vectors of a sample reach. The block of some vectors with others serves both sides, since the products of the
others with them are the same. The products that pass are pruned to those that may be among the k best of the query, and
these are scored exactly, as `vectors.exact_cosine` does.

operands     the query vectors and the corpus vectors
groups       corpus vectors of which only the nearest counts
matmul       fast matrix products with a bound on their error
blocks       the products of some rows with all columns
candidates   what may be among the nearest, pruned and scored exactly; keys packs them into sortable numbers
join         the k nearest of all
range_join   all pairs that are near enough
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.groups import Groups
from vision_recs.knn_join.join import BlockedJoin, Nearest
from vision_recs.knn_join.matmul import Matmul, workers
from vision_recs.knn_join.operands import Operands, Places, places_in, read_vectors
from vision_recs.knn_join.range_join import Pairs, pairs_above
from vision_recs.types import VectorReader, Vectors

__all__ = ["Groups", "KnnJoin", "Nearest", "Pairs", "pairs_above"]


class KnnJoin:
    """The join of some query vectors of a source with some corpus vectors of the same source.

    The vectors are in memory, in float32 and in a shorter format: once if both sides are the same, and twice otherwise.
    """

    def __init__(
        self,
        source: VectorReader,
        queries: NDArray[np.int64],
        corpus: NDArray[np.int64],
        *,
        groups: Groups | None = None,
        device: str = "auto",
    ) -> None:
        """Read the vectors of *source* at the positions *queries* and *corpus*, each of which are distinct.

        With *groups*, of each group only the nearest corpus vector is a result: see `Groups`. *device* is "cpu",
        "cuda", "cuda:N", or "auto", which is CUDA where there is one. Raises ZeroVector for a vector that is not of
        unit length, and TooManyVectors.
        """
        self._source = source
        self._positions = queries, corpus
        self._operands = Operands.read(source, queries, corpus, groups)
        columns = Matmul.of(self._operands.corpus, device=device)
        is_same = self._operands.queries is self._operands.corpus
        self._matmul = columns if is_same else columns.with_rows(self._operands.queries)

    @property
    def number_format(self) -> str:
        """The format of the fast products: "bfloat16", "float16" or "float32", whichever is the fastest here."""
        return str(self._matmul.number_format.dtype).removeprefix("torch.")

    def nearest(self, k: int, *, by_group: bool = True) -> Iterator[Nearest]:
        """Yield the *k* nearest corpus vectors of each query vector, or all where there are fewer.

        A vector on both sides finds itself. Results come in the order of the query vectors, some thousands at a time.
        The scores are those of `vectors.exact_cosine` to the last bit. Without *by_group*, every corpus vector counts;
        with it, *k* has to be less than the number of groups. Raises ValueError for another *k*.
        """
        operands = self._operands if by_group else replace(self._operands, groups=None)
        yield from self._join(operands, self._matmul, k)

    def nearest_to(self, positions: NDArray[np.int64], k: int, *, by_group: bool = True) -> Iterator[Nearest]:
        """Yield as `nearest` does, but for the query vectors at *positions*, which should be few.

        With groups, they have to be among the query vectors of the join.
        """
        groups = self._operands.groups if by_group else None
        owner = None if groups is None else groups.query_owner[self._places[0](positions)]
        operands = self._operands.for_queries(read_vectors(self._source, positions), owner)
        yield from self._join(operands, self._matmul.with_rows(operands.queries), k)

    def rows_at(self, positions: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
        """Return a matrix, and the rows of it that are the corpus vectors at *positions*."""
        return self._operands.corpus, self._places[1](positions)

    @cached_property
    def _places(self) -> tuple[Places, Places]:
        queries, corpus = self._positions
        return places_in(queries), places_in(corpus[self._operands.number])

    def _join(self, operands: Operands, matmul: Matmul, k: int) -> Iterator[Nearest]:
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 vector")
        if operands.groups is not None and k >= operands.groups.count:
            raise ValueError(f"k is {k}, and there are {operands.groups.count} groups; ask for less")
        count = min(k, len(operands.corpus))
        if not count or not len(operands.queries):
            empty = np.empty((len(operands.queries), 0))
            yield Nearest(0, empty.astype(np.int64), empty.astype(np.float32))
            return
        with workers(matmul.device) as pool:
            yield from BlockedJoin(operands, matmul, count, pool).bands()

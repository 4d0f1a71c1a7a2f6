"""The nearest of many vectors for each of many vectors: exactly those of exact search, in a fraction of its time.

Blocks of fast products (see `products`) are compared with a threshold for each vector that none of its k nearest can
miss: what k vectors of a sample reach. The block of some vectors with others serves both sides, since the products of
the others with them are the same. What passes is pruned to what may be among the k best of all that passed, and that is
computed exactly, as `ranking.cosines` does.

products    fast products with a bound on their error
candidates  what may be among the nearest, pruned and computed exactly
sides       the vectors that ask and those that answer
kinds       vectors that stand for one another
scan        the products of some rows with all columns
join        the k nearest of all
pairs       all pairs that are near enough
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vision_recs.knn_join.blocks import EXACT, ROUGH
from vision_recs.knn_join.groups import Kinds
from vision_recs.knn_join.join import Join, Nearest
from vision_recs.knn_join.matmul import Products, taken, workers
from vision_recs.knn_join.operands import Place, Sides, place_in, read
from vision_recs.knn_join.range_join import Pairs, pairs_above
from vision_recs.types import Vectors, VectorSource

__all__ = ["ROUGH", "AllPairs", "Kinds", "Nearest", "Pairs", "pairs_above"]


class AllPairs:
    """Some vectors of a source that ask, and some that answer.

    In memory are the vectors, in float32 and in a shorter format, once if both sides are the same and twice otherwise.
    """

    def __init__(
        self,
        source: VectorSource,
        asking: NDArray[np.int64],
        answering: NDArray[np.int64],
        *,
        kinds: Kinds | None = None,
        device: str = "auto",
    ) -> None:
        """Read the vectors of *source* at the positions *asking* and *answering*, each distinct.

        With *kinds*, only the nearest vector of a kind is an answer: see there. *device* is "cpu", "cuda", "cuda:N", or
        "auto", which is CUDA where there is one. Raises ZeroVector for a vector that is not of unit length.
        """
        self._source = source
        self._positions = asking, answering
        self._sides = Sides.of(source, asking, answering, kinds)
        columns = Products.of(self._sides.columns, device=device)
        same = self._sides.rows is self._sides.columns
        self._products = columns if same else columns.with_rows(self._sides.rows)

    @property
    def kept_as(self) -> str:
        """The format in which products are made: "bfloat16", "float16" or "float32", whichever is the fastest here."""
        return str(self._products.kept_as.dtype).removeprefix("torch.")

    def nearest(self, k: int, *, rough: bool = False, by_kind: bool = True) -> Iterator[Nearest]:
        """Yield the *k* answering vectors that are nearest to each asking one, all where there are fewer.

        A vector on both sides is found by itself. Results come in the order of the asking vectors, some thousands at a
        time. Scores are those of `ranking.cosines` to the last bit; or *rough*, made in float32, which takes less time
        where many are needed to choose from, and where two scores that differ by 1e-6 may come in either order. If not
        *by_kind*, every vector counts, else *k* has to be less than there are kinds. Raises ValueError for another k.
        """
        sides = self._sides if by_kind else replace(self._sides, kinds=None)
        yield from self._join(sides, self._products, k, rough=rough)

    def nearest_to(
        self, positions: NDArray[np.int64], k: int, *, rough: bool = False, by_kind: bool = True
    ) -> Iterator[Nearest]:
        """Yield as `nearest` does, but for other asking vectors, which should be few: those at *positions*.

        With kinds, they are some of those that ask.
        """
        kinds = self._sides.kinds if by_kind else None
        asker = None if kinds is None else kinds.asker[self._places[0](positions)]
        sides = self._sides.asked_by(read(self._source, positions), asker)
        yield from self._join(sides, self._products.with_rows(sides.rows), k, rough=rough)

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions*, of which each asks or answers."""
        row, column = (place(positions) for place in self._places)
        if (column >= 0).all():
            return taken(self._sides.columns, column)
        if (row >= 0).all():
            return taken(self._sides.rows, row)
        is_row = row >= 0
        found = np.empty((len(positions), self._sides.rows.shape[1]), dtype=np.float32)
        found[is_row] = self._sides.rows[row[is_row]]
        found[~is_row] = self._sides.columns[column[~is_row]]
        return found

    @cached_property
    def _places(self) -> tuple[Place, Place]:
        asking, answering = self._positions
        return place_in(asking), place_in(answering[self._sides.rank])

    def _join(self, sides: Sides, products: Products, k: int, *, rough: bool) -> Iterator[Nearest]:
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 vector")
        if sides.kinds is not None and k >= sides.kinds.count:
            raise ValueError(f"k is {k}, and there are {sides.kinds.count} kinds; ask for less")
        count = min(k, len(sides.columns))
        if not count or not len(sides.rows):
            empty = np.empty((len(sides.rows), 0))
            yield Nearest(0, empty.astype(np.int64), empty.astype(np.float32))
            return
        with workers(products.device) as pool:
            yield from Join(sides, products, count, pool, ROUGH if rough else EXACT).bands()

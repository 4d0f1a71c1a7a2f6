"""The nearest of many vectors for each of many vectors: exactly those of exact search, in a fraction of its time.

Blocks of fast products (see `products`) are compared with a threshold for each vector that none of its k nearest can
miss: what k vectors of a sample reach. The block of some vectors with others serves both sides, since the products of
the others with them are the same. What passes is pruned to what may be among the k best of all that passed, and that is
computed exactly, as `ranking.cosines` does.

products    fast products with a bound on their error
candidates  what may be among the nearest, pruned and computed exactly
sides       the vectors that ask and those that answer
scan        the products of some rows with all columns
join        the k nearest of all
pairs       all pairs that are near enough
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.all_pairs.join import Join, Nearest
from vision_recs.engines.all_pairs.pairs import Pairs, pairs_above
from vision_recs.engines.all_pairs.products import Products, rough_scores, workers
from vision_recs.engines.all_pairs.scan import exact_scores
from vision_recs.engines.all_pairs.sides import Place, Sides, place_in, read
from vision_recs.types import Vectors, VectorSource

__all__ = ["AllPairs", "Nearest", "Pairs", "pairs_above"]


class AllPairs:
    """Some vectors of a source that ask, and some that answer.

    In memory are the vectors, in float32 and in a shorter format, once if both sides are the same and twice otherwise.
    Scores are those of `ranking.cosines` to the last bit; or *rough*, made in float32, which takes less time where many
    are needed to choose from, and where two scores that differ by 1e-6 may come in either order.
    """

    def __init__(
        self,
        source: VectorSource,
        asking: NDArray[np.int64],
        answering: NDArray[np.int64],
        *,
        device: str = "auto",
        rough: bool = False,
    ) -> None:
        """Read the vectors of *source* at the positions *asking* and *answering*, each distinct.

        *device* is "cpu", "cuda", "cuda:N", or "auto", which is CUDA where there is one. Raises DegenerateVector for a
        vector that is not of unit length.
        """
        self._source = source
        self._scores = rough_scores if rough else exact_scores
        self._positions = asking, answering
        self._sides = Sides.of(source, asking, answering)
        columns = Products.of(self._sides.columns, device=device)
        same = self._sides.rows is self._sides.columns
        self._products = columns if same else columns.with_rows(self._sides.rows)

    @property
    def kept_as(self) -> str:
        """The format in which products are made: "bfloat16", "float16" or "float32", whichever is the fastest here."""
        return str(self._products.kept_as.dtype).removeprefix("torch.")

    def nearest(self, k: int) -> Iterator[Nearest]:
        """Yield the *k* answering vectors that are nearest to each asking one, all where there are fewer.

        A vector on both sides is found by itself. Results come in the order of the asking vectors, some thousands at a
        time. Raises ValueError for k < 1.
        """
        yield from self._join(self._sides, self._products, k)

    def nearest_to(self, positions: NDArray[np.int64], k: int) -> Iterator[Nearest]:
        """Yield as `nearest` does, but for other asking vectors, which should be few: those at *positions*."""
        sides = self._sides.asked_by(read(self._source, positions))
        yield from self._join(sides, self._products.with_rows(sides.rows), k)

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions*, of which each asks or answers."""
        row, column = (place(positions) for place in self._places)
        if (column >= 0).all():
            return self._sides.columns.take(column, axis=0)
        if (row >= 0).all():
            return self._sides.rows.take(row, axis=0)
        is_row = row >= 0
        found = np.empty((len(positions), self._sides.rows.shape[1]), dtype=np.float32)
        found[is_row] = self._sides.rows[row[is_row]]
        found[~is_row] = self._sides.columns[column[~is_row]]
        return found

    @cached_property
    def _places(self) -> tuple[Place, Place]:
        asking, answering = self._positions
        return place_in(asking), place_in(answering[np.argsort(self._sides.column_of_rank)])

    def _join(self, sides: Sides, products: Products, k: int) -> Iterator[Nearest]:
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 vector")
        count = min(k, len(sides.columns))
        if not count or not len(sides.rows):
            empty = np.empty((len(sides.rows), 0))
            yield Nearest(0, empty.astype(np.int64), empty.astype(np.float32))
            return
        with workers(products.device) as pool:
            yield from Join(sides, products, count, pool, self._scores).bands()

"""Items and an index that know positions: what is near, its scores, and the rows of the items that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import PositionIndex, RoughIndex, Scored
from vision_recs.recommend.retrieve import SubQuery
from vision_recs.store.attributes.lookup import RowLookup
from vision_recs.store.recent_items import KnownItem
from vision_recs.types import FilteredSource, Vectors
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:
    from vision_recs.filters import Filter

_Compare: TypeAlias = Callable[[NDArray[np.int64], Vectors], NDArray[np.float32] | None]
"""`Store.cosines`"""


@runtime_checkable
class RowSource(Protocol):
    """Items with attribute columns: a `Store`, or a cache of one."""

    def lookup(self) -> RowLookup | None:
        """Return the rows of the items by the positions of their vectors; None where there are no columns."""
        ...

    def known(self, items: Sequence[str], rows: Sequence[int] | None = None) -> Mapping[str, KnownItem]:
        """Return what is stored of each of *items*, by id; they are in *rows* of the lookup, where those are given."""
        ...

    def filtered(self, where: Filter) -> FilteredSource:
        """Return what *where* leaves of the items."""
        ...

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors (n, dim) at *positions*."""
        ...

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return the unit vectors (n, dim) of the images with *digests*."""
        ...


class NearestPositions(NamedTuple):
    """*items* and an opened index that know positions, and the rows of the items at these.

    *ahead* has what the index found already, by the number of matches and the bytes of the vector. *rough* is the index
    where it finds what is near without comparing it.
    """

    items: RowSource
    opened: PositionIndex
    lookup: RowLookup
    ahead: Mapping[tuple[int, bytes], Scored] = MappingProxyType({})
    rough: RoughIndex | None = None

    @classmethod
    def of(cls, items: object, index: object) -> NearestPositions | None:
        """Return *items* and *index*, if both know positions, and the items have attribute columns."""
        if not isinstance(items, RowSource) or not isinstance(index, PositionIndex):
            return None
        lookup = items.lookup()
        rough = index if isinstance(index, RoughIndex) else None
        return None if lookup is None else cls(items, index, lookup, rough=rough)

    def nearest(self, vectors: Vectors, k: int, within: FilteredSource | None = None) -> list[Scored]:
        """Return the *k* nearest positions to each of the unit *vectors*, and all whose score equals the k-th."""
        found = self.ahead.get((k, vectors.tobytes())) if self.ahead and within is None else None
        if found is not None:
            return [found]
        return self.opened.nearest(vectors, k, within)

    def near(self, subquery: SubQuery, fetch: int) -> tuple[NDArray[np.int64], float | None] | None:
        """Return positions among which the nearest *fetch* images for each vector of *subquery* are, without scores.

        Beside them is a score that hardly any other image exceeds; None where there is no other. Returns None where the
        index compares all that it finds.
        """
        if self.rough is None:
            return None
        vectors = subquery.vectors
        found = self.rough.near(vectors, fetch)
        positions = found[0].positions
        if len(found) > 1:
            positions = np.unique(np.concatenate([near.positions for near in found]))
        if not all(len(near.lasts) for near in found):
            return positions, None
        lasts = [_high(self._cosines(near.lasts, vectors[row : row + 1])) for row, near in enumerate(found)]
        return positions, lasts[0] if subquery.is_single else subquery.upper_bound(lasts)

    def is_grouped(self, one_per: str | None) -> bool:
        """Whether some items have the attribute *one_per*."""
        return one_per in self.lookup.table.attribute_types

    def joined(self, subquery: SubQuery, found: Sequence[Scored], fetch: int) -> tuple[Scored, float | None]:
        """Return what the nearest *fetch* images *found* for each vector of *subquery* come to, with scores for it.

        Beside them is a score that no other image exceeds; None where there is no other.
        """
        is_all = any(len(scored.positions) < fetch for scored in found)
        lasts = [] if is_all else [float(scored.scores.min()) for scored in found]
        if subquery.is_single:
            return found[0], None if is_all else lasts[0]
        bound = None if is_all else subquery.upper_bound(lasts)
        positions = np.unique(np.concatenate([scored.positions for scored in found]))
        return Scored(positions, subquery.scores(self.items.vectors(positions))), bound

    def scores(self, subquery: SubQuery, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the score of each of *positions* for *subquery*."""
        if subquery.is_single:
            return self._cosines(positions, subquery.vectors)
        return subquery.scores(self.items.vectors(positions))

    def _cosines(self, positions: NDArray[np.int64], query: Vectors) -> NDArray[np.float32]:
        """Return the exact cosine of each of *positions* with *query* (1, dim)."""
        compare: _Compare | None = getattr(self.items, "cosines", None)
        found = None if compare is None else compare(positions[None], query)
        return exact_cosine(self.items.vectors(positions), query[0]) if found is None else found[0]


def _high(scores: NDArray[np.float32]) -> float:
    """Return a score that two thirds of *scores* do not exceed: about that of the k-th nearest image among k and more.

    What is as far as that by its codes is a little farther.
    """
    return float(np.sort(scores)[2 * len(scores) // 3])

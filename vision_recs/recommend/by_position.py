"""The neighborhood of a sub-query as arrays: positions, scores, and the rows of the items that show them.

Rules test and move hundreds of candidates, of which an answer shows ten. Here that is done on arrays, and only what may
be shown is read from the items, in the order of the ranks. What comes out is what a `MatchNeighborhood` gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from operator import and_
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import PositionIndex, unit_queries
from vision_recs.recommend.eligibility import Candidate, Eligibility, place
from vision_recs.recommend.retrieve import Neighborhood, SubQuery
from vision_recs.store.attributes.lookup import RowLookup, Shown
from vision_recs.store.recent_items import KnownItem
from vision_recs.types import FilteredSource, Match, Vectors

if TYPE_CHECKING:
    from vision_recs.filters import Filter

_AHEAD = 12
"""How many times as many images are searched at first as without rules, which leave some of them out."""

_LEAST_GROWTH, _MOST_GROWTH = 1.5, 5.0
"""How many times as far a neighborhood is searched in the next step."""

_ROUNDING = 1e-9
"""By how much a rank may differ when its parts are added up in another way."""

_SPARE = 1.3
"""How many times as many images are fetched as should be enough."""


@runtime_checkable
class RowSource(Protocol):
    """Items with attribute columns: a `Store`, or a cache of one."""

    def lookup(self) -> RowLookup | None:
        """Return the rows of the items by the positions of their vectors; None where there are no columns."""
        ...

    def known(self, items: Sequence[str]) -> Mapping[str, KnownItem]:
        """Return what is stored of each of *items*, by id."""
        ...

    def filtered(self, where: Filter) -> FilteredSource:
        """Return what *where* leaves of the items."""
        ...

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors (n, dim) at *positions*."""
        ...


class NearestPositions(NamedTuple):
    """*items* and an opened index that know positions, and the rows of the items at these."""

    items: RowSource
    opened: PositionIndex
    lookup: RowLookup

    @classmethod
    def of(cls, items: object, index: object) -> NearestPositions | None:
        """Return *items* and *index*, if both know positions, and the items have attribute columns."""
        if not isinstance(items, RowSource) or not isinstance(index, PositionIndex):
            return None
        lookup = items.lookup()
        return None if lookup is None else cls(items, index, lookup)

    def around(self, subquery: SubQuery, where: Filter | None, *, is_sifted: bool) -> Neighborhood:
        """Return the images of items that match *where* around *subquery*.

        Rules leave out or move many of them where it *is_sifted*.
        """
        return PositionNeighborhood(self, subquery, where, ahead=_AHEAD if is_sifted else 1)


class PositionNeighborhood:
    """A `Neighborhood` of the positions that an index finds."""

    is_filtered = True

    def __init__(
        self,
        source: NearestPositions,
        subquery: SubQuery,
        where: Filter | None,
        *,
        ahead: int = 1,
        is_narrow: bool = False,
    ) -> None:
        """Search in *source* for *subquery*, among items that match *where*, the filters included if it *is_narrow*.

        *ahead* times as many images are searched at first as are asked for.
        """
        self.subquery = subquery
        self.is_all = False
        self.bound = np.inf
        self._source, self._where, self._is_narrow = source, where, is_narrow
        self._within = None if where is None else source.items.filtered(where)
        self._queries = unit_queries(subquery.vectors, 1, dim=subquery.vectors.shape[1])
        self._fetch, self._ahead = 0, ahead
        self._positions: NDArray[np.int64] = np.empty(0, np.int64)
        self._scores: NDArray[np.float64] = np.empty(0)
        self._shown = Shown(self._positions, self._positions)
        self._held: dict[Filter, NDArray[np.bool_]] = {}

    @property
    def repeats_images(self) -> bool:
        """Whether it holds the same image, by the bytes, more than once, or an item may show it twice."""
        return len(self._shown.rows) > len(self._positions)

    def reach(self, fetch: int) -> None:
        """Have the nearest *fetch* images of each vector of the sub-query, or more."""
        if self.is_all or fetch <= self._fetch:
            return
        self._fetch = fetch = fetch if self._fetch else self._ahead * fetch
        found = self._source.opened.nearest(self._queries, fetch, self._within)
        self.is_all = any(len(scored.positions) < fetch for scored in found)
        if not self.is_all:
            self.bound = self.subquery.upper_bound([float(scored.scores.min()) for scored in found])
        if self.subquery.is_single:
            positions, scores = found[0]
        else:
            positions = np.unique(np.concatenate([scored.positions for scored in found]))
            scores = self.subquery.scores(self._source.items.vectors(positions))
        self._positions, self._scores = positions, scores.astype(np.float64)
        self._shown = self._source.lookup.rows_at(positions)
        self._held = {}
        if len(self._shown.places) < len(positions):
            raise StoreDamaged("the index names a vector that no item shows; rebuild it with `visrec index`")

    def by_rank(self, eligibility: Eligibility, count: int) -> Iterator[Candidate]:
        """Yield the images that match the filters with the ranks that *eligibility* gives them, the best first.

        They are read from the items as they are needed, *count* at first.
        """
        scores = self._scores[self._shown.places]
        kept = np.ones(len(scores), np.bool_)
        for each in eligibility.filters if self._where is None else (self._where, *eligibility.filters):
            kept &= self._holds(each)
        if eligibility.min_score is not None:
            kept &= scores >= eligibility.min_score
        ranks = scores + self._boosts(eligibility)
        chosen = np.flatnonzero(kept)
        order = chosen[np.argsort(-ranks[chosen])]
        waiting: list[Candidate] = []
        start, step = 0, count + 1
        while start < len(order):
            waiting += self._read(order[start : start + step], eligibility)
            if not _falls(waiting):
                waiting.sort(key=place)
            start, step = start + step, 2 * step
            after = ranks[order[start]] if start < len(order) else -np.inf
            # equal ones come by id, together with those after them
            ready = sum(candidate.rank > after + _ROUNDING for candidate in waiting)
            yield from waiting[:ready]
            del waiting[:ready]

    def further(
        self, eligibility: Eligibility, candidates: Sequence[Candidate], count: int, *, most: int
    ) -> Neighborhood:
        """Return this neighborhood, searched further, or beyond *most* images one of what *eligibility* admits."""
        fetch = self._next_fetch(eligibility, candidates, count)
        if fetch <= most or self._is_narrow or not eligibility.filters:
            self.reach(fetch)
            return self
        where = reduce(and_, eligibility.filters) & self._where
        narrow = PositionNeighborhood(self._source, self.subquery, where, is_narrow=True)
        narrow.reach(_AHEAD * (count + len(self._queries)))
        return narrow

    def _next_fetch(self, eligibility: Eligibility, candidates: Sequence[Candidate], count: int) -> int:
        """Return how many images should be enough, by what was found so far."""
        growth = _MOST_GROWTH
        if len(candidates) < count:
            growth = _SPARE * count / len(candidates) if candidates else growth
        elif self.subquery.is_single and eligibility.rules is not None:
            # scores fall by about as much whenever the neighborhood doubles
            fall = float(np.median(self._scores)) - self.bound
            missing = self.bound - (candidates[-1].rank - eligibility.rules.max_boost)
            growth = 2.0 ** min(_SPARE * missing / fall, 4.0) if fall > 0 else growth
        return round(self._fetch * min(max(growth, _LEAST_GROWTH), _MOST_GROWTH)) + 1

    def _holds(self, where: Filter) -> NDArray[np.bool_]:
        held = self._held.get(where)
        if held is None:
            held = self._held[where] = self._source.lookup.holds(where, self._shown.rows)
        return held

    def _boosts(self, eligibility: Eligibility) -> NDArray[np.float64]:
        """Return what the rules add to each score, added up in the order in which `ActiveRules.effects` has them."""
        total = np.zeros(len(self._shown.rows))
        for boost in () if eligibility.rules is None else eligibility.rules.boosts:
            total[self._holds(boost.where)] += boost.score_delta
        return total

    def _read(self, chosen: NDArray[np.int64], eligibility: Eligibility) -> list[Candidate]:
        """Return the candidates that the *chosen* rows are."""
        places = self._shown.places[chosen]
        ids = self._source.lookup.ids(self._shown.rows[chosen])
        known = self._source.items.known(ids)
        read: list[Candidate] = []
        for item, position, score in zip(
            ids, self._positions[places].tolist(), self._scores[places].tolist(), strict=True
        ):
            found, before = known.get(item), len(read)
            if found is not None:
                eligibility.attributes_of.add(item, found.attributes)
                matches = (
                    Match(item, score, image.image, image.digest)
                    for image in found.images
                    if image.position == position
                )
                read.extend(map(eligibility.moved, matches))
            if len(read) == before:
                raise StoreDamaged(
                    f"the attribute columns say that the item {item!r} shows the vector {position}, but it does not; "
                    "write them again with `visrec index`"
                )
        return read


def _falls(candidates: Sequence[Candidate]) -> bool:
    """Whether each of *candidates* ranks below the one before."""
    return all(one.rank > other.rank for one, other in pairwise(candidates))

"""The neighborhood of a sub-query as arrays: positions, scores, and the rows of the items that show them.

Rules test and move hundreds of candidates, of which an answer shows ten. Here that is done on arrays, and only what may
be shown is compared, and read from the items in the order of the ranks. What comes out is what a `MatchNeighborhood`
gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import compress, pairwise
from operator import and_, attrgetter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Group
from vision_recs.recommend.eligibility import Candidate, CandidateColumns, Eligibility, place, rows_of
from vision_recs.store.attributes.lookup import Shown
from vision_recs.store.recent_items import KnownImage, KnownItem
from vision_recs.types import Match, RuleEffect, Vectors

if TYPE_CHECKING:
    from vision_recs.filters import Filter
    from vision_recs.recommend.by_position import NearestPositions
    from vision_recs.recommend.retrieve import Neighborhood, SubQuery

_AHEAD = 25
"""How many times as many images are searched at first as without rules, which leave some of them out."""

_MOST_AHEAD, _AHEAD_OF_MANY = 400, 6
"""As many images are enough, or so many times those of a large pool, as diversity has: a second search costs less."""

_FITTED = 1.2
"""How many times as many that is where few of them fit, as only these are compared."""

_AHEAD_NARROW = 6
"""The same, where all images match the rules, which only move them."""

_LEAST_GROWTH, _MOST_GROWTH = 2.0, 5.0
"""How many times as far a neighborhood is searched in the next step."""

_ROWS_PER_IMAGE = 110
"""Rows are tested for all that a rule admits in the time in which the index finds, and scores, one image more."""

_LEAST_NARROW = 512
"""Up to so many images are searched before all rows are tested, in however small a store."""

_ROUNDING = 1e-9
"""By how much a rank may differ when its parts are added up in another way."""

_SPARE = 1.5
"""How many times as many images are fetched as should be enough."""


class PositionNeighborhood:
    """A `Neighborhood` of the positions that an index finds."""

    is_filtered = True

    def __init__(  # noqa: PLR0913 - what is searched, for what, and how far
        self,
        source: NearestPositions,
        subquery: SubQuery,
        where: Filter | None,
        *,
        is_sifted: bool = False,
        is_fitted: bool = False,
        is_narrow: bool = False,
    ) -> None:
        """Search in *source* for *subquery*, among items that match *where*, the filters included if it *is_narrow*.

        Where it *is_sifted*, rules leave out or move many of the images: more are searched at first than are asked for.
        Where it *is_fitted*, few of them fit the query, and those alone are compared that the filters leave.
        """
        self.subquery = subquery
        self.is_all = False
        self.bound = np.inf
        self._source, self._where, self._is_narrow = source, where, is_narrow
        self._within = None if where is None else source.items.filtered(where)
        self._vectors = subquery.vectors
        self._fetch, self._is_sifted, self._is_fitted = 0, is_sifted, is_fitted and where is None
        self._positions: NDArray[np.int64] = np.empty(0, np.int64)
        self._scores: NDArray[np.float64] = np.empty(0)  # NaN where an image was not compared yet
        self._shown = Shown(self._positions, self._positions)
        self._held: dict[int, tuple[Filter, NDArray[np.bool_]]] = {}  # by the id of the filter: its hash takes longer

    @property
    def repeats_images(self) -> bool:
        """Whether it holds the same image, by the bytes, more than once, or an item may show it twice."""
        return len(self._shown.rows) > len(self._positions)

    def is_grouped(self, one_per: str | None) -> bool:
        """Whether some items have the attribute *one_per*."""
        return self._source.is_grouped(one_per)

    def reach(self, fetch: int) -> None:
        """Have the nearest *fetch* images of each vector of the sub-query, or more."""
        if self.is_all or fetch <= self._fetch:
            return
        if self._is_sifted and not self._fetch:
            fetch = min(_AHEAD * fetch, max(_MOST_AHEAD, _AHEAD_OF_MANY * fetch))
            fetch = round(_FITTED * fetch) if self._is_fitted else fetch
        self._fetch = fetch
        near = self._source.near(self.subquery, fetch) if self._is_fitted else None
        if near is None:
            found = self._source.nearest(self._vectors, fetch, self._within)
            (self._positions, scores), bound = self._source.joined(self.subquery, found, fetch)
            self._scores = scores.astype(np.float64)
        else:
            self._positions, bound = near
            self._scores = np.full(len(self._positions), np.nan)
        self.is_all = bound is None
        self.bound = self.bound if bound is None else bound
        self._shown = self._source.lookup.rows_at(self._positions)
        self._held = {}
        if len(self._shown.places) < len(self._positions):
            raise StoreDamaged("the index names a vector that no item shows; rebuild it with `visrec index`")

    def by_rank(self, eligibility: Eligibility, count: int) -> Iterator[Candidate]:
        """Yield the images that match the filters with the ranks that *eligibility* gives them, the best first.

        They are read from the items as they are needed, *count* at first.
        """
        order, ranks = self._ordered(eligibility)
        waiting: list[Candidate] = []
        start, step = 0, count + 1
        while start < len(order):
            waiting += self._read(order[start : start + step], eligibility)
            if not _falls(waiting):
                waiting.sort(key=place)
            start, step = start + step, 2 * step
            after = ranks[start] if start < len(order) else -np.inf
            # equal ones come by id, together with those after them
            ready = sum(candidate.rank > after + _ROUNDING for candidate in waiting)
            yield from waiting[:ready]
            del waiting[:ready]

    def candidates(self, eligibility: Eligibility, count: int) -> Sequence[Candidate]:
        """Return what `Eligibility.candidates` finds here, where nothing but ids and groups is needed to choose them.

        The images of items are read to tell equal ones apart, and to show each image once.
        """
        if eligibility.seen.images_once and self.repeats_images:
            return eligibility.candidates(self, count)
        order, ranks = self._ordered(eligibility)
        items, groups = eligibility.seen.items.copy(), eligibility.seen.groups.copy()
        kept: list[int] = []
        ids: list[str] = []
        own: list[Group | None] = []
        start, step = 0, count + len(items)
        while start < len(order) and len(kept) < count:
            some, falling = order[start : start + step], ranks[start : start + step + 1].tolist()
            if any(other - one >= -_ROUNDING for one, other in pairwise(falling)):
                return eligibility.candidates(self, count)
            rows = self._shown.rows[some]
            of_rows = [None] * len(rows) if eligibility.one_per is None else self._groups(eligibility.one_per, rows)
            for number, item, group in zip(some.tolist(), self._source.lookup.ids(rows), of_rows, strict=True):
                if item in items or (group in groups and not eligibility.with_variants):
                    continue
                items.add(item)
                if group is not None:
                    groups.add(group)
                kept.append(number)
                ids.append(item)
                own.append(group)
                if len(kept) == count:
                    break
            start, step = start + step, 2 * step
        places = self._shown.places[kept]
        scores, positions = self._scores[places].tolist(), self._positions[places].tolist()
        rows = self._shown.rows[kept].tolist()
        return CandidateColumns(ids, scores, positions, own, self._effects(kept, eligibility), rows)

    def read(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return *candidates* with all that is known of their matches."""
        row_of = rows_of(candidates)
        known = self._source.items.known(list(row_of), list(row_of.values()))
        found = []
        for each in candidates:
            (item, score, *_), rank, group, effects, position, _ = each
            if position is None:
                found.append(each)
                continue
            images = _images_at(position, item, known)
            image = images[0] if len(images) == 1 else min(images, key=attrgetter("image"))
            attributes = {**known[item].attributes, **image.attributes}
            match = Match(item, score, image.image, image.digest, attributes)
            found.append(Candidate(match, rank, group, effects))
        return found

    def vectors(self, candidates: Sequence[Candidate]) -> Vectors:
        """Return the vectors of the images of *candidates* (n, dim)."""
        if isinstance(candidates, CandidateColumns):
            return self._source.items.vectors(np.array(candidates.positions, np.int64))
        positions = [each.position for each in candidates]
        if None in positions:
            return self._source.items.vectors_of([each.match.digest for each in candidates])
        return self._source.items.vectors(np.array(positions, np.int64))

    def _ordered(self, eligibility: Eligibility) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the numbers of the rows that match the filters, the best rank first, and their ranks."""
        filters = list(eligibility.filters)
        if self._where is not None and self.repeats_images:  # of items that show one image, some may not match
            filters.append(self._where)
        chosen = np.arange(len(self._shown.rows))
        if filters:
            chosen = np.flatnonzero(reduce(np.logical_and, map(self._holds, filters)))
        scores = self._scored(self._shown.places[chosen])
        least = -np.inf if self.is_all else self.bound
        if eligibility.min_score is not None:
            least = max(least, eligibility.min_score)
        kept = scores >= least
        chosen, ranks = chosen[kept], scores[kept]
        if eligibility.rules is not None and eligibility.rules.boosts:
            ranks = ranks + self._boosts(eligibility)[chosen]
        order = (-ranks).argsort()
        return chosen[order], ranks[order]

    def _scored(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of the images at *places*, of which those that are not known are compared now."""
        scores = self._scores[places]
        missing = np.isnan(scores)
        if missing.any():
            new = places[missing]
            scores[missing] = self._scores[new] = self._source.scores(self.subquery, self._positions[new])
        return scores

    def further(
        self, eligibility: Eligibility, candidates: Sequence[Candidate], count: int, *, most: int
    ) -> Neighborhood:
        """Return this neighborhood, searched further, or beyond *most* images one of what *eligibility* admits."""
        fetch = self._next_fetch(eligibility, candidates, count)
        most = min(most, max(_LEAST_NARROW, len(self._source.lookup.table.alive) // _ROWS_PER_IMAGE))
        if fetch <= most or self._is_narrow or not eligibility.filters:
            self.reach(fetch)
            return self
        where = reduce(and_, eligibility.filters) & self._where
        narrow = PositionNeighborhood(self._source, self.subquery, where, is_narrow=True)
        narrow.reach(_AHEAD_NARROW * (count + len(self._vectors)))
        return narrow

    def _next_fetch(self, eligibility: Eligibility, candidates: Sequence[Candidate], count: int) -> int:
        """Return how many images should be enough, by what was found so far."""
        growth = _MOST_GROWTH
        if len(candidates) < count:
            growth = _SPARE * count / len(candidates) if candidates else growth
        elif self.subquery.is_single and eligibility.rules is not None:
            # scores fall by about as much whenever the neighborhood doubles
            known = self._scores[self._scores >= self.bound]
            fall = float(np.median(known)) - self.bound
            missing = self.bound - (candidates[-1].rank - eligibility.max_boost)
            growth = 2.0 ** min(_SPARE * missing / fall, 4.0) if fall > 0 else growth
        return round(self._fetch * min(max(growth, _LEAST_GROWTH), _MOST_GROWTH)) + 1

    def _holds(self, where: Filter) -> NDArray[np.bool_]:
        known = self._held.get(id(where))
        if known is None:
            known = self._held[id(where)] = where, self._source.lookup.holds(where, self._shown.rows)
        return known[1]

    def _boosts(self, eligibility: Eligibility) -> NDArray[np.float64]:
        """Return what the rules add to each score, added up in the order in which `ActiveRules.effects` has them."""
        total = np.zeros(len(self._shown.rows))
        for boost in () if eligibility.rules is None else eligibility.rules.boosts:
            total[self._holds(boost.where)] += boost.score_delta
        return total

    def _effects(self, chosen: list[int], eligibility: Eligibility) -> list[tuple[RuleEffect, ...]]:
        """Return what `ActiveRules.effects` returns for each of the *chosen* rows."""
        boosts = () if eligibility.rules is None else eligibility.rules.boosts
        if not boosts:
            return [()] * len(chosen)
        effects = [RuleEffect(boost.name, score_delta=boost.score_delta) for boost in boosts]
        held = zip(*(self._holds(boost.where)[chosen].tolist() for boost in boosts), strict=True)
        return [tuple(compress(effects, each)) for each in held]

    def _groups(self, name: str, rows: NDArray[np.int64]) -> list[Group | None]:
        """Return the group of the item of each of *rows*, see `group_of`, by the attribute *name*."""
        values = self._source.lookup.values(name, rows)
        return [None if value is None else (isinstance(value, bool), value) for value in values]

    def _read(self, chosen: NDArray[np.int64], eligibility: Eligibility) -> list[Candidate]:
        """Return the candidates that the *chosen* rows are."""
        places = self._shown.places[chosen]
        rows = self._shown.rows[chosen]
        ids = self._source.lookup.ids(rows)
        known = self._source.items.known(ids, rows.tolist())
        read: list[Candidate] = []
        pairs = zip(ids, self._positions[places].tolist(), self._scores[places].tolist(), strict=True)
        for item, position, score in pairs:
            images = _images_at(position, item, known)
            eligibility.attributes_of.add(item, known[item].attributes)
            read.extend(eligibility.moved(Match(item, score, image.image, image.digest)) for image in images)
        return read


def _falls(candidates: Sequence[Candidate]) -> bool:
    """Whether each of *candidates* ranks below the one before."""
    return all(one.rank > other.rank for one, other in pairwise(candidates))


def _images_at(position: int, item: str, known: Mapping[str, KnownItem]) -> list[KnownImage]:
    """Return the images of *item* with the vector at *position*, one at least."""
    found = known.get(item)
    images = [] if found is None else [each for each in found.images if each.position == position]
    if not images:
        raise StoreDamaged(
            f"the attribute columns say that the item {item!r} shows the vector {position}, but it does not; "
            "write them again with `visrec index`"
        )
    return images

"""An index that lags behind its generation: some vectors came since it was made, and some that it holds went.

What came is compared directly, beside the search of the index; what went is dropped from what the index finds. So the
answers are those of an index that was made anew, for an index of any type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import (
    LASTS,
    Near,
    PositionIndex,
    RoughIndex,
    Scored,
    SharedFiles,
    allowed,
    is_marked,
    search_by_position,
    top_k_with_ties,
    unit_queries,
)
from vision_recs.types import (
    Attribute,
    FilteredSource,
    Match,
    Row,
    SearchRequest,
    VectorIndex,
    Vectors,
    VectorSource,
)
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:  # a query of an index that does not lag needs neither
    from vision_recs.filters import Filter
    from vision_recs.store.layout import IndexPending, Ranges
    from vision_recs.store.vectors import OpenShards

_GONE = Row("", "", "")
"""Shows a vector that is in the index and not in use; no image of the store has an empty name."""

_QUERIES_AT_ONCE = 1_024


def lagging_index(
    open_index: Callable[[VectorSource], VectorIndex], source: VectorSource, pending: IndexPending, *, made_from: int
) -> LaggingIndex:
    """Return an index by what *open_index* opens, which was made from the generation *made_from*, for *source*.

    *pending* is how the two differ; the index is given a source that is as the index is. What is returned finds
    positions, and what is near, where the index does.
    """
    added, removed = _positions(pending.added), _positions(pending.removed)
    index = open_index(_AsIndexed(source, added, removed, made_from))
    if not isinstance(index, PositionIndex):
        return LaggingIndex(index, source, added, removed)
    kind = _LaggingRoughIndex if isinstance(index, RoughIndex) else _LaggingPositionIndex
    return kind(index, source, added, removed)


class LaggingIndex:
    """A `VectorIndex` by an index of an earlier generation, and by what was added and removed since."""

    def __init__(
        self, index: VectorIndex, source: VectorSource, added: NDArray[np.int64], removed: NDArray[np.int64]
    ) -> None:
        """Search *index*, without the positions *removed*, and what was *added*, for the present *source*."""
        self._source = source
        self._added, self._removed = added, removed
        self._index = index
        self._is_pending = _mask(np.concatenate([added, removed]))
        self._vectors: Vectors | None = None
        # two sums of dim products in float32 whose exact scores are equal are closer than that
        self._tolerance = np.float32(source.dim * 2.0**-22)

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that are searched."""
        return self._source.fingerprint, self._source.generation

    def with_source(self, source: VectorSource) -> VectorIndex | None:
        """Return the index of the earlier generation over *source*, which is as it is; None if its files do not allow.

        See `base.SharedFiles`.
        """
        return self._index.with_source(source) if isinstance(self._index, SharedFiles) else None

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`."""
        found = self._search_index(request)
        for start in range(0, len(found) if len(self._added) else 0, _QUERIES_AT_ONCE):
            some = slice(start, start + _QUERIES_AT_ONCE)
            found[some] = self._with_added(replace(request, vectors=request.vectors[some]), found[some])
        return found

    def _with_nearest(
        self, found: Scored, positions: NDArray[np.int64], vectors: Vectors, query: Vectors, k: int
    ) -> Scored:
        """Return the *k* best of *found* and of *positions*, which have *vectors*; what cannot be one is not scored."""
        if len(found.scores) >= k:
            may_enter = vectors @ query >= np.partition(found.scores, -k)[-k] - self._tolerance
            positions, vectors = positions[may_enter], vectors[may_enter]
        return top_k_with_ties(_joined(found, Scored(positions, exact_cosine(vectors, query))), k)

    def _without_pending(self, scored: Scored) -> Scored:
        """Return *scored* without what was removed or added; a filter lets some indexes find what was added."""
        pending = is_marked(self._is_pending, scored.positions)
        return Scored(scored.positions[~pending], scored.scores[~pending]) if pending.any() else scored

    def _search_index(self, request: SearchRequest) -> list[list[Match]]:
        """Return the matches that the index finds and that are still there."""
        found = self._index.search(request)
        if not len(self._removed) or request.where is not None:  # a filter leaves nothing that is gone
            return found
        results: list[list[Match]] = [[] for _ in found]
        wanting, count = list(range(len(found))), request.k
        while True:
            incomplete = []
            for number, matches in zip(wanting, found, strict=True):
                results[number] = [match for match in matches if match.image != _GONE.image][: request.k]
                if len(results[number]) < request.k and len(matches) == count:
                    incomplete.append(number)
            if not incomplete:
                return results
            wanting, count = incomplete, 4 * count
            found = self._index.search(replace(request, vectors=request.vectors[wanting], k=count))

    def _with_added(self, request: SearchRequest, found: list[list[Match]]) -> list[list[Match]]:
        """Return *found* with the images of added vectors that belong among them."""
        positions, vectors = self._added_within(None if request.where is None else self._source.filtered(request.where))
        queries = unit_queries(request.vectors, request.k, dim=self._source.dim)
        lowest = [matches[-1].score if len(matches) == request.k else -2.0 for matches in found]
        may_enter = queries @ vectors.T >= (np.array(lowest, np.float32) - self._tolerance)[:, None]
        for number in np.flatnonzero(may_enter.any(axis=1)).tolist():
            own = may_enter[number]
            one = replace(request, vectors=request.vectors[number : number + 1])
            (added,) = search_by_position(self._source, one, _nearest_of(positions[own], vectors[own]))
            found[number] = self._merged(request, found[number], added)
        return found

    def _merged(self, request: SearchRequest, found: Sequence[Match], added: Sequence[Match]) -> list[Match]:
        """Return the best `request.k` of *found* and *added*; a filter lets some indexes find what was added, too."""
        every = {(match.id, match.image, match.score): match for match in (*found, *added)}.values()
        return allowed(sorted(every, key=lambda match: (-match.score, match.id, match.image)), self._source, request)

    def _added_within(self, within: FilteredSource | None) -> tuple[NDArray[np.int64], Vectors]:
        """Return the added positions *within* what a filter leaves, and their vectors, which are read once."""
        if self._vectors is None:
            self._vectors = self._source.vectors(self._added)
        if within is None:
            return self._added, self._vectors
        kept = is_marked(within.mask(), self._added)
        return self._added[kept], self._vectors[kept]


class _LaggingPositionIndex(LaggingIndex):
    """One that is a PositionIndex, by an index that is one."""

    def nearest(self, queries: Vectors, k: int, within: FilteredSource | None = None) -> list[Scored]:
        """Return the *k* nearest positions to each unit query, and all whose score equals the k-th."""
        index = cast("PositionIndex", self._index)
        positions, vectors = self._added_within(within)
        found, count = index.nearest(queries, k, within), k
        left = [self._without_pending(scored) for scored in found]
        while any(
            len(own.positions) < k and len(all_.positions) >= count for own, all_ in zip(left, found, strict=True)
        ):
            count *= 4
            found = index.nearest(queries, count, within)
            left = [self._without_pending(scored) for scored in found]
        return [self._with_nearest(own, positions, vectors, query, k) for own, query in zip(left, queries, strict=True)]


class _LaggingRoughIndex(_LaggingPositionIndex):
    """One that is a RoughIndex, too, by an index that is one."""

    def near(self, queries: Vectors, k: int) -> list[Near]:
        """Return what may be among the *k* nearest positions to each query, and all that was added."""
        index = cast("RoughIndex", self._index)
        count, found = k, index.near(queries, k)
        while True:
            left = [own.positions[~is_marked(self._is_pending, own.positions)] for own in found]
            if all(len(own) >= k or not len(near.lasts) for own, near in zip(left, found, strict=True)):
                return [Near(np.concatenate([own, self._added]), own[k - 1 :][:LASTS]) for own in left]
            count *= 4
            found = index.near(queries, count)


class _AsIndexed:
    """A source as an index has it: with the vectors that are gone, and without those that were added.

    A vector that is gone may be in no shard any more. It is zeros here, so that it is like no query, and `_GONE` shows
    it.
    """

    def __init__(
        self, source: VectorSource, added: NDArray[np.int64], removed: NDArray[np.int64], generation: int
    ) -> None:
        self._source = source
        self._added, self._removed = added, removed
        self._is_gone = _mask(removed)
        self.fingerprint, self.dim, self.generation = source.fingerprint, source.dim, generation

    def positions(self) -> NDArray[np.int64]:
        return np.sort(np.concatenate([np.setdiff1d(self._source.positions(), self._added), self._removed]))

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        gone = is_marked(self._is_gone, positions)
        if not gone.any():
            return self._source.vectors(positions)
        vectors = np.zeros((len(positions), self.dim), np.float32)
        vectors[~gone] = self._source.vectors(positions[~gone])
        return vectors

    def cosines(self, positions: NDArray[np.int64], queries: Vectors) -> NDArray[np.float32] | None:
        compare = getattr(self._source, "cosines", None)
        if compare is None or positions.min(initial=0) < 0 or is_marked(self._is_gone, positions).any():
            return None
        found: NDArray[np.float32] | None = compare(positions, queries)
        return found

    def open_shards(self) -> OpenShards | None:
        opened = None if len(self._removed) else getattr(self._source, "open_shards", None)
        return None if opened is None else opened()

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        end = len(self._is_gone)
        gone = {position: [_GONE] for position in positions if 0 <= position < end and self._is_gone[position]}
        if not gone:
            return self._source.rows(positions, limit=limit)
        left = [position for position in positions if position not in gone]
        every = self._source.rows(left, limit=limit) | gone
        return {position: every[position] for position in positions if position in every}

    def filtered(self, where: Filter) -> FilteredSource:
        return self._source.filtered(where)

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        return self._source.attributes_of(items)


def _joined(one: Scored, other: Scored) -> Scored:
    positions = np.concatenate([one.positions, other.positions])
    return Scored(positions, np.concatenate([one.scores, other.scores]))


def _nearest_of(positions: NDArray[np.int64], vectors: Vectors) -> Callable[..., list[Scored]]:
    """Return a function that finds the nearest of *positions*, which have *vectors*, by comparing with all."""

    def nearest(queries: Vectors, k: int, _: FilteredSource | None) -> list[Scored]:
        return [top_k_with_ties(Scored(positions, exact_cosine(vectors, query)), k) for query in queries]

    return nearest


def _positions(ranges: Ranges) -> NDArray[np.int64]:
    return np.concatenate([np.arange(0), *(np.arange(first, stop) for first, stop in ranges)]).astype(np.int64)


def _mask(positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(positions.max(initial=-1) + 1, np.bool_)
    mask[positions] = True
    return mask

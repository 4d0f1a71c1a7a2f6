"""Approximate search: a candidate source proposes positions quickly, and the vectors of the store decide.

`ApproximateSearch` finds candidates as its `SearchProfile` says and rescores them: the scores are those of exact
search. Where a filter leaves few vectors, it scores all of them. `ApproximateIndex` turns positions into images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.base import LASTS, NOTHING, Near, Scored, search_by_position, top_k_with_ties
from vision_recs.indexes.config import SearchProfile
from vision_recs.indexes.faiss_files import threads
from vision_recs.types import Match, PositionSubset, SearchRequest, VectorReader, Vectors, VectorSource
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:
    from vision_recs.store.vectors import OpenShards

_QUERIES_AT_ONCE = 64  # of more, cores would wait for the last ones
_NUMBERS_AT_ONCE = 1 << 20  # of vectors in memory
_FAR = 4  # times as many candidates are rescored where all that a filter leaves is far away, and alike
_LEAST_IF_FAR = 32  # times k candidates are then rescored
_MOST_SCORED = 30_000  # vectors are all scored where codes do not say which of them are the nearest
_READS = 4  # vectors are read in a row in the time of one that is read from somewhere
_FILTERED_K = 10  # matches for which the effort under a filter was measured
_READ_AT_ONCE = 1 << 24  # numbers of vectors in memory during a scan
_FEW = 64  # vectors: of fewer, finding out which can be among the best takes as long as scoring them
_MOST_IN_PLACE = 8_192  # candidates: in C they are sorted by insertion, the square of many takes too long
_CACHED_FILTERS = 8
_MET, _MOST_MET = 3, 4_096  # vectors that a walk finds for each that it visits nearly as well as if it had visited them
_KNOWN = 256  # numbers of matches, and shares that filters leave, whose search effort is kept

LARGEST_FACTOR = 64
"""Times k: more candidates than these are not rescored under a filter; scoring all vectors takes no longer."""

SPARSE = 0.5
"""Times what a random filter leaves around a query: where a filter leaves less, the answers are far away."""

SCAN = 0
"""The search effort that stands for comparing with the codes of all vectors that a filter leaves."""

T = TypeVar("T")


class CandidateSource(Protocol):
    """What proposes candidates quickly: a graph, inverted lists, or any other index over codes."""

    @property
    def largest_effort(self) -> int:
        """The search effort with which it does all that it can."""
        ...

    @property
    def most_scanned_if_far(self) -> int:
        """Up to how many vectors are better scanned where a filter leaves only vectors far from the query."""
        ...

    def cost(self, search_effort: int, num_candidates: int) -> float:
        """Return about how many bytes a query reads."""
        ...

    def prefers_scan(self, count: int, search_effort: int | None) -> bool:
        """Return whether it knows the effort SCAN, and a scan of *count* vectors reads less than *search_effort* does.

        None stands for an endless effort.
        """
        ...

    def density(self, queries: Vectors, within: PositionSubset) -> float:
        """Return how many times as much *within* has around the query as a random filter of its size would leave.

        Of several *queries* it is the least, and 0 where too little is around them to tell.
        """
        ...

    def candidates(
        self, queries: Vectors, count: int, search_effort: int, within: PositionSubset | None = None
    ) -> NDArray[np.int64]:
        """Return the positions (n, *count*) of candidates for unit *queries* (n, dim), -1 where there are no more."""
        ...


class Compared(NamedTuple):
    """The best of some candidates for each query, and up to which place, by their codes, they come from."""

    scored: list[Scored]
    depth: int


TOO_FAR = Compared([], 0)
"""In the place of an answer: what a filter leaves is too far from the query for the walk that was made."""

_NearestInPlace = Callable[..., Compared | None]
"""`FaissCandidates.nearest` or `nearest_if_dense`, which find candidates and compare them in one step."""


class ApproximateSearch:
    """Finds the nearest positions: candidates first, then their exact scores."""

    def __init__(self, source: VectorReader, candidates: CandidateSource, profile: SearchProfile, *, size: int) -> None:
        """Search the *size* vectors of *source* by *candidates*, as *profile* says."""
        self.candidates = candidates
        self._nearest_in_place: _NearestInPlace | None = getattr(candidates, "nearest", None)
        self._nearest_if_dense: _NearestInPlace | None = getattr(candidates, "nearest_if_dense", None)
        self._open_shards: Callable[[], OpenShards | None] = getattr(source, "open_shards", lambda: None)
        self._size = size
        self._source = source
        self._profile = profile
        self._known: dict[int, tuple[int, int]] = {}
        self._filtered_effort = lru_cache(_KNOWN)(profile.filtered_effort)

    def with_profile(self, profile: SearchProfile) -> ApproximateSearch:
        """Return the same search, done as *profile* says."""
        return ApproximateSearch(self._source, self.candidates, profile, size=self._size)

    def with_source(self, source: VectorReader) -> ApproximateSearch:
        """Return the same search over *source*, which has the same vectors."""
        return ApproximateSearch(source, self.candidates, self._profile, size=self._size)

    def nearest(
        self, queries: Vectors, k: int, within: PositionSubset | None = None, *, depth: int | None = None
    ) -> list[Scored]:
        """Return the *k* nearest positions to each unit query, the best first, and all whose score equals the k-th.

        With *depth*, the search effort is that for *depth* matches.
        """
        if not len(queries):  # around which nothing can be measured
            return []
        effort, count = self._looked_at(depth or k)
        count = max(k, count)
        if within is None:
            return self._in_blocks(queries, k, count, effort, None)
        is_few = within.count() <= max(k, self._profile.rows_per_query)
        found = None if is_few else self._filtered(queries, k, count, effort, within)
        if found is None:
            return [best_first(each) for each in scan(self._source, within.positions(), queries, k)]
        return found

    def _in_blocks(
        self, queries: Vectors, k: int, count: int, effort: int, within: PositionSubset | None
    ) -> list[Scored]:
        """Return what `_search` does, for some queries at once, on all cores."""
        step = max(1, min(_QUERIES_AT_ONCE, _NUMBERS_AT_ONCE // (count * self._source.dim)))
        if len(queries) <= step:
            return self._search(queries, k, count, effort, within)

        def search(start: int) -> list[Scored]:
            return self._search(queries[start : start + step], k, count, effort, within)

        return on_all_cores(search, range(0, len(queries), step))

    def near(self, queries: Vectors, k: int) -> list[Near]:
        """Return what may be among the *k* nearest positions to each unit query, no vector of which is compared."""
        effort, count = self._looked_at(k)
        count = max(k, count, min(_MET * effort, _MOST_MET))
        if count >= self._size:  # candidates are all there are, in no order
            return [Near(each.positions, each.positions[k - 1 :]) for each in self.nearest(queries, k)]
        found = [own[own >= 0] for own in self.candidates.candidates(queries, count, effort)]
        return [Near(own, own[k - 1 :][:LASTS]) for own in found]

    def _looked_at(self, k: int) -> tuple[int, int]:
        """Return the search effort for *k* matches, and how many candidates are scored."""
        known = self._known.get(k)
        if known is None:
            params = self._profile.params_for(k)
            known = min(params.search_effort, self.candidates.largest_effort), params.num_candidates
            if len(self._known) < _KNOWN:
                self._known[k] = known
        return known

    def _search(self, queries: Vectors, k: int, count: int, effort: int, within: PositionSubset | None) -> list[Scored]:
        """Return what `nearest` does, by *count* candidates that are found with *effort*."""
        compared = self._compared(queries, k, count, effort, within)
        if compared is None:
            found = self.candidates.candidates(queries, count, effort, within)
            scores = cosines_of(self._source, queries, found)
            best = [best_first(each) for each in _best_of(found, scores, k)]
            compared = Compared(best, _depth(scores, k) if effort == SCAN else count)
        if effort == SCAN and _are_spread(compared.depth, count, k):
            return self._search(queries, k, _many(count, k), SCAN, within)
        return compared.scored

    def _compared(
        self, queries: Vectors, k: int, count: int, effort: int, within: PositionSubset | None
    ) -> Compared | None:
        """Return the *k* best of *count* candidates, where they are found and compared in one step."""
        mapped = self._open_shards()
        if mapped is None or self._nearest_in_place is None or count > _MOST_IN_PLACE:
            return None
        return self._nearest_in_place(mapped.shards, queries, k, count, effort, within)

    def _filtered(
        self, queries: Vectors, k: int, count: int, effort: int, within: PositionSubset
    ) -> list[Scored] | None:
        """Return the *k* nearest positions within *within*, for which *effort* and *count* are enough without it.

        None says that all vectors of *within* are to be scored.
        """
        left, measured = within.count(), self._profile.filtered_factor
        factor = measured or LARGEST_FACTOR
        few = max(count, factor * k)
        if left <= max(_READS * factor * k, 0 if measured else _MOST_SCORED):
            return None
        enough = self._filtered_effort(left / max(1, self._size))
        if self.candidates.prefers_scan(left, enough):
            return self._in_blocks(queries, k, few, SCAN, within)
        if enough is None:
            return None
        # more matches need as many times as much as they do without a filter
        needed = enough * max(1.0, effort / self._looked_at(_FILTERED_K)[0])
        compared = self._compared_if_dense(queries, k, few, needed, within)
        if compared is not None and compared is not TOO_FAR:
            return compared.scored
        density = 0.0 if compared is TOO_FAR else self.candidates.density(queries, within)
        if density >= SPARSE:  # as much further has to be looked as there is less around the query
            return self._in_blocks(queries, k, few, self._at_most(needed / min(density, 1.0)), within)
        return self._far_away(queries, k, max(count, _many(factor * k, k)), needed / SPARSE, within)

    def _far_away(
        self, queries: Vectors, k: int, count: int, effort: float, within: PositionSubset
    ) -> list[Scored] | None:
        """Return what `_filtered` does where *within* leaves little around the query, by *count* candidates."""
        if self.candidates.prefers_scan(within.count(), None):
            return self._in_blocks(queries, k, count, SCAN, within)
        if within.count() <= self.candidates.most_scanned_if_far:
            return None
        return self._in_blocks(queries, k, count, self._at_most(effort), within)

    def _at_most(self, effort: float) -> int:
        """Return the search effort of *effort*, or the largest there is."""
        return min(ceil(effort), self.candidates.largest_effort)

    def _compared_if_dense(
        self, queries: Vectors, k: int, count: int, needed: float, within: PositionSubset
    ) -> Compared | None:
        """Return what `_compared` does for a single query, where its walk finds how dense *within* is around it."""
        mapped = self._open_shards()
        if mapped is None or self._nearest_if_dense is None or count > _MOST_IN_PLACE or len(queries) > 1:
            return None
        return self._nearest_if_dense(mapped.shards, queries, k, count, needed, within)


class ApproximateIndex:
    """A `VectorIndex` by an approximate search."""

    def __init__(self, source: VectorSource, search: ApproximateSearch) -> None:
        """Answer with the images of *source* at the positions that *search* finds."""
        self._source = source
        self.approximate = search

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        return self._source.fingerprint, self._source.generation

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`."""
        return search_by_position(self._source, request, self.approximate.nearest)

    def nearest(self, queries: Vectors, k: int, within: PositionSubset | None = None) -> list[Scored]:
        """Return the *k* nearest positions to each unit query, and all whose score equals the k-th."""
        return self.approximate.nearest(queries, k, within)

    def near(self, queries: Vectors, k: int) -> list[Near]:
        """Return what may be among the *k* nearest positions to each unit query: see `RoughIndex`."""
        return self.approximate.near(queries, k)

    def with_source(self, source: VectorSource) -> ApproximateIndex:
        """Return the same index over *source*, of a generation with the same vectors; both use the same open files."""
        return ApproximateIndex(source, self.approximate.with_source(source))


class FilterCache(Generic[T]):
    """Keeps what was computed for the last filters. A filter is known by its mask, which has to be the same object.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._cached: dict[int, tuple[NDArray[np.bool_], T]] = {}
        self._lock = threading.Lock()

    def __contains__(self, mask: NDArray[np.bool_]) -> bool:
        """Whether something is kept for *mask*."""
        return id(mask) in self._cached

    def get(self, mask: NDArray[np.bool_], compute: Callable[[NDArray[np.bool_]], T]) -> T:
        """Return what *compute* returns for *mask*, which must not change."""
        known = self._cached.get(id(mask))
        if known is None:
            known = mask, compute(mask)  # the mask is kept, too, so that no other one gets its id
            with self._lock:
                while len(self._cached) >= _CACHED_FILTERS:
                    self._cached.pop(next(iter(self._cached)))
                self._cached[id(mask)] = known
        return known[1]


def _many(count: int, k: int) -> int:
    """Return how many candidates are scored in the place of *count* where codes do not tell which are the *k* best."""
    return max(_FAR * count, _LEAST_IF_FAR * k)


def _are_spread(depth: int, count: int, k: int) -> bool:
    """Return whether the *k* best of *count*, which reach to *depth* by their codes, reach to the last quarter.

    Then others may be among those that codes put behind, as where all that a filter leaves is far away, and alike. Of
    fewer than four, all are last ones.
    """
    return k < count < _LEAST_IF_FAR * k and depth > count - (count // 4 or count)


def _depth(scores: NDArray[np.float32], k: int) -> int:
    """Return the place, from 1, of the last of the *k* best exact *scores* of each row (n, m); the last of all rows."""
    count: int = scores.shape[1]
    if count <= k:
        return count
    are_best = scores >= np.partition(scores, -k, axis=1)[:, -k, None]
    return int(np.flatnonzero(are_best.any(axis=0)).max(initial=-1)) + 1


def _best_of(candidates: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[Scored]:
    """Return the *k* best of *candidates* (n, m) for each query, and all whose exact score equals the k-th.

    *candidates* are positions, each at most once for a query; negative numbers stand for nothing.
    """
    if len(candidates) == 1:
        found = Scored(candidates[0], scores[0])
        if candidates.min(initial=0) < 0:
            keep = candidates[0] >= 0
            found = Scored(found.positions[keep], found.scores[keep])
        return [top_k_with_ties(found, k)]
    keep = candidates >= 0
    if not keep.any():
        return [NOTHING for _ in candidates]
    if candidates.shape[1] > k:
        keep &= scores >= np.partition(scores, -k, axis=1)[:, -k, None]
    ends = np.cumsum(keep.sum(axis=1))[:-1]
    parts = zip(np.split(candidates[keep], ends), np.split(scores[keep], ends), strict=True)
    return [Scored(*part) for part in parts]


def best_first(scored: Scored) -> Scored:
    """Return *scored* by descending score."""
    order = np.argsort(-scored.scores, kind="stable")
    return Scored(scored.positions[order], scored.scores[order])


def cosines_of(source: VectorReader, queries: Vectors, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the exact scores (n, m) of *candidates* (n, m), for each query its own; -2 for what stands for nothing."""
    found = _compared_in_place(source, queries, candidates)
    if found is not None:
        return found
    keep = candidates >= 0
    if not keep.any():
        return np.full(candidates.shape, -2, np.float32)
    every = np.where(keep, candidates, candidates.max())
    vectors = source.vectors(every.ravel()).reshape(*candidates.shape, source.dim)
    scores = exact_cosine(vectors, queries[:, None, :])
    scores[~keep] = -2
    return scores


def _compared_in_place(
    source: VectorReader, queries: Vectors, candidates: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Return what `cosines_of` does where *source* compares its vectors without a copy, as `Store.cosines` does."""
    compare: Callable[..., NDArray[np.float32] | None] | None = getattr(source, "cosines", None)
    return None if compare is None else compare(candidates, queries)


def scan(source: VectorReader, positions: NDArray[np.int64], queries: Vectors, k: int) -> list[Scored]:
    """Return the *k* best of *positions* for each query, and all that equal the k-th, by comparing with all of them."""
    scores = _compared_in_place(source, queries, positions[None]) if len(queries) == 1 else None
    if scores is not None:
        return [top_k_with_ties(Scored(positions, scores[0]), k)]
    found = [NOTHING for _ in queries]
    step = max(1, _READ_AT_ONCE // source.dim)
    for start in range(0, len(positions), step):
        some = positions[start : start + step]
        vectors = source.vectors(some)
        found = [
            top_k_with_ties(_joined([known, _best(some, vectors, query, k)]), k)
            for known, query in zip(found, queries, strict=True)
        ]
    return found


def _best(positions: NDArray[np.int64], vectors: Vectors, query: Vectors, k: int) -> Scored:
    """Return the *k* best of *vectors* exactly: float32 says which ones can be, `exact_cosine` which ones are."""
    if len(positions) > max(k, _FEW):
        rough = vectors @ query
        keep = rough >= np.partition(rough, -k)[-k] - _largest_difference(len(query))
        positions, vectors = positions[keep], vectors[keep]
    return top_k_with_ties(Scored(positions, exact_cosine(vectors, query)), k)


def _largest_difference(dim: int) -> float:
    """Return how far two float32 sums of *dim* products can be apart whose exact scores are equal.

    Each sum errs by less than dim * 2^-24.
    """
    return dim * 2.0**-22


def _joined(parts: Sequence[Scored]) -> Scored:
    return Scored(np.concatenate([part.positions for part in parts]), np.concatenate([part.scores for part in parts]))


def on_all_cores(search: Callable[[int], list[Scored]], starts: Sequence[int]) -> list[Scored]:
    """Return what *search* returns for all *starts*, each done by one thread, in which FAISS uses one thread too.

    One alone is done by the thread that asks: to start another takes as long as a small search.
    """
    from vision_recs.threads import available_threads  # a single query does without

    workers = min(len(starts), available_threads())
    if workers <= 1:
        with threads(1):
            return [scored for start in starts for scored in search(start)]

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        return [scored for part in pool.map(search, starts) for scored in part]

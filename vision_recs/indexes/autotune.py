"""Autotuning: with what effort an approximate index has to be searched to reach its recall, and what it is then worth.

The cost of a search is what its `CandidateSource` says, not a time, so that equal vectors give the same profile.
"""

from __future__ import annotations

from pathlib import Path
from time import thread_time
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import Scored
from vision_recs.indexes.config import (
    BuildRecord,
    IndexConfig,
    IndexStats,
    SearchParams,
    SearchProfile,
    write_profile,
)
from vision_recs.indexes.holdout import DEPTHS, HoldoutQueries, answered, fresh_queries, sample_queries
from vision_recs.indexes.rescoring import (
    LARGEST_FACTOR,
    SCAN,
    ApproximateSearch,
    CandidateSource,
    cosines_of,
    on_all_cores,
)
from vision_recs.types import PositionSubset, VectorReader, Vectors

_QUERIES = 256
_TUNED_K = (10, 20, 40, 100)  # a shop asks for ten items, and so for some more images
_FILTERED_QUERIES = 256
_SCANNED_RECALL = 0.98  # that is sure, with random filters: real ones may leave what is far away
_WALKED_RECALL = 0.97  # more of a walk would be near what candidates allow: the last hundredth takes half of the effort
# times k: codes put vectors that are alike in any order
_FILTERED_FACTORS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, LARGEST_FACTOR)
_SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_MOST_SCANNED = 30_000  # vectors: of more, a walk or some lists are measured, and not all of the codes
# times k: how many candidates are rescored
_FACTORS = (1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 4.0, 5.0, 8.0)
_TIMED = 64
_AT_ONCE = 64  # queries that a core answers together
_ROUNDS = 3  # of which the best counts
_SMALL = 1_000  # vectors: of so few, every search may rescore all


class TuningInput(NamedTuple):
    """What `autotune` is given: the configuration, how the index was built, and what an earlier run found out."""

    config: IndexConfig
    build: BuildRecord
    profile: SearchProfile | None = None
    holdout: HoldoutQueries | None = None


class NearestSearch(Protocol):
    """What finds positions with exact scores; with *depth*, the search effort is that for *depth* matches."""

    def nearest(self, queries: Vectors, k: int, *, depth: int | None = None) -> list[Scored]:
        """Return the *k* nearest positions to each of the unit *queries*."""
        ...


def autotune(source: VectorReader, directory: Path, candidates: CandidateSource, given: TuningInput) -> IndexStats:
    """Find a search profile unless one is *given*, measure the index, write both into *directory*; return the stats."""
    size = len(source.positions())
    config, build, profile, holdout = given
    if size <= _SMALL:
        profile = _rescore_all(candidates, size)
    elif profile is None:
        profile = find_profile(source, candidates, config)
    search = ApproximateSearch(source, candidates, profile, size=size)
    holdout = holdout or stats_queries(source, config)
    holdout.save(directory)
    write_profile(directory, build, profile)
    return stats_of(measure(search, holdout), config, build)


def find_profile(source: VectorReader, candidates: CandidateSource, config: IndexConfig) -> SearchProfile:
    """Return the cheapest way to search *candidates* that reaches the target recall, or the best one there is."""
    holdout = sample_queries(source, _QUERIES, seed=config.seed + 1)
    params = tuple(_cheapest(source, candidates, holdout, k, config.target_recall) for k in _TUNED_K)
    filtered = _FilteredQueries(source, candidates, config.seed + 2)
    factor = filtered.factor()
    efforts = () if factor is None else filtered.efforts(factor)
    rows_per_query = _rows_per_query(source, candidates, SearchProfile(params), holdout)
    return SearchProfile(params, efforts, rows_per_query, factor)


def stats_queries(source: VectorReader, config: IndexConfig) -> HoldoutQueries:
    """Return the holdout queries with which an index of *source* is measured; it was not tuned with them."""
    return sample_queries(source, _QUERIES, seed=config.seed + 3)


def measure(search: NearestSearch, holdout: HoldoutQueries) -> dict[str, float]:
    """Return recall@1, @10 and @100 and the rate of single queries, by the names that `IndexStats` has for them.

    The rate is by the time of the processor, which busy neighbors change less than that of the clock.
    """
    measured = {}
    for k in DEPTHS:  # one more, since the query itself may be in the index
        measured[f"recall_at_{k}"] = holdout.recall(search.nearest(holdout.vectors, k + 1, depth=k), k)
    measured["queries_per_second"] = max(rate_of(search, holdout) for _ in range(_ROUNDS))
    return measured


def rate_of(search: NearestSearch, holdout: HoldoutQueries) -> float:
    """Return how many single queries with k = 10 a second of the processor answers; 0 without queries."""
    timed = holdout.vectors[:_TIMED]
    started = thread_time()
    for number in range(len(timed)):
        search.nearest(timed[number : number + 1], 10)
    return len(timed) / max(1e-9, thread_time() - started)


def stats_of(measured: dict[str, float], config: IndexConfig, build: BuildRecord) -> IndexStats:
    """Return what was *measured* together with how the index was built."""
    return IndexStats(
        index_factory=build.index_factory,
        recall_at_1=round(measured["recall_at_1"], 4),
        recall_at_10=round(measured["recall_at_10"], 4),
        recall_at_100=round(measured["recall_at_100"], 4),
        queries_per_second=round(measured["queries_per_second"], 1),
        bytes_per_vector=round(build.bytes_per_vector, 1),
        build_seconds=round(build.seconds, 3),
        target_recall_met=measured["recall_at_10"] >= config.target_recall,
    )


def _rescore_all(candidates: CandidateSource, size: int) -> SearchProfile:
    params = tuple(SearchParams(k, candidates.largest_effort, max(k, size)) for k in _TUNED_K)
    return SearchProfile(params, (), size)


class _Trial(NamedTuple):
    params: SearchParams
    recall: float
    cost: float


def _cheapest(
    source: VectorReader, candidates: CandidateSource, holdout: HoldoutQueries, k: int, target: float
) -> SearchParams:
    """Return the parameters of the lowest cost whose recall@k is surely enough, else those of the highest recall."""
    counts = [round((k + 1) * factor) for factor in _FACTORS]  # one more: the query itself may be in the index
    highest = cheapest = _Trial(SearchParams(k, 1, counts[0]), -1.0, float("inf"))

    def trial(effort: int, count: int) -> _Trial:
        found = _searched(source, candidates, holdout.vectors, count, effort)
        return _Trial(SearchParams(k, effort, count), holdout.sure_recall(found, k), candidates.cost(effort, count))

    for effort in _efforts(candidates):
        if candidates.cost(effort, counts[0]) >= cheapest.cost:
            break
        best = trial(effort, counts[-1])
        highest = max(highest, best, key=lambda each: each.recall)
        if best.recall < target:
            continue
        enough = next((each for each in (trial(effort, count) for count in counts) if each.recall >= target), best)
        cheapest = min(cheapest, enough, key=lambda each: each.cost)
    return (cheapest if cheapest.recall >= target else highest).params


def _efforts(candidates: CandidateSource) -> list[int]:
    """Return search efforts from 1 to the largest, each about 1.4 times the one before."""
    largest = candidates.largest_effort
    steps = {min(largest, round(2 ** (half / 2))) for half in range(2 * largest.bit_length() + 1)}
    return sorted(steps)


def _searched(  # noqa: PLR0913, PLR0917 - what is searched, for what, and how
    source: VectorReader,
    candidates: CandidateSource,
    queries: Vectors,
    count: int,
    effort: int,
    within: PositionSubset | None = None,
) -> list[Scored]:
    """Return *count* candidates for each of *queries* with their exact scores, found by all cores."""

    def search(start: int) -> list[Scored]:
        some = queries[start : start + _AT_ONCE]
        return _rescored(source, some, candidates.candidates(some, count, effort, within))

    return on_all_cores(search, range(0, len(queries), _AT_ONCE))


def _rescored(source: VectorReader, queries: Vectors, candidates: NDArray[np.int64]) -> list[Scored]:
    """Return *candidates* (n, m) with their exact scores, in the same order; -2 for nothing."""
    scores = cosines_of(source, queries, candidates)
    return [Scored(*each) for each in zip(candidates, scores, strict=True)]


class _RandomSubset:
    """A `PositionSubset` of random positions: a filter that has nothing to do with what images look like."""

    def __init__(self, source: VectorReader, share: float, seed: int) -> None:
        alive = source.positions()
        self._positions: NDArray[np.int64] = alive[np.random.default_rng(seed).random(len(alive)) < share]
        self._mask = np.zeros(int(alive.max(initial=-1)) + 1, np.bool_)
        self._mask[self._positions] = True

    def positions(self) -> NDArray[np.int64]:
        return self._positions

    def count(self) -> int:
        return len(self._positions)

    def mask(self) -> NDArray[np.bool_]:
        return self._mask


class _FilteredQueries:
    """Queries among those vectors that random filters leave, and what they find."""

    def __init__(self, source: VectorReader, candidates: CandidateSource, seed: int) -> None:
        self._source, self._candidates = source, candidates
        self._subsets: list[tuple[float, _RandomSubset, HoldoutQueries]] = []
        queries = fresh_queries(source, _FILTERED_QUERIES, seed=seed)
        for share in _SHARES:
            subset = _RandomSubset(source, share, seed)
            if subset.count() >= DEPTHS[-1]:
                holdout = answered(source, queries, within=subset.positions(), depth=10)
                self._subsets.append((share, subset, holdout))

    def factor(self) -> int | None:
        """Return how many times k candidates have to be rescored where filters leave few vectors, all looked at."""
        found = _FILTERED_FACTORS[0]
        for _, subset, holdout in self._subsets:
            if subset.count() > _MOST_SCANNED:
                break
            is_scan = self._candidates.prefers_scan(subset.count(), None)
            effort = SCAN if is_scan else self._candidates.largest_effort
            larger = (each for each in _FILTERED_FACTORS if each >= found)
            recalls = ((each, self._recall(subset, holdout, effort, each)) for each in larger)
            enough = next((each for each, recall in recalls if recall >= _SCANNED_RECALL), None)
            if enough is None:
                return None
            found = enough
        return found

    def efforts(self, factor: int) -> tuple[tuple[float, int], ...]:
        """Return, for some shares that a filter may leave, the least effort that finds 97 of 100 answers."""
        efforts, found = _efforts(self._candidates), []
        for share, subset, holdout in self._subsets:
            recalls = ((each, self._recall(subset, holdout, each, factor)) for each in efforts)
            enough = next((each for each, recall in recalls if recall >= _WALKED_RECALL), None)
            if enough is not None:
                found.append((share, enough))
        return tuple(found)

    def _recall(self, subset: _RandomSubset, holdout: HoldoutQueries, effort: int, factor: int) -> float:
        found = _searched(self._source, self._candidates, holdout.vectors, factor * 11, effort, subset)
        return holdout.sure_recall(found, 10)


def _rows_per_query(
    source: VectorReader, candidates: CandidateSource, profile: SearchProfile, holdout: HoldoutQueries
) -> int:
    """Return how many vectors are scored exactly in the time of one query; both times are measured."""
    params = profile.params_for(10)
    effort, count = params.search_effort, params.num_candidates
    timed = holdout.vectors[:_TIMED]
    if not len(timed):
        return 0
    rows = source.positions()[:4096]
    candidates.candidates(timed, count, effort)
    _ = source.vectors(rows)
    started = thread_time()
    for number in range(len(timed)):
        query = timed[number : number + 1]
        _rescored(source, query, candidates.candidates(query, count, effort))
    asked = thread_time()
    _ = source.vectors(rows) @ timed[0]
    of_query, of_row = (asked - started) / len(timed), max(1e-9, (thread_time() - asked) / len(rows))
    return int(of_query / of_row)

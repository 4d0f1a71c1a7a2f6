"""How far an approximate search looks under a filter, by what it finds around the query."""

from dataclasses import replace
from math import ceil
from types import SimpleNamespace

import numpy as np
import pytest
from vector_sources import Vectors

from vision_recs.indexes.base import Scored
from vision_recs.indexes.config import SearchParams, SearchProfile
from vision_recs.indexes.rescoring import SCAN, SPARSE, TOO_FAR, ApproximateSearch, Compared
from vision_recs.vectors import normalize_or_raise

COUNT, K, EFFORT = 20_000, 10, 400
PROFILE = SearchProfile((SearchParams(K, 100, 20),), filtered=((0.1, EFFORT), (1.0, EFFORT)), filtered_factor=2)


class Crafted:
    """A `CandidateSource` that visits the nearest vectors of all, by scores that are wrong by *blur*."""

    largest_effort = COUNT
    most_scanned_if_far = 0

    def __init__(self, vectors, blur=0.0, *, scans=False):
        self.vectors, self.scans, self.asked = vectors, scans, []
        self.noise = blur * np.random.default_rng(1).standard_normal(COUNT)

    def prefers_scan(self, *_):
        return self.scans

    def density(self, queries, within):
        near = np.argsort(-(self.vectors @ queries[0]))[:200]
        return within.mask()[near].mean() / (within.count() / COUNT)

    def candidates(self, queries, count, search_effort, within=None):
        self.asked.append((count, search_effort))
        scores = self.vectors @ queries[0] + self.noise
        met = np.argsort(-scores)[: COUNT if search_effort == SCAN else search_effort]
        found = met[within.mask()[met]][:count]
        return np.pad(found, (0, count - len(found)), constant_values=-1)[None]


@pytest.fixture(scope="module")
def vectors():
    return normalize_or_raise(np.random.default_rng(0).standard_normal((COUNT, 12), np.float32))


def chosen(mask):
    return SimpleNamespace(mask=lambda: mask, positions=lambda: np.flatnonzero(mask), count=lambda: int(mask.sum()))


@pytest.fixture(scope="module")
def source(vectors):
    """A source of *vectors* that says that they can be compared where they are."""
    source = Vectors(vectors)
    source.open_shards = lambda: SimpleNamespace(shards=())
    return source


def recall(source, candidates, mask, query):
    vectors, search = candidates.vectors, ApproximateSearch(source, candidates, PROFILE, size=COUNT)
    (found,) = search.nearest(query[None], K, chosen(mask))
    exact = np.sort((vectors @ query)[mask])[-K:]
    return np.isclose(found.scores[:, None], exact, atol=1e-6).any(axis=1).sum() / K


class ScannedInPlace(Crafted):
    """One that also compares what it finds."""

    def nearest(self, _shards, queries, k, count, *how):
        found = self.candidates(queries, count, *how)[0]
        scores = self.vectors[found] @ queries[0]
        best = np.argsort(-scores)[:k]
        return Compared([Scored(found[best], scores[best])], int(best.max()) + 1)


class Adaptive(Crafted):
    """One whose walk finds how dense a filter is, and that compares what it finds."""

    def density(self, queries, within):
        self.measured += 1
        return super().density(queries, within)

    def nearest_if_dense(self, _shards, queries, k, count, needed, within):
        density = self.density(queries, within)
        if density < SPARSE:
            return TOO_FAR
        found = self.candidates(queries, count, ceil(needed / min(density, 1)), within)[0]
        scores = self.vectors[found] @ queries[0]
        best = np.argsort(-scores)[:k]
        return Compared([Scored(found[best], scores[best])], count)

    measured = 0


@pytest.mark.parametrize("kind", [Crafted, ScannedInPlace])
def test_a_scan_scores_more_where_codes_do_not_tell_the_best(source, vectors, kind):
    mask = np.random.default_rng(2).random(COUNT) < 0.5
    sharp, blurred = kind(vectors, 0.0, scans=True), kind(vectors, 0.03, scans=True)
    assert np.mean([recall(source, sharp, mask, query) for query in vectors[:20]]) == 1.0
    assert {count for count, _ in sharp.asked} == {2 * K}
    assert np.mean([recall(source, blurred, mask, query) for query in vectors[:20]]) >= 0.95
    assert {count for count, _ in blurred.asked} == {2 * K, 32 * K}


@pytest.mark.parametrize("kind", [Crafted, Adaptive])
def test_a_walk_goes_as_much_further_as_a_filter_leaves_less_around_the_query(source, vectors, kind):
    query = vectors[7]
    near = np.argsort(-(vectors @ query))
    for left, times in ((1.0, 1.0), (0.8, 1 / 0.8), (0.6, 1 / 0.6)):  # of what a random filter leaves around the query
        mask = np.random.default_rng(3).random(COUNT) < 0.5
        mask[near[:200]] = np.arange(200) % 20 < 10 * left
        mask[near[200:2000]] &= np.random.default_rng(4).random(1800) < left
        candidates = kind(vectors)
        assert recall(source, candidates, mask, query) == 1.0
        ((count, effort),) = candidates.asked
        assert (count, effort) == (2 * K, pytest.approx(EFFORT * times, rel=0.1))
        assert kind is Crafted or candidates.measured == 1


@pytest.mark.parametrize("kind", [Crafted, Adaptive])
def test_a_filter_that_leaves_little_around_the_query_gets_the_largest_margin(source, vectors, kind):
    query = vectors[7]
    mask = np.random.default_rng(3).random(COUNT) < 0.5
    mask[np.argsort(-(vectors @ query))[:300]] = False
    candidates = kind(vectors)
    assert recall(source, candidates, mask, query) == 1.0
    assert candidates.asked == [(32 * K, 2 * EFFORT)]
    assert kind is Crafted or candidates.measured == 1


@pytest.mark.parametrize("kind", [Crafted, Adaptive])
def test_more_matches_need_as_much_more_as_without_a_filter(source, vectors, kind):
    candidates, mask = kind(vectors), np.random.default_rng(3).random(COUNT) < 0.5
    params = SearchParams(K, 100, 20), SearchParams(4 * K, 200, 90)
    search = ApproximateSearch(source, candidates, replace(PROFILE, params=params), size=COUNT)
    search.nearest(vectors[7:8], 4 * K, chosen(mask))
    assert candidates.asked == [(90, pytest.approx(2 * EFFORT, rel=0.1))]


class ComparedInPlace(Crafted):
    """One that also offers to compare what it finds, and says with how many candidates it was asked to."""

    def nearest(self, _shards, _queries, _k, count, *_):
        self.asked.append(count)


def test_very_many_candidates_are_not_sorted_in_c(source, vectors):
    candidates = ComparedInPlace(vectors)
    every = chosen(np.ones(COUNT, bool))
    candidates.candidates = lambda _, count, *__: every.positions()[None, :count]
    search = ApproximateSearch(source, candidates, PROFILE, size=COUNT)
    for k in (K, 1_000, 4_000, 10_000):
        (found,) = search.nearest(vectors[:1], k)
        assert len(found.scores) == k
    assert len(candidates.asked) == 3
    assert max(candidates.asked) <= 8_192

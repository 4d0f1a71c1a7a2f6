"""Fitting the model to counts: clicks = examination(place) * exp(intercept + weights . features) * item * pair.

A ridge Poisson regression gives the weights; the factors of items and of pairs are shrunk towards 1 as
(clicks + a) / (expected + a), with the *a* that makes the counts likeliest (a negative binomial). All sums are in a
fixed order, so that equal counts give equal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vision_recs.feedback.counts import Counts
from vision_recs.feedback.features import Columns, Features, Matrix

_ROUNDS, _ROUNDS_OF_PAIRS = 8, 2
_STEPS = 4  # of Newton, in each round
_RIDGE = 20.0
_PRIOR_CLICKS = 2.0  # with which the examination of a place begins
_LEAST_EXAMINED = 0.05
_CANDIDATES = np.geomspace(0.2, 300, 24)
_NOTHING_LEARNED = 1e3
_AT_ONCE = 1 << 18
_LEAST_SLOPE = 1.0


@dataclass(frozen=True)
class Fitted:
    """The fitted numbers; rows of pairs are (asked, shown) in ascending order.

    *mean* and *scale* standardize features. *examination* (places,) is 1 at the first place. *slope* says by how much
    the logarithm of the clicks grows with the score. *expected* are the clicks that the items of the catalog were
    expected to have, had their own factors been 1.
    """

    mean: Matrix
    scale: Matrix
    weights: Matrix
    intercept: float
    examination: Matrix
    slope: float
    item_factors: Matrix
    expected: Matrix
    asked: NDArray[np.int64]
    shown: NDArray[np.int64]
    pair_factors: Matrix


def _sums(codes: NDArray[np.int64], values: Matrix, length: int) -> Matrix:
    """Return the sum of the *values* (n,) of each of *codes* (n,), which are below *length*."""
    return np.bincount(codes, values, length).astype(np.float64)


class _Pairs:
    """The counts, by pair: each row of the counts belongs to one of the pairs (asked, shown)."""

    def __init__(self, counts: Counts) -> None:
        keys = (counts.asked + 1) * (len(counts.items) + 1) + counts.shown
        self.keys, first, self.of_row = np.unique(keys, return_index=True, return_inverse=True)
        self.asked, self.shown = counts.asked[first], counts.shown[first]
        self.clicks = _sums(self.of_row, counts.clicks, len(self.keys))
        self.score, self.best = (self._mean(counts, column) for column in (counts.score, counts.best))
        self.count = len(self.keys)

    def _mean(self, counts: Counts, column: Matrix) -> Matrix:
        known = ~np.isnan(column)
        total = _sums(self.of_row[known], (column * counts.impressions)[known], len(self.keys))
        weight = _sums(self.of_row[known], counts.impressions[known], len(self.keys))
        with np.errstate(invalid="ignore"):
            return np.asarray(total / weight)


def fit(counts: Counts, features: Features, columns: Columns) -> Fitted:
    """Return the model of *counts*, whose items have the *columns* that *features* compare."""
    with threadpool_limits(1, user_api="blas"):  # sums in one order, and no waiting for each other
        return _fit(counts, features, columns)


def _fit(counts: Counts, features: Features, columns: Columns) -> Fitted:
    pairs = _Pairs(counts)
    raw = features.matrix(columns.take(pairs.asked), columns.take(pairs.shown), pairs.score, pairs.best)
    mean, scale = standards(raw)
    inputs = standardized(raw, mean, scale)
    del raw
    state = _State(counts, pairs, inputs)
    for _ in range(_ROUNDS):
        state.fit_examination()
        state.fit_weights()
        state.fit_items()
    for _ in range(_ROUNDS_OF_PAIRS):  # an order that knows what single pairs are worth must not pass for examination
        state.fit_pairs()
        state.fit_examination()
    state.fit_pairs()
    return Fitted(
        mean,
        scale,
        state.weights,
        state.intercept,
        state.examination,
        state.slope(),
        state.item_factors,
        state.item_expected,
        pairs.asked,
        pairs.shown,
        state.pair_factors,
    )


def standards(raw: Matrix) -> tuple[Matrix, Matrix]:
    """Return the mean and the standard deviation of each column of *raw* (n, m), without what is not known."""
    known = ~np.isnan(raw)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, raw, 0.0)
    mean = filled.sum(axis=0) / count
    deviation = np.sqrt(np.where(known, (filled - mean) ** 2, 0.0).sum(axis=0) / count)
    return mean, np.where(deviation > 1e-9, deviation, 1.0)  # noqa: PLR2004 - a constant column teaches nothing


def standardized(raw: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    """Return *raw* with a mean of 0 and a deviation of 1; what is not known is average."""
    inputs = (raw - mean) / scale
    inputs[np.isnan(inputs)] = 0.0
    return np.asarray(inputs)


class _State:
    """The numbers while they are fitted, in turns."""

    def __init__(self, counts: Counts, pairs: _Pairs, inputs: Matrix) -> None:
        self._counts, self._pairs, self._inputs = counts, pairs, inputs
        self._places = int(counts.place.max()) + 1
        self._clicks_at = _sums(counts.place, counts.clicks, self._places)
        self.weights = np.zeros(inputs.shape[1])
        self.intercept = float(np.log((counts.clicks.sum() + 0.5) / (counts.impressions.sum() + 0.5)))
        self.examination = np.ones(self._places)
        self.item_factors = np.ones(len(counts.items))
        self.item_expected = np.zeros(len(counts.items))
        self.pair_factors = np.ones(pairs.count)

    def _rate(self) -> Matrix:
        """Return the clicks of each pair at the first place, without the factors of items and pairs."""
        return np.exp(np.clip(self.intercept + self._inputs @ self.weights, -20.0, 2.0))

    def _examined(self) -> Matrix:
        rows = self._counts
        return _sums(self._pairs.of_row, rows.impressions * self.examination[rows.place], self._pairs.count)

    def fit_examination(self) -> None:
        rows = self._counts
        rate = self._rate() * self.item_factors[self._pairs.shown] * self.pair_factors
        expected = _sums(rows.place, rows.impressions * rate[self._pairs.of_row], self._places)
        before = np.maximum(self.examination, _LEAST_EXAMINED)
        found = (self._clicks_at + _PRIOR_CLICKS) / (expected + _PRIOR_CLICKS / before)
        self.intercept += float(np.log(found[0]))
        self.examination = found / found[0]

    def fit_weights(self) -> None:
        exposure = self._examined() * self.item_factors[self._pairs.shown]
        clicks = self._pairs.clicks
        for _ in range(_STEPS):
            expected = exposure * self._rate()
            gradient, curvature = -_RIDGE * self.weights, _RIDGE * np.eye(len(self.weights))
            for start in range(0, len(clicks), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                inputs = self._inputs[part]
                gradient += inputs.T @ (clicks[part] - expected[part])
                curvature += (inputs * expected[part][:, None]).T @ inputs
            self.weights = self.weights + np.linalg.solve(curvature, gradient)
            total = float((exposure * self._rate()).sum())
            self.intercept += float(np.log((clicks.sum() + 0.5) / (total + 0.5)))

    def fit_items(self) -> None:
        expected = self._examined() * self._rate()
        self.item_expected = _sums(self._pairs.shown, expected, len(self.item_factors))
        clicks = _sums(self._pairs.shown, self._pairs.clicks, len(self.item_factors))
        self.item_factors = shrunk(clicks, self.item_expected)

    def fit_pairs(self) -> None:
        expected = self._examined() * self._rate() * self.item_factors[self._pairs.shown]
        self.pair_factors = shrunk(self._pairs.clicks, expected)

    def slope(self) -> float:
        """Return by how much the logarithm of the clicks grows with the score, over the pairs that were shown."""
        score = self._pairs.score
        known = ~np.isnan(score)
        if not known.any() or np.ptp(score[known]) == 0:
            return _LEAST_SLOPE
        logs = np.log(self._rate() * self.item_factors[self._pairs.shown])[known]
        centered = score[known] - score[known].mean()
        return max(_LEAST_SLOPE, float((centered * logs).sum() / (centered**2).sum()))


def shrunk(clicks: Matrix, expected: Matrix) -> Matrix:
    """Return (clicks + a) / (expected + a), with the likeliest a: near 1 where little is known."""
    prior = _prior(clicks, expected)
    return np.asarray((clicks + prior) / (expected + prior))


def _prior(clicks: Matrix, expected: Matrix) -> float:
    """Return the a for which *clicks* are likeliest to come from Gamma(a, a) times *expected*."""
    known = expected > 1e-9  # noqa: PLR2004 - what was never expected says nothing
    clicks, expected = clicks[known].astype(np.int64), expected[known]
    if not len(clicks):
        return _NOTHING_LEARNED
    distinct, times = np.unique(clicks, return_counts=True)
    best = (-np.inf, _NOTHING_LEARNED)
    for a in _CANDIDATES.tolist():
        of_clicks = np.array([lgamma(a + count) for count in distinct.tolist()]) - lgamma(a)
        likelihood = float(
            times @ of_clicks + (a * np.log(a / (a + expected)) + clicks * np.log(expected / (a + expected))).sum()
        )
        best = max(best, (likelihood, a))
    return best[1]

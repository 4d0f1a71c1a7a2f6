"""How far a mean can be trusted, and whether two means of the same queries differ.

Queries that share a *cluster* (the images of one item) stand or fall together, so clusters are drawn, not queries.
Equal arguments give equal results: the random numbers come from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
CONFIDENCE = 0.95
_SEED = 20_170_630
_AT_ONCE = 1 << 22  # numbers drawn at a time: bounds the memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the bounds between which it lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the second of two means is higher than the first: bounds as in `Interval`, and chance.

    *p* is how often a difference as large comes about if nothing but chance decides which of the two is better.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def is_real(self) -> bool:
        """Whether chance is an unlikely cause: 0 lies outside the bounds."""
        return self.low > 0 or self.high < 0


def interval(values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> Interval:
    """Return the mean of *values* (n,) with the bounds that the bootstrap gives it; n is 1 or more."""
    return intervals(values[:, None], clusters)[0]


def intervals(values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> list[Interval]:
    """Return the mean of each column of *values* (n, m), with the percentile bootstrap's bounds; n is 1 or more."""
    sums, sizes = _by_cluster(values, clusters)
    means = np.concatenate([(drawn @ sums) / (drawn @ sizes)[:, None] for drawn in _draws(len(sizes))])
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    found = zip(values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    # A mean of resamples differs from the plain one in the last bits; the bounds never exclude it for that.
    return [Interval(value, min(below, value), max(above, value)) for value, below, above in found]


def compare(
    one: NDArray[np.float64], other: NDArray[np.float64], clusters: NDArray[np.int64] | None = None
) -> Difference:
    """Return by how much the mean of *other* (n,) is higher than that of *one* (n,), query by query.

    The bounds come from the paired bootstrap, *p* from Fisher's randomization: each query's difference might as well
    have had the other sign (Smucker, Allan and Carterette, 2007).
    """
    differences = other - one
    bounds = interval(differences, clusters)
    sums, _ = _by_cluster(differences[:, None], clusters)
    observed = abs(float(sums.sum()))
    flipped = np.concatenate([np.abs(signs @ sums).ravel() for signs in _signs(len(sums))])
    as_large = int(np.count_nonzero(flipped >= observed - 1e-12))
    return Difference(bounds.value, bounds.low, bounds.high, (1 + as_large) / (1 + RESAMPLES))


def _by_cluster(
    values: NDArray[np.float64], clusters: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum of *values* (n, m) in each cluster, and how many each has."""
    if clusters is None:
        return values, np.ones(len(values))
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, member, values)
    return sums, sizes.astype(np.float64)


def _draws(n: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of *n* was drawn in each of RESAMPLES samples of *n* with replacement, some at a time."""
    random = np.random.default_rng(_SEED)
    for rows in _portions(n):
        drawn = random.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _signs(n: int) -> Iterator[NDArray[np.float64]]:
    random = np.random.default_rng(_SEED)
    for rows in _portions(n):
        yield (2 * random.integers(0, 2, (rows, n)) - 1).astype(np.float64)


def _portions(n: int) -> Iterator[int]:
    step = max(1, _AT_ONCE // n)
    yield from (min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step))

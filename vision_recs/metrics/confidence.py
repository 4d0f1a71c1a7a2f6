"""How far a mean can be trusted, and whether two means of the same queries differ.

Queries that share a *cluster* (the images of one item) are not independent, so the resampling draws clusters, not
queries. Equal arguments give equal results: the random numbers come from a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
CONFIDENCE = 0.95
_SEED = 20_170_630
_AT_ONCE = 1 << 22
"""Random numbers that are drawn at a time, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher the second of two means is than the first, with the bounds of the 95 % confidence interval.

    *p* is the probability of a difference at least as large where the two do not differ.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether 0 is outside the bounds."""
        return self.low > 0 or self.high < 0


def interval(values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> Interval:
    """Return the mean of *values* (n,) with the bounds of the percentile bootstrap; n is 1 or more."""
    return intervals(values[:, None], clusters)[0]


def intervals(values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> list[Interval]:
    """Return the mean of each column of *values* (n, m) with the bounds of the percentile bootstrap; n is 1 or more."""
    sums, sizes = _by_cluster(values, clusters)
    means = np.concatenate([(drawn @ sums) / (drawn @ sizes)[:, None] for drawn in _draws(len(sizes))])
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    found = zip(values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    # The mean of equal values differs from a mean of resamples in the last bits; the bounds always include it.
    return [Interval(value, min(below, value), max(above, value)) for value, below, above in found]


def compare(
    one: NDArray[np.float64], other: NDArray[np.float64], clusters: NDArray[np.int64] | None = None
) -> Difference:
    """Return how much higher the mean of *other* (n,) is than that of *one* (n,), which are of the same n queries.

    The bounds come from the paired bootstrap. *p* comes from Fisher's randomization test, in which the sign of the
    difference of each query is random (Smucker, Allan and Carterette, 2007).
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
    """Return the sum of *values* (n, m) over each cluster, and the size of each cluster."""
    if clusters is None:
        return values, np.ones(len(values))
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, member, values)
    return sums, sizes.astype(np.float64)


def _draws(n: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of *n* is drawn in RESAMPLES samples of *n* with replacement, some samples at a time."""
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


def bounds_of_share(count: float, of: int) -> tuple[float, float]:
    """Return between which shares *count* *of* as many may lie by chance (Wilson, 1927); *of* is 1 or more."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = min(float(count) / of, 1.0)
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    return max(0.0, (middle - spread) / (1 + z * z / of)), (middle + spread) / (1 + z * z / of)

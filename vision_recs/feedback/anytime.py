"""Bounds of a difference that hold whenever one looks, and however often: a confidence sequence.

Ordinary 95 % bounds hold for one look. Whoever looks every day of a month and stops at the first significant difference
finds one in a quarter of all comparisons of equal things. The bounds here come from a mixture of likelihood ratios over
normal effects (Robbins, 1970): the probability that they ever exclude the truth is 5 %.
"""

from __future__ import annotations

import math

from vision_recs.metrics import Difference

_ALPHA = 0.05
EXPECTED_EFFECT = 0.05
"""The effect, as a share of the mean, for which the bounds are narrowest."""


def difference_at_any_time(one: tuple[float, float], other: tuple[float, float]) -> Difference:
    """Return how much higher the mean *other* is than *one*, each with its variance, with bounds that always hold.

    *p* is such that it is below 0.05 just where the bounds exclude 0, also whenever one looks.
    """
    value, variance = other[0] - one[0], one[1] + other[1]
    spread = (EXPECTED_EFFECT * abs(one[0])) ** 2
    if variance <= 0 or spread <= 0:
        return Difference(value, -math.inf, math.inf, 1.0)
    total = variance + spread
    width = math.sqrt(2 * variance * total / spread * (math.log(1 / _ALPHA) + math.log(total / variance) / 2))
    evidence = 0.5 * math.log(variance / total) + value**2 * spread / (2 * variance * total)
    return Difference(value, value - width, value + width, min(1.0, math.exp(-evidence)))

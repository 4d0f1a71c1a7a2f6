"""From which score on two images are taken for the same: found on the shop's own images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.9, 0.985
"""What is found is at least the one, or chance would do it, and at most the other, or saving a JPEG anew would not."""

TOO_FEW = 0.95
"""What is taken where there are too few items to find it."""

_ENOUGH = 20
_DEVIATIONS = 3.5  # so far from the middle lies one in four thousand by chance
_FAR = 0.16  # of a normal distribution, what lies more than a deviation to one side


def find_threshold(scores: NDArray[np.floating]) -> float:
    """Return the threshold for a shop in which *scores* are those of items with the nearest other item.

    As angles, the scores of items that have no duplicate are distributed nearly normally. Duplicates are a second,
    smaller heap at small angles, which moves the median and what lies beyond it little. So the median is taken for the
    middle of the first heap, and the distance from it to the sixth that lies farthest away for its deviation; what is
    3.5 deviations nearer than the middle is seldom chance.
    """
    if len(scores) < _ENOUGH:
        return TOO_FEW
    angles = np.arccos(np.clip(scores, -1.0, 1.0))
    middle, far = np.quantile(angles, [0.5, 1 - _FAR]).tolist()
    nearest = max(0.0, middle - _DEVIATIONS * (far - middle))
    return round(min(max(math.cos(nearest), LOWEST), HIGHEST), 3)

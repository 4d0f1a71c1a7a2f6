"""The threshold for duplicates, estimated from the images of the catalog itself."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.duplicates.pairs import ImageUsage
from vision_recs.knn_join import Nearest

LOWEST, HIGHEST = 0.9, 0.985
"""The bounds of an estimate: a lower one would pair items by chance, a higher one would miss JPEGs saved anew."""

TOO_FEW = 0.95
"""The threshold where there are too few items to estimate one."""

_ENOUGH = 20
"""The fewest scores to estimate from."""

_DEVIATIONS = 3.5
"""One score in four thousand is so many deviations from the middle by chance."""

_FAR = 0.16
"""The share of a normal distribution that is more than one deviation to one side."""

_SAMPLED = 4_000
"""Items whose scores with their nearest other items are sampled."""


def background_scores(usage: ImageUsage, nearest: Nearest) -> NDArray[np.float32]:
    """Return the score of each of some items, spread over all, with the *nearest* item of another group.

    Most items have no duplicate, so these scores say how alike two different products usually are.
    """
    arrays = usage.arrays
    items = np.unique(arrays.item_of[usage.rows])
    items = items[np.linspace(0, len(items) - 1, min(_SAMPLED, len(items))).astype(np.int64)]
    is_query = np.isin(arrays.item_of[usage.rows], items)
    shown = np.repeat(np.arange(len(usage.positions)), np.diff(usage.starts))[is_query]
    owners = arrays.item_of[usage.rows[is_query]]
    columns, scores = nearest.numbers[shown], nearest.scores[shown]
    group_of = usage.groups[arrays.item_of[usage.rows[usage.starts[columns]]]]
    others = np.where(group_of == usage.groups[owners][:, None], -np.inf, scores).max(axis=1, initial=-np.inf)
    best = np.full(len(arrays.ids), -np.inf, dtype=np.float32)
    np.maximum.at(best, owners, others)
    return best[np.isfinite(best)]


def estimate_threshold(scores: NDArray[np.floating]) -> float:
    """Return the threshold for a catalog whose items have these background *scores*.

    As angles, the scores of items without a duplicate are distributed nearly normally. Duplicates are a second, smaller
    cluster at small angles; they move the median, and what is above it, little. So the median stands for the mean of
    the first cluster, and the distance from the median to the sixth of the angles that is largest stands for its
    deviation. An angle that is 3.5 deviations smaller than the median is seldom chance.
    """
    if len(scores) < _ENOUGH:
        return TOO_FEW
    angles = np.arccos(np.clip(scores, -1.0, 1.0))
    middle, far = np.quantile(angles, [0.5, 1 - _FAR]).tolist()
    nearest = max(0.0, middle - _DEVIATIONS * (far - middle))
    return round(min(max(math.cos(nearest), LOWEST), HIGHEST), 3)

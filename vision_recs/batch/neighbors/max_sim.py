"""The score of an item for another one: the cosine of their best pair of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import Inventory
from vision_recs.types import Vectors
from vision_recs.vectors import exact_cosine

_PAIRS = 64  # of images that are compared at once: their vectors stay in the cache

VectorsAt: TypeAlias = Callable[[NDArray[np.int64]], Vectors]
"""Returns the vectors (n, dim) at n positions."""


def best_pairs(
    inventory: Inventory, vectors_at: VectorsAt, items: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the best cosine of an image of each of *items* with the vector in the same place of *positions*."""
    if not len(items):
        return np.empty(0, np.float32)
    images = inventory.starts[items + 1] - inventory.starts[items]
    own = inventory.positions[inventory.rows_of(items)]
    other = np.repeat(positions, images)
    scores = [
        exact_cosine(vectors_at(other[start : start + _PAIRS]), vectors_at(own[start : start + _PAIRS]))
        for start in range(0, len(own), _PAIRS)
    ]
    best: NDArray[np.float32] = np.maximum.reduceat(np.concatenate(scores), np.cumsum(images) - images)
    return best

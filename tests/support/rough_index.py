"""An exact index that finds what is near as one over codes does: not compared, and with some of what is farther."""

import numpy as np

from vision_recs.indexes.base import Near
from vision_recs.indexes.rescoring import best_first


class RoughExact:
    """A `RoughIndex` around the exact *index*."""

    def __init__(self, index):
        self.index = index
        self.source, self.search, self.nearest = index.source, index.search, index.nearest

    def near(self, queries, k):
        found = []
        for nearest, more in zip(self.nearest(queries, k), self.nearest(queries, 3 * k), strict=True):
            own, others = best_first(nearest).positions, best_first(more).positions
            others = np.setdiff1d(others, own)[::2]  # without what is as near
            found.append(Near(np.concatenate([others, own]), own[k - 1 : k]))
        return found

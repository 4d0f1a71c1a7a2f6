"""Vectors in memory as a source of them, and parts of it, for tests of engines."""

import numpy as np

from vision_recs.types import Row
from vision_recs.vectors import normalize_or_raise


class Vectors:
    """Unit vectors by position, of which those *alive* are there; each is shown by the item of its position."""

    fingerprint = "made"
    generation = 1

    def __init__(self, every, alive=None, *, is_normalized=False):
        self.every = every if is_normalized else normalize_or_raise(np.asarray(every, dtype=np.float64))
        self.dim = self.every.shape[1]
        self.alive = np.arange(len(self.every)) if alive is None else np.array(sorted(alive), dtype=np.int64)
        self.read = []

    def positions(self):
        return self.alive

    def vectors(self, positions):
        self.read.append(len(positions))
        return self.every[positions]

    def rows(self, positions, *, limit):
        return {p: [Row(f"item{p:06}", f"{p}.jpg", "")][:limit] for p in positions}

    def only(self, alive):
        """Return a source of the same vectors, of which those *alive* are there."""
        return Vectors(self.every, alive, is_normalized=True)


class Part(Vectors):
    """The part of a source that a filter would select."""

    def __init__(self, source, positions):
        super().__init__(source.every, positions, is_normalized=True)  # twice may differ from once in the last bit

    def count(self):
        return len(self.alive)

    def mask(self):
        mask = np.zeros(len(self.every), bool)
        mask[self.alive] = True
        return mask


def clustered(count, dim, *, clusters=50, seed=0):
    """Return vectors (count, dim) that lie around *clusters* centers, as images of like things do."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((clusters, dim))
    return centers[random.integers(0, clusters, count)] + 0.7 * random.standard_normal((count, dim))


def nearest(source, query, k):
    """Return the positions of *source* with the highest cosine with *query*, by comparing with each."""
    scores = source.every[source.alive].astype(np.float64) @ query.astype(np.float64)
    return source.alive[np.lexsort((source.alive, -np.round(scores, 6)))[:k]]

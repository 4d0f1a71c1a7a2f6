"""Vectors in memory as a `VectorSource`, for tests of indexes."""

import numpy as np

from vision_recs.errors import StoreDamaged
from vision_recs.filters import AttributeType, Filter
from vision_recs.types import Row
from vision_recs.vectors import normalize_or_raise


class Vectors:
    """Unit vectors by position, each with the rows that show it; a vector without rows is deleted.

    Unless *rows* are given, the item `item000007` shows the vector at position 7.
    """

    fingerprint = "made"
    generation = 1

    def __init__(self, every, alive=None, *, rows=None, attributes=None, is_normalized=False):
        self.every = every if is_normalized else normalize_or_raise(np.asarray(every, dtype=np.float64))
        self.dim = self.every.shape[1]
        kept = range(len(self.every)) if alive is None else {int(position) for position in alive}
        if rows is None:
            rows = [[Row(f"item{p:06}", f"{p}.jpg", "")] if p in kept else [] for p in range(len(self.every))]
        self.shown_by = rows
        self.attributes = {} if attributes is None else attributes
        self.read = []

    def positions(self):
        return np.flatnonzero([bool(rows) for rows in self.shown_by]).astype(np.int64)

    def vectors(self, positions):
        self.read.append(len(positions))
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(self.every):
            raise StoreDamaged("a position is in no shard; rebuild it with `visrec index`")
        return self.every[positions]

    def rows(self, positions, *, limit):
        return {p: self.shown_by[p][:limit] if 0 <= p < len(self.shown_by) else [] for p in positions}

    def attributes_of(self, items):
        return {item: self.attributes.get(item, {}) for item in items}

    def filtered(self, where):
        return Filtered(self, where)

    def only(self, alive):
        """Return a source of the same vectors, of which those at the positions *alive* are there."""
        return Vectors(self.every, alive, attributes=self.attributes, is_normalized=True)

    def choose(self, positions):
        """Return a filter that leaves the items of *positions* alone."""
        chosen = {int(position) for position in positions}
        self.attributes["nobody"] = {"chosen": False}  # so that the attribute is known, whoever is left
        for position, rows in enumerate(self.shown_by):
            for row in rows:
                self.attributes[row.id] = {"chosen": position in chosen}
        return Filter.parse("chosen")


class Filtered:
    """What a filter leaves of a source, by testing every item."""

    def __init__(self, source, where):
        where.check(_attribute_types(source))
        self.end = int(source.positions().max(initial=-1)) + 1
        self.shown_by = [
            [row for row in rows if where.matches(source.attributes.get(row.id, {}))] for rows in source.shown_by
        ]

    def positions(self):
        return np.flatnonzero(self.mask()).astype(np.int64)

    def count(self):
        return int(self.mask().sum())

    def mask(self):
        return np.array([bool(rows) for rows in self.shown_by[: self.end]], dtype=bool)  # as a store, which has no more

    def rows(self, positions, *, limit):
        return {p: self.shown_by[p][:limit] if 0 <= p < len(self.shown_by) else [] for p in positions}


def _attribute_types(source):
    types = {}
    for attributes in source.attributes.values():
        for name, value in attributes.items():
            types[name] = types.get(name, AttributeType(0)) | AttributeType.of(value)
    return types


def clustered(count, dim, *, clusters=50, seed=0):
    """Return vectors (count, dim) that lie around *clusters* centers, as images of like things do."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((clusters, dim))
    return centers[random.integers(0, clusters, count)] + 0.7 * random.standard_normal((count, dim))


def nearest(source, query, k):
    """Return the positions of *source* with the highest cosine with *query*, by comparing with each."""
    alive = source.positions()
    scores = source.every[alive].astype(np.float64) @ query.astype(np.float64)
    return alive[np.lexsort((alive, -np.round(scores, 6)))[:k]]

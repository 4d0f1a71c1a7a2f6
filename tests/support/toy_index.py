"""An index type from outside the package: brute force in NumPy, over its own copy of the vectors."""

import numpy as np

from vision_recs.indexes.base import blocks, unit_queries
from vision_recs.indexes.config import IndexStats
from vision_recs.types import Match
from vision_recs.vectors import exact_cosine


class ToyIndexType:
    name = "toy"

    def build(self, source, directory, config):
        parts = list(blocks(source, 1_000))
        np.save(directory / "positions.npy", np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)]))
        vectors = [np.empty((0, source.dim), np.float32), *(part[1] for part in parts)]
        np.save(directory / "vectors.npy", np.concatenate(vectors))
        return IndexStats("Toy", 1.0, 1.0, 1.0, 0.0, 4.0 * source.dim, 0.0, config.target_recall <= 1.0)

    def update(self, *_):
        return None  # it is built anew

    def open(self, source, directory):
        return ToyIndex(source, np.load(directory / "positions.npy"), np.load(directory / "vectors.npy"))

    def verify(self, _):
        return []


class ToyIndex:
    def __init__(self, source, positions, vectors):
        self.source = source.fingerprint, source.generation
        self._source, self._positions, self._vectors = source, positions, vectors

    def search(self, request):
        queries = unit_queries(request.vectors, request.k, dim=self._source.dim)
        shown = self._source if request.where is None else self._source.filtered(request.where)
        rows = shown.rows(self._positions.tolist(), limit=1_000_000)
        attributes = self._source.attributes_of([row.id for own in rows.values() for row in own])
        results = []
        for query in queries:
            scores = dict(zip(rows, exact_cosine(self._vectors, query).tolist(), strict=True))
            every = [Match(row.id, scores[place], row.image, row.digest) for place in rows for row in rows[place]]
            every.sort(key=lambda match: (-match.score, match.id, match.image))
            groups, kept = set(), []
            for match in every:
                value = attributes.get(match.id, {}).get(request.group_by)
                group = (isinstance(value, bool), value)
                if match.id not in request.exclude and group not in groups:
                    kept.append(match)
                    groups |= set() if value is None else {group}
            results.append(kept[: request.k])
        return results

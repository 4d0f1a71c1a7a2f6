"""Compare with every vector of the store: slow, obvious, right, and without files of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vision_recs.indexes.base import Scored, best, blocks, matches, unit_queries
from vision_recs.types import Match, Subset, Vectors, VectorSource
from vision_recs.vectors import exact_cosine

_BLOCK = 4_096  # vectors in memory at once; their products take 8 bytes a number


class ExactIndex:
    """The oracle for all other engines, and what answers where their files are gone."""

    def __init__(self, source: VectorSource) -> None:
        """Search *source* itself."""
        self._source = source

    @classmethod
    def build(cls, source: VectorSource, directory: Path) -> None:
        """Write nothing."""

    @classmethod
    def open(cls, source: VectorSource, directory: Path) -> ExactIndex:  # noqa: ARG003 - all engines open alike
        """Return an index over *source*; the folder need not exist."""
        return cls(source)

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that are searched."""
        return self._source.fingerprint, self._source.generation

    def search(self, vectors: Vectors, k: int, *, within: Subset | None = None) -> list[list[Match]]:
        """Return up to *k* images for each row of *vectors*: see `VectorIndex`."""
        source = within or self._source
        queries = unit_queries(vectors, k, dim=self._source.dim)
        found = [Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        for positions, block in blocks(source, _BLOCK):
            for number, query in enumerate(queries):
                known = found[number]
                together = Scored(
                    np.concatenate([known.positions, positions]),
                    np.concatenate([known.scores, exact_cosine(block, query)]),
                )
                found[number] = best(together, k)
        return matches(source, found, k)

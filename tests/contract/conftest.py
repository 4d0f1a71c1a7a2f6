from collections.abc import Sequence

import numpy as np
import pytest

from vision_recs.types import Row
from vision_recs.vectors import normalize_or_raise


class MemorySource:
    """A store generation by hand: for each position the names that show it, and its vector.

    A name is "id" or "id/image"; several are separated by spaces. No name: the vector was deleted.
    """

    fingerprint = "by-hand"
    generation = 7

    def __init__(self, shown: Sequence[tuple[str, Sequence[float]]], dim: int) -> None:
        self.dim = dim
        self.every = normalize_or_raise(np.array([vector for _, vector in shown], dtype=np.float64).reshape(-1, dim))
        self.shown_by = [sorted(_row(name) for name in names.split()) for names, _ in shown]

    def positions(self):
        return np.array([p for p, names in enumerate(self.shown_by) if names], dtype=np.int64)

    def vectors(self, positions):
        return self.every[positions]

    def rows(self, positions, *, limit):
        return {p: [Row(*row) for row in self.shown_by[p][:limit]] for p in positions}


def _row(name):
    item, _, image = name.partition("/")
    return item, image or f"{item}.jpg", f"digest of {name}"


@pytest.fixture(scope="session")
def source_of():
    def source_of(*shown, dim=2):
        return MemorySource(shown, dim)

    return source_of

import numpy as np
import pytest

from vision_recs.indexes import build_index
from vision_recs.types import Row
from vision_recs.vectors import normalize_or_raise


class RandomSource:
    """Unit vectors at the positions 0, 2, 4 ..., each shown by one item."""

    def __init__(self, count, dim, *, fingerprint="space", generation=1):
        self.fingerprint = fingerprint
        self.generation = generation
        self.dim = dim
        self.every = normalize_or_raise(np.random.default_rng(0).standard_normal((2 * count, dim)))

    def positions(self):
        return np.arange(0, len(self.every), 2)

    def vectors(self, positions):
        return self.every[positions]

    def rows(self, positions, *, limit):
        return {p: [Row(f"item{p}", f"{p}.jpg", "")][:limit] for p in positions}


@pytest.fixture(scope="session")
def random_source():
    return RandomSource


@pytest.fixture
def flat_folder(tmp_path):
    directory = tmp_path / "flat"
    directory.mkdir()
    build_index("flat", RandomSource(50, 8), directory)
    return directory

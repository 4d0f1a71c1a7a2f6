import numpy as np
import pytest
from quick_tuning import quick_tuning  # noqa: F401 - a fixture of every module here
from vector_sources import Vectors

from vision_recs.indexes import IndexConfig, build_or_update
from vision_recs.vectors import normalize_or_raise


def _random_source(count, dim, *, fingerprint="space", generation=1):
    """Return *count* unit vectors at the positions 0, 2, 4 ..., each shown by one item."""
    every = normalize_or_raise(np.random.default_rng(0).standard_normal((2 * count, dim)))
    source = Vectors(every, range(0, 2 * count, 2), is_normalized=True)
    source.fingerprint, source.generation = fingerprint, generation
    return source


@pytest.fixture(scope="session")
def random_source():
    return _random_source


@pytest.fixture
def build_flat():
    """Build a flat index of a source into a folder, which is returned."""

    def build_flat(source, folder):
        folder.mkdir(exist_ok=True)
        build_or_update(IndexConfig("flat"), source, folder)
        return folder

    return build_flat


@pytest.fixture
def flat_folder(tmp_path, build_flat):
    return build_flat(_random_source(50, 8), tmp_path / "flat")

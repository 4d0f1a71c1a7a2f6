import numpy as np
import pytest
from quick_tuning import quick_tuning  # noqa: F401 - a fixture of every module here
from vector_sources import Vectors

from vision_recs.types import Row


class SourceByHand(Vectors):
    fingerprint = "by-hand"
    generation = 7


@pytest.fixture(scope="session")
def source_of():
    """Make a store generation by hand: for each position the names that show it, and its vector.

    A name is "id" or "id/image"; several are separated by spaces. No name: the vector was deleted. *attributes* are
    those of the items, by id.
    """

    def source_of(*shown, dim=2, attributes=None):
        vectors = np.array([vector for _, vector in shown], dtype=np.float64).reshape(-1, dim)
        rows = [sorted(_row(name) for name in names.split()) for names, _ in shown]
        return SourceByHand(vectors, rows=rows, attributes=attributes)

    return source_of


def _row(name):
    item, _, image = name.partition("/")
    return Row(item, image or f"{item}.jpg", f"digest of {name}")

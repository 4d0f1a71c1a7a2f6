"""A process whose forks make changes of a store, or collect garbage, see `forks`.

An order is the folder of a store, and changes, or None to collect garbage. An image has the name of its seed.
"""

from unittest import mock

from fake_shop import FakeEncoder, image
from forks import Forks, carry_out_orders

from vision_recs.indexes import hnsw
from vision_recs.jobs import IndexOptions, publish, update
from vision_recs.store import garbage_collect
from vision_recs.types import ImageData


class Images:
    """An image for each number."""

    def read(self, reference, *, known=None):
        del known
        return ImageData(image(int(reference)), reference)


def make(store, changes):
    """Make *changes* of *store*, or collect its garbage.

    What is new goes into the index at once: three in a thousand lie beside its graph, and more become a part of it.
    """
    if changes is None:
        garbage_collect(store)
        return
    with mock.patch.object(publish, "_MOST_ADDED", 0), mock.patch.object(hnsw, "_LARGEST_DELTA", 0.003):
        update(changes, store, encoder=FakeEncoder(), images=Images(), options=IndexOptions(workers=1))


def updating_forks():
    """Return the process, which is to be entered."""
    return Forks(__file__)


if __name__ == "__main__":
    carry_out_orders(lambda order: make(*order))

"""The images of a store whose vectors have the words of items, too: images are compared by what they show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import ItemArrays
from vision_recs.encoders.words import Words, image_of, words_of
from vision_recs.store import Store
from vision_recs.types import VectorReader, Vectors

_AT_ONCE = 10_000


@dataclass(frozen=True)
class ImagesAlone:
    """The vectors of *store* without *words*: a `VectorReader`."""

    store: Store
    words: Words

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return self.store.encoder.fingerprint

    @property
    def generation(self) -> int:
        """The generation of the store."""
        return self.store.generation

    @property
    def dim(self) -> int:
        """The number of columns."""
        return self.store.encoder.dim

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of all vectors in use, ascending."""
        return self.store.positions()

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors (n, dim) at *positions* (n,), which are those of images."""
        return self.words.left_out(self.store.encoder_vectors(positions))


def images_alone(store: Store, arrays: ItemArrays) -> tuple[VectorReader, ItemArrays]:
    """Return what reads the vectors of images without words, and *arrays* for it.

    Images with the same bytes have one position there, whatever the words beside them, and an item without an image has
    no row.
    """
    words = words_of(store.encoder.name)
    if words is None:
        return store, arrays
    is_image = np.array([image != "" for image in arrays.images], np.bool_)
    item_of, positions = arrays.item_of[is_image], arrays.positions[is_image]
    first_of = _first_of(store, positions)
    return ImagesAlone(store, words), replace(
        arrays,
        starts=np.searchsorted(item_of, np.arange(len(arrays.ids) + 1)),
        item_of=item_of,
        positions=np.array([first_of[position] for position in positions.tolist()], np.int64),
        images=[image for image in arrays.images if image],
    )


def _first_of(store: Store, positions: NDArray[np.int64]) -> dict[int, int]:
    """Return, for each of *positions*, the lowest one of an image with the same bytes."""
    known: dict[str, int] = {}
    found: dict[int, int] = {}
    distinct = np.unique(positions).tolist()
    for start in range(0, len(distinct), _AT_ONCE):
        for position, rows in sorted(store.rows(distinct[start : start + _AT_ONCE], limit=1).items()):
            found[position] = known.setdefault(image_of(rows[0].digest), position)
    return found

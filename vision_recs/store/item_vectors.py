"""Items of a store and the vectors of all their images, in memory: what evaluating and tuning work on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics import ItemVectors
from vision_recs.store.store import Store
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import Attribute, Vectors

if TYPE_CHECKING:  # without a filter, its language is not loaded
    from vision_recs.filters import Filter


def attributes_where(store: WholeItems, where: Filter | None = None) -> dict[str, Mapping[str, Attribute]]:
    """Return the attributes of the items that match *where*, or of all items, by id, ascending; raises FilterError."""
    if where is None:
        return dict(store.all_attributes())
    where.check(store.attribute_types())
    return {item: attributes for item, attributes in store.all_attributes() if where.matches(attributes, item)}


def load_item_vectors(store: WholeItems, items: Collection[str]) -> ItemVectors:
    """Return the images of *items* with their vectors; items that have no image in *store* are left out."""
    return _loaded(store, items, store.vectors)


def load_encoder_vectors(store: Store, items: Collection[str]) -> ItemVectors:
    """Do what `load_item_vectors` does with the vectors of the encoder, also where *store* has a projection."""
    return _loaded(store, items, store.encoder_vectors)


def _loaded(
    store: WholeItems, items: Collection[str], vectors_at: Callable[[NDArray[np.int64]], Vectors]
) -> ItemVectors:
    wanted = frozenset(items)
    ids: list[str] = []
    starts: list[int] = []
    positions: list[int] = []
    for row in store.stored_rows():
        if row.id in wanted:
            if not ids or ids[-1] != row.id:
                ids.append(row.id)
                starts.append(len(positions))
            positions.append(row.position)
    found = np.array(positions, np.int64)
    return ItemVectors(ids, np.array(starts, np.int64), found, vectors_at(found))

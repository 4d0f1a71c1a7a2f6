"""Items of a store and the vectors of all their images, in memory: what evaluating and tuning work on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.metrics import ItemVectors
from vision_recs.store.items import StoredRow
from vision_recs.store.store import Store
from vision_recs.types import Attribute

if TYPE_CHECKING:  # without a filter, its language is not loaded
    from vision_recs.filters import Filter

_IMAGES_AT_ONCE = 10_000


def attributes_where(store: Store, where: Filter | None = None) -> dict[str, Mapping[str, Attribute]]:
    """Return the attributes of the items that match *where*, or of all items, by id, ascending; raises FilterError."""
    if where is None:
        return dict(store.items.all_attributes())
    where.check(store.attribute_types())
    return {item: attributes for item, attributes in store.items.all_attributes() if where.matches(attributes, item)}


def load_item_vectors(store: Store, items: Collection[str], *, projected: bool = True) -> ItemVectors:
    """Return the images of *items* with their vectors; items that have no image in *store* are left out.

    Without *projected*, the vectors are those of the encoder, also where the store has a projection.
    """
    wanted = frozenset(items)
    ids: list[str] = []
    starts: list[int] = []
    positions: list[int] = []
    last: StoredRow | None = None
    while rows := store.items.rows_after(last, _IMAGES_AT_ONCE):
        for row in rows:
            if row.id in wanted:
                if not ids or ids[-1] != row.id:
                    ids.append(row.id)
                    starts.append(len(positions))
                positions.append(row.position)
        last = rows[-1]
    found = np.array(positions, np.int64)
    vectors = store.vectors(found) if projected else store.encoder_vectors(found)
    return ItemVectors(ids, np.array(starts, np.int64), found, vectors)

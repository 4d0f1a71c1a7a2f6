"""Items of a store and the vectors of all their images, in memory: what evaluating and tuning work on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.metrics import ItemVectors
from vision_recs.store.items import StoredRow
from vision_recs.store.store import Store
from vision_recs.types import Attribute

if TYPE_CHECKING:  # without a filter, its language is not needed
    from vision_recs.filters import Filter

_ROWS_AT_ONCE = 10_000


def attributes_where(store: Store, where: Filter | None = None) -> dict[str, Mapping[str, Attribute]]:
    """Return the attributes of the items that match *where*, by id, ascending; raises FilterError."""
    if where is None:
        return dict(store.items.all_attributes())
    where.check(store.attribute_types())
    return {item: attributes for item, attributes in store.items.all_attributes() if where.matches(attributes)}


def gather(store: Store, items: Collection[str], *, plain: bool = False) -> ItemVectors:
    """Return the images of *items* with their vectors: as the encoder made them where *plain*, else as they are read.

    Items that have no image in *store* are left out.
    """
    wanted = frozenset(items)
    ids: list[str] = []
    starts: list[int] = []
    positions: list[int] = []
    last: StoredRow | None = None
    while rows := store.items.rows_after(last, _ROWS_AT_ONCE):
        for row in rows:
            if row.id in wanted:
                if not ids or ids[-1] != row.id:
                    ids.append(row.id)
                    starts.append(len(positions))
                positions.append(row.position)
        last = rows[-1]
    shown = np.array(positions, np.int64)
    vectors = store.encoder_vectors(shown) if plain else store.vectors(shown)
    return ItemVectors(ids, np.array(starts, np.int64), shown, vectors)

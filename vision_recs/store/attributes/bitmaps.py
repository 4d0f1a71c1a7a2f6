"""What a filter selects among the vectors of a generation: a bitmap, found by a few passes over attribute columns.

First the predicates of the filter are evaluated on whole columns, which says which items match; what a predicate means
is said in `filters.ast`. Then the vectors of these items are marked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import AttributeType, Filter
from vision_recs.store.attributes.format import UNREADABLE, AttributeColumns
from vision_recs.store.attributes.predicates import Mask
from vision_recs.store.attributes.suggestions import unknown_values
from vision_recs.store.attributes.table import ItemTable, Part
from vision_recs.store.items import Items
from vision_recs.types import Row, Vectors

if TYPE_CHECKING:
    from vision_recs.store.store import Store

_CACHED_BYTES = 64 << 20
_FEW = 8  # one vector in so many: their positions, of 8 bytes each, then take no more room than the mask


class Bitmap(NamedTuple):
    """The vectors that a filter selects: a mask by position, how many they are, and their positions where they are few.

    The arrays must not be written to.
    """

    mask: Mask
    total: int
    few: NDArray[np.int64] | None

    @classmethod
    def of(cls, mask: Mask) -> Bitmap:
        """Return the bitmap of *mask*, which becomes read-only."""
        mask.flags.writeable = False
        count = int(np.count_nonzero(mask))
        return cls(mask, count, _positions(mask) if count <= len(mask) // _FEW else None)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The selected positions, ascending."""
        return _positions(self.mask) if self.few is None else self.few

    @property
    def size(self) -> int:
        """The bytes of the arrays."""
        return self.mask.nbytes + (0 if self.few is None else self.few.nbytes)


class FilterBitmaps:
    """Evaluates filters on the attribute columns of a generation, or on its items where the columns were deleted.

    The bitmaps of recent filters are cached, up to 64 MiB. Safe to use from several threads.
    """

    def __init__(
        self, items: Items, columns: Sequence[AttributeColumns] | None, *, vectors: int, limit: int = _CACHED_BYTES
    ) -> None:
        """Make bitmaps of *vectors* positions, and cache at most *limit* bytes, but always the last bitmap.

        *columns* are those of each items file, oldest first.
        """
        self._items = items
        self._columns = columns
        self._vectors = vectors
        self._limit = limit
        self._cache: OrderedDict[str, Bitmap] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def table(self) -> ItemTable:
        """The items as the rows of a table; it has none where the columns were deleted."""
        return ItemTable(self._columns or ())

    @cached_property
    def attribute_types(self) -> dict[str, AttributeType]:
        """The types of the values that the items have under each attribute; without columns, every item is read."""
        if self._columns is None:
            return self._items.attribute_types()
        return self.table.attribute_types

    def select(self, where: Filter) -> Bitmap:
        """Return the bitmap of *where*.

        Raises FilterError where *where* does not fit `attribute_types`, StoreDamaged and UnknownFormat.
        """
        expression = where.expression or str(where)
        with self._lock:
            known = self._cache.get(expression)
            if known is not None:
                self._cache.move_to_end(expression)
                return known
        selected = Bitmap.of(self._mask(where))
        with self._lock:
            self._cache[expression] = selected
            while len(self._cache) > 1 and sum(each.size for each in self._cache.values()) > self._limit:
                self._cache.popitem(last=False)
        return selected

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text of *where* that no item has; none where the columns were deleted."""
        return list(unknown_values(where, self._columns or ()))

    def _mask(self, where: Filter) -> Mask:
        mask = np.zeros(self._vectors, dtype=np.bool_)
        if self._columns is None:
            where.check(self.attribute_types)
            mask[self._items.positions_where(where, below=self._vectors)] = True
            return mask
        items = self.table.matching(where)
        for part in self.table.parts:
            try:
                mask[_shown(items[part.first : part.stop], part)] = True
            except UNREADABLE as error:
                raise part.columns.damage(error) from error
        return mask


class FilteredStore:
    """The vectors of a store that the items that match a filter have; a `VectorSource`.

    Where several items have an image, `rows` returns only those that match.
    """

    def __init__(self, store: Store, where: Filter) -> None:
        """Select the items of *store* that match *where*; raises FilterError where *where* does not fit them."""
        self._store = store
        self._where = where
        self._mask = store.mask(where)
        self._positions: NDArray[np.int64] | None = None
        self._count: int | None = None

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return self._store.fingerprint

    @property
    def generation(self) -> int:
        """The number of the store's generation."""
        return self._store.generation

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        return self._store.dim

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of the selected vectors, ascending; the array must not be written to."""
        if self._positions is None:
            self._positions = self._store.select(self._where)
        return self._positions

    def count(self) -> int:
        """Return how many positions are selected."""
        if self._count is None:
            self._count = self._store.count(self._where)
        return self._count

    def mask(self) -> NDArray[np.bool_]:
        """Return, for each position below the end of the last shard, whether it is selected; must not be written to."""
        return self._mask

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors at *positions*, in that order."""
        return self._store.vectors(positions)

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images of items that match, by id, then by image."""
        items = self._store.items
        unshared = {
            position: rows
            for position, rows in items.rows(positions, 2).items()
            if len(rows) == 1 and self._mask[position]  # the mask says that an item matches, and no other has the image
        }
        others = [position for position in positions if position not in unshared]
        return unshared | items.rows_where(others, limit, self._where) if others else unshared


def _positions(mask: Mask) -> NDArray[np.int64]:
    positions = np.flatnonzero(mask).astype(np.int64, copy=False)
    positions.flags.writeable = False
    return positions


def _shown(items: Mask, part: Part) -> NDArray[np.unsignedinteger]:
    """Return the positions of the vectors that the marked *items* of *part* have."""
    arrays = part.group.arrays
    positions = part.columns.array(arrays["positions"])
    if "image_counts" not in arrays:
        return positions[items]
    counts = part.columns.array(arrays["image_counts"])
    if counts.sum(dtype=np.uint64) != len(positions):
        raise ValueError("its image counts do not add up")
    return positions[np.repeat(items, counts)]

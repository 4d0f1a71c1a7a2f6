"""The part of a store that a filter selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.store import Store
from vision_recs.types import Row, Vectors

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import Filter


class Selection:
    """The vectors and rows of the items of a store that match a filter; a `VectorSource`.

    An image that several items show has only the rows of those that match.
    """

    def __init__(self, store: Store, where: Filter) -> None:
        """Select the items of *store* that match *where*; raises FilterError where it does not fit them."""
        self._store = store
        self._where = where
        self._mask = store.mask(where)
        self._positions: NDArray[np.int64] | None = None

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
        """Return the positions of the selected vectors, ascending; not to be written to."""
        if self._positions is None:
            self._positions = self._store.select(self._where)
        return self._positions

    def count(self) -> int:
        """Return how many positions are selected."""
        return self._store.count(self._where)

    def mask(self) -> NDArray[np.bool_]:
        """Return which positions are selected, for each up to the end of the last shard; not to be written to."""
        return self._mask

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors at *positions*, in that order."""
        return self._store.vectors(positions)

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* rows of items that match, ordered by id, then by image."""
        items = self._store.items
        shown_once = {
            position: rows
            for position, rows in items.rows(positions, 2).items()
            if len(rows) == 1 and self._mask[position]  # the mask says that an item matches, and there is no other
        }
        others = [position for position in positions if position not in shown_once]
        return shown_once | items.rows_where(others, limit, self._where) if others else shown_once

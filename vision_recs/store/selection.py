"""The part of a store that a filter selects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import Filter
from vision_recs.store.store import Store
from vision_recs.types import Row, Vectors


class Selection:
    """The vectors and rows of the items of a store that match a filter; a `VectorSource`.

    A picture that several items show has only the rows of those that match.
    """

    def __init__(self, store: Store, where: Filter) -> None:
        """Select the items of *store* that match *where*; raises FilterError where it does not fit them."""
        self._store = store
        self._where = where
        self._positions = store.select(where)
        self._positions.flags.writeable = False

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
        return self._positions

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors at *positions*, in that order."""
        return self._store.vectors(positions)

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* rows of items that match, ordered by id, then by picture."""
        return {position: self._store.items.rows_where(position, limit, self._where) for position in positions}

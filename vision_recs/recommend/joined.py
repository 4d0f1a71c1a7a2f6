"""Several stores as one whole: their vectors have positions, as those of one store have."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.partitions import PartitionedItems
from vision_recs.store import Store, StoredRow
from vision_recs.types import Attribute, Row, Vectors

_PAGE = 10_000  # positions


class JoinedStores(PartitionedItems):
    """The items and vectors of several stores: `WholeItems`.

    The positions of a store lie behind those of the stores before it. Images with the same bytes have the position in
    the first store that has one of them.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        """Join *stores*, which have no item in common; raises SpaceMismatch."""
        super().__init__(stores)
        self._stores = tuple(stores)
        self._starts = np.array([0, *accumulate(store.manifest.next_position for store in stores)], np.int64)

    @property
    def place(self) -> str:
        """The folders of the stores."""
        return ", ".join(store.place for store in self._stores)

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        return self._stores[0].dim

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of all vectors in use, ascending."""
        found = self._own_positions()
        return np.setdiff1d(found, np.fromiter(self._first_of, np.int64, len(self._first_of)), assume_unique=True)

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors (n, dim) at *positions* (n,), in that order; raises StoreDamaged."""
        vectors = np.empty((len(positions), self.dim), np.float32)
        numbers = self._numbers(positions)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            vectors[here] = self._stores[number].vectors(positions[here] - self._starts[number])
        return vectors

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images that have its vector, by id, then by image."""
        owner = {each: position for position in positions for each in (position, *self._others_of[position])}
        wanted = np.array(list(owner), np.int64)
        rows: dict[int, list[Row]] = {position: [] for position in positions}
        numbers = self._numbers(wanted)
        for number in np.unique(numbers).tolist():
            start = int(self._starts[number])
            found = self._stores[number].rows((wanted[numbers == number] - start).tolist(), limit=limit)
            for position, some in found.items():
                rows[owner[position + start]] += some
        return {position: sorted(some)[:limit] for position, some in rows.items()}

    def stored_rows(self) -> Iterator[StoredRow]:
        """Yield every image, by id, then by ordinal."""
        first_of = self._first_of
        parts = (self._moved(store, int(start)) for store, start in zip(self._stores, self._starts, strict=False))
        for row in heapq.merge(*parts):
            yield row._replace(position=first_of.get(row.position, row.position))

    def all_attributes(self) -> Iterator[tuple[str, Mapping[str, Attribute]]]:
        """Yield each id with its attributes, by id."""
        return heapq.merge(*(store.all_attributes() for store in self._stores), key=lambda pair: pair[0])

    @staticmethod
    def _moved(store: Store, start: int) -> Iterator[StoredRow]:
        return (row._replace(position=row.position + start) for row in store.stored_rows())

    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the store of each of *positions*."""
        numbers: NDArray[np.int64] = np.searchsorted(self._starts, positions, side="right") - 1
        return numbers

    def _own_positions(self) -> NDArray[np.int64]:
        parts = (store.positions() + start for store, start in zip(self._stores, self._starts, strict=False))
        return np.concatenate([np.empty(0, np.int64), *parts])

    @cached_property
    def _first_of(self) -> dict[int, int]:
        """For each position whose image an earlier store has too, the position there."""
        digests = [digest for store in self._stores for digest in _digests(store)]
        places = self._own_positions()
        _, firsts, which = np.unique(np.array(digests, "S32"), return_index=True, return_inverse=True)
        first = places[firsts][which]
        is_other = first != places
        return dict(zip(places[is_other].tolist(), first[is_other].tolist(), strict=True))

    @cached_property
    def _others_of(self) -> defaultdict[int, list[int]]:
        """For each position, those whose images have the same bytes."""
        others: defaultdict[int, list[int]] = defaultdict(list)
        for other, first in self._first_of.items():
            others[first].append(other)
        return others


def _digests(store: Store) -> Iterator[bytes]:
    """Yield the digest of the image at each position in use, ascending."""
    positions = store.positions().tolist()
    for start in range(0, len(positions), _PAGE):
        some = positions[start : start + _PAGE]
        rows = store.rows(some, limit=1)
        yield from (bytes.fromhex(rows[position][0].digest) for position in some)

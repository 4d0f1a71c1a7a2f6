"""Vectors that stand for one another, as the images of one item or of its variants do: only the nearest counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# 10 bits for the row, 25 for the kind, 29 for the place, so that plain sorting puts those of a kind together
_ROW, _KIND = np.uint64(54), np.uint64(29)
_PLACE_BITS = np.uint64((1 << 29) - 1)

MOST_ROWS = 1 << 10


@dataclass(frozen=True, slots=True)
class Kinds:
    """The answering vector a is of the kind of[a], from 0 on, and owner[a] shows it; asker[r] asks with the vector r.

    Of the vectors of a kind only the nearest is an answer, and none is that its asker owns. All that an owner has is of
    one kind, but for an owner of -2, who asks nothing. For an asker of -1 each vector is of a kind of its own.
    """

    of: NDArray[np.int64]
    owner: NDArray[np.int64]
    asker: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many kinds there are."""
        return int(self.of.max(initial=-1)) + 1

    def in_order(self, answering: NDArray[np.int64]) -> Kinds:
        """Return the kinds of the answering vectors in another order, of which *answering* are the numbers."""
        return replace(self, of=self.of[answering], owner=self.owner[answering])

    def asked_by(self, asker: NDArray[np.int64]) -> Kinds:
        """Return the kinds for other vectors that ask."""
        return replace(self, asker=asker)

    def one_each(self, random: np.random.Generator, most: int) -> NDArray[np.int64]:
        """Return a vector of each of *most* kinds, at random, ascending."""
        order = random.permutation(len(self.of))
        _, firsts = np.unique(self.of[order], return_index=True)
        return np.sort(random.permutation(order[firsts])[:most])

    def are_answers(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of *columns* are no vectors of who asks with the one of *rows* in the same place."""
        are_answers: NDArray[np.bool_] = self.owner[columns] != self.asker[rows]
        return are_answers

    def together(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the places of *columns* by row and kind, those of one kind in their order, and which begin a kind.

        The *rows*, one for each column, are less than `MOST_ROWS`.
        """
        kinds = np.where(self.asker[rows] < 0, len(self.of) + columns, self.of[columns])
        packed = (rows.astype(np.uint64) << _ROW) | (kinds.astype(np.uint64) << _KIND)
        packed |= np.arange(len(rows), dtype=np.uint64)
        packed.sort()
        whose = packed >> _KIND
        begins = np.append(True, whose[1:] != whose[:-1])[: len(packed)]
        return (packed & _PLACE_BITS).astype(np.int64), begins

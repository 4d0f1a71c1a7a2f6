"""Which items show which images, and which of these are placeholders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.duplicates.report import Placeholder
from vision_recs.batch.item_arrays import Inventory, ranges


@dataclass(frozen=True)
class Showing:
    """The images of an inventory, by their bytes: image p lies at positions[p].

    The rows from starts[p] to starts[p + 1] of *rows* show it, ascending. *placeholders* are rows, too, of one image
    each; their images are not among the others. *groups* are those of the items, by number: see `Traits`.
    """

    inventory: Inventory
    groups: NDArray[np.int64]
    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    placeholders: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, inventory: Inventory, groups: NDArray[np.int64], *, placeholder: int) -> Showing:
        """Sort the rows of *inventory*; what items of *placeholder* or more of *groups* show is a placeholder."""
        order = np.argsort(inventory.positions, kind="stable")
        positions, counts = np.unique(inventory.positions, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(counts)])
        is_placeholder = np.zeros(len(positions), dtype=np.bool_)
        for image in np.flatnonzero(counts >= placeholder).tolist():
            shown_by = groups[inventory.item_of[order[starts[image] : starts[image + 1]]]]
            is_placeholder[image] = len(np.unique(shown_by)) >= placeholder
        kept = np.flatnonzero(~is_placeholder)
        return cls(
            inventory,
            groups,
            positions[kept],
            np.concatenate([[0], np.cumsum(counts[kept])]),
            order[ranges(starts[kept], starts[kept + 1])],
            tuple(order[starts[p] : starts[p + 1]] for p in np.flatnonzero(is_placeholder).tolist()),
        )

    @cached_property
    def counted(self) -> frozenset[int]:
        """The positions of all images but placeholders."""
        return frozenset(self.positions.tolist())

    def as_placeholders(self) -> tuple[Placeholder, ...]:
        """Return the placeholders, those that most items show first."""
        inventory = self.inventory
        found = [
            Placeholder(
                inventory.images[rows[0]],
                tuple(inventory.ids[item] for item in np.unique(inventory.item_of[rows]).tolist()),
            )
            for rows in self.placeholders
        ]
        return tuple(sorted(found, key=lambda placeholder: (-len(placeholder.items), placeholder.image)))

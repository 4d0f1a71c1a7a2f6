"""The rows that may be answers, by the vectors that they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import Inventory
from vision_recs.knn_join import Kinds

_NOBODY = -2  # owns a vector that several items show; no asker is that


@dataclass(frozen=True, slots=True)
class Askers:
    """The vectors that ask, each once, at *positions*; item[i] asks with vector i, or -1 where several do.

    *rough* says that their scores only serve to choose from.
    """

    positions: NDArray[np.int64]
    item: NDArray[np.int64]
    rough: bool = False


@dataclass(frozen=True, slots=True)
class Answering:
    """The vectors that may be answers, by number, in the order of the first rows that show them.

    Number a lies at positions[a], and the rows from starts[a] to starts[a + 1] of *rows* show it, ascending. Where it
    is not alone[a], others may, too, of which none can be chosen. Its first row is of the item item[a] and the group
    group[a]; the items of all rows are of so many *groups*.
    """

    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    alone: NDArray[np.bool_]
    item: NDArray[np.int64]
    group: NDArray[np.int64]
    groups: int

    @classmethod
    def of(
        cls, inventory: Inventory, is_target: NDArray[np.bool_], groups: NDArray[np.int64], *, count: int
    ) -> Answering:
        """Take the items that are targets, of which at most *count* are chosen for each item."""
        rows = np.flatnonzero(is_target[inventory.item_of])
        _, firsts, which = np.unique(inventory.positions[rows], return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        number_of = np.empty_like(order)
        number_of[order] = np.arange(len(order))
        numbers = number_of[which]
        rows = rows[np.argsort(numbers, kind="stable")]
        counts = np.bincount(numbers, minlength=len(order))
        starts = np.concatenate([[0], np.cumsum(counts)])
        kept = np.ones(len(rows), dtype=np.bool_)
        for number in np.flatnonzero(counts > count).tolist():
            here = slice(starts[number], starts[number + 1])
            items = inventory.item_of[rows[here]]
            kept[here] = _choosable(items.tolist(), groups[items].tolist(), count)
        first = rows[starts[:-1]]
        item = inventory.item_of[first]
        starts = np.concatenate([[0], np.cumsum(kept)])[starts]
        count = len(np.unique(groups[inventory.item_of[rows]]))
        return cls(inventory.positions[first], starts, rows[kept], counts == 1, item, groups[item], count)

    @property
    def per_group(self) -> float:
        """How many vectors a group has, on the average."""
        return len(self.positions) / self.groups if self.groups else 1.0

    def kinds(self, askers: Askers) -> Kinds:
        """Return which vectors stand for one another: those that are alone, of a group."""
        apart = np.where(self.alone, self.group, self.group.max(initial=-1) + 1 + np.arange(len(self.group)))
        _, of = np.unique(apart, return_inverse=True)
        return Kinds(of, np.where(self.alone, self.item, _NOBODY), askers.item)


def _choosable(items: list[int], groups: list[int], count: int) -> list[bool]:
    """Return which rows of one image may be chosen, given the items and groups of all of them.

    The image is shown once, by its first row whose item is not the asking one and whose group is not shown yet. At
    most *count* groups are, so that two items of each of the first count + 2 groups are enough.
    """
    seen: dict[int, set[int]] = {}
    kept = []
    for item, group in zip(items, groups, strict=True):
        known = seen.setdefault(group, set()) if group in seen or len(seen) < count + 2 else None
        kept.append(known is not None and item not in known and len(known) < 2)  # noqa: PLR2004 - one may be asking
        if kept[-1] and known is not None:
            known.add(item)
    return kept

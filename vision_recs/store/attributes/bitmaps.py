"""What filters select among the vectors of a generation: which items match, then which vectors they show."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.tree import And, Missing, Node, Not, Or, Test
from vision_recs.store.attributes.format import Columns, Group
from vision_recs.store.attributes.predicates import Mask, passes
from vision_recs.store.items import Items

_BYTES_KEPT = 64 << 20
_FEW = 8  # one vector in so many: their positions, of 8 bytes each, then take no more room than the mask


class Selected(NamedTuple):
    """Which vectors a filter selects, how many, and their positions where they are few; not to be written to."""

    mask: Mask
    total: int
    few: NDArray[np.int64] | None

    @classmethod
    def of(cls, mask: Mask) -> Selected:
        """Return what *mask* selects; *mask* itself becomes read-only."""
        mask.flags.writeable = False
        count = int(np.count_nonzero(mask))
        return cls(mask, count, _positions(mask) if count <= len(mask) // _FEW else None)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The positions that are selected, ascending."""
        return _positions(self.mask) if self.few is None else self.few

    @property
    def size(self) -> int:
        """The bytes that are held."""
        return self.mask.nbytes + (0 if self.few is None else self.few.nbytes)


class Masks:
    """Answers filters from the columns of a generation, or from its items where there are none.

    The answers of late are kept, up to 64 MiB of them. Safe to use from several threads.
    """

    def __init__(self, items: Items, columns: Columns | None, *, vectors: int, limit: int = _BYTES_KEPT) -> None:
        """Answer for the positions below *vectors*, and keep at most *limit* bytes, but always the last answer."""
        self._items = items
        self._columns = columns
        self._vectors = vectors
        self._limit = limit
        self._kept: OrderedDict[str, Selected] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def attribute_types(self) -> dict[str, AttributeType]:
        """What the items hold under the name of each attribute; without columns, every item is read."""
        return self._items.attribute_types() if self._columns is None else self._columns.attribute_types

    def select(self, where: Filter) -> Selected:
        """Return what *where* selects.

        Raises FilterError where it does not fit `attribute_types`, StoreDamaged and UnknownFormat.
        """
        expression = where.expression or str(where)
        with self._lock:
            known = self._kept.get(expression)
            if known is not None:
                self._kept.move_to_end(expression)
                return known
        where.check(self.attribute_types)
        selected = Selected.of(self._mask(where))
        with self._lock:
            self._kept[expression] = selected
            while len(self._kept) > 1 and sum(each.size for each in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
        return selected

    def _mask(self, where: Filter) -> Mask:
        mask = np.zeros(self._vectors, dtype=np.bool_)
        if self._columns is None:
            mask[self._items.positions_where(where, below=self._vectors)] = True
            return mask
        for group in self._columns.groups:
            try:
                mask[_shown(_holds(where.tree, group, self._columns), group, self._columns)] = True
            except (LookupError, ValueError) as error:
                raise self._columns.damage(error) from error
        return mask


def _positions(mask: Mask) -> NDArray[np.int64]:
    positions = np.flatnonzero(mask).astype(np.int64, copy=False)
    positions.flags.writeable = False
    return positions


def _shown(items: Mask, group: Group, columns: Columns) -> NDArray[np.unsignedinteger]:
    """Return the positions of the vectors that *items* of *group* show."""
    positions = columns.array(group.arrays["positions"])
    if "counts" not in group.arrays:
        return positions[items]
    counts = columns.array(group.arrays["counts"])
    if counts.sum(dtype=np.uint64) != len(positions):
        raise ValueError("its rows do not add up")
    return positions[np.repeat(items, counts)]


def _holds(node: Node, group: Group, columns: Columns) -> Mask:
    """Return, for each item of *group*, whether *node* holds for it, in an array of its own."""
    match node:
        case And(parts):
            mask = _holds(parts[0], group, columns)
            for part in parts[1:]:
                mask &= _holds(part, group, columns)
            return mask
        case Or(parts):
            mask = _holds(parts[0], group, columns)
            for part in parts[1:]:
                mask |= _holds(part, group, columns)
            return mask
        case Not(part):
            return ~_holds(part, group, columns)
        case _:
            return _test(node, group, columns)


def _test(test: Test, group: Group, columns: Columns) -> Mask:
    mask = np.full(group.items, isinstance(test, Missing))
    extents = group.attributes.get(test.name.text)
    if extents is not None:
        arrays = {name: columns.array(extent) for name, extent in extents.items()}
        mask[arrays.get("items", slice(None))] = passes(test, arrays)
    return mask

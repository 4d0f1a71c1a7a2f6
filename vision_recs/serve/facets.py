"""Facets: the attributes that items can be filtered by, with how many of the items that are left have each value.

Which attributes are facets, and their ranges, is decided by all items of a generation, once. The counts are those of
the items that a query and a filter leave; a part of the filter that is about one attribute alone does not restrict the
counts of that attribute, so that a person sees what else there is to choose. Prices are what is paid: see `prices`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from vision_recs.filters import Filter
from vision_recs.filters.ast import And, Node, elements
from vision_recs.serve.prices import lower_of
from vision_recs.serve.schemas import Facet
from vision_recs.store.attributes.format import FALSE, TRUE
from vision_recs.store.attributes.predicates import Mask
from vision_recs.store.attributes.table import Column, ItemTable

_MAX_VALUES = 1_000  # of a facet: more of them are names or texts, by which nobody filters
_MAX_TEXTS = 20_000  # distinct texts that are looked at: sets of the same elements are many
_MAX_LENGTH = 80  # of a value: what is longer is a text to read
_STEPS = 40  # of a histogram


class ItemFacets:
    """The facets of the items of a table; safe to use from several threads."""

    def __init__(self, table: ItemTable) -> None:
        """Count in *table*."""
        self.table = table

    @cached_property
    def every(self) -> list[Facet]:
        """The facets over all items, the attributes of most items first, and those of numbers last."""
        found = (_facet(name, self.table) for name in self.table.attribute_types)
        kept = (facet for facet in found if facet is not None)
        return sorted(kept, key=lambda each: (each.kind == "number", -each.items, len(each.counts), each.name))

    def left(self, where: Filter | None, found: Sequence[str] | None = None) -> tuple[int, list[Facet]]:
        """Return how many items match *where*, and the facets with the counts of what is left.

        *found* are the ids of the items that a search by words found, the only ones that count. Raises FilterError.
        """
        if where is None and found is None:
            return int(np.count_nonzero(self.table.alive)), self.every
        base = self.table.alive if found is None else self._marked(found)
        parts = [(Filter(node), self.table.matching(Filter(node))) for node in _parts(where)]
        facets = []
        for facet in self.every:
            others = [mask for part, mask in parts if not part.attributes <= {facet.name, facet.lower}]
            facets.append(_counted(facet, self.table, _all_of(base, others)))
        return int(np.count_nonzero(_all_of(base, [mask for _, mask in parts]))), facets

    def _marked(self, found: Sequence[str]) -> Mask:
        mask = np.zeros(len(self.table.alive), dtype=np.bool_)
        mask[self.table.rows_of(found)] = True
        return mask


def _parts(where: Filter | None) -> tuple[Node, ...]:
    if where is None:
        return ()
    return where.tree.parts if isinstance(where.tree, And) else (where.tree,)


def _all_of(base: Mask, masks: Sequence[Mask]) -> Mask:
    for mask in masks:
        base = base & mask
    return base


def _facet(name: str, table: ItemTable) -> Facet | None:
    """Return the facet of the attribute *name* over all items, or None where nobody would filter by it."""
    columns = list(table.columns(name, table.alive))
    if sum(len(column.texts) for column in columns) > _MAX_TEXTS:
        return None
    lower = lower_of(name, table)
    numbers = _numbers(table, name, table.alive, lower)
    counts, items, is_set = _values(columns)
    if not counts:
        return _number_facet(name, numbers, lower)
    types = {type(value) for value in counts}
    is_useful = 1 < len(counts) <= _MAX_VALUES and len(types) == 1 and 2 * len(counts) <= max(items, 4)
    if not is_useful or len(numbers) or any(_is_free_text(value) for value in counts):
        return None
    kind: Literal["text", "boolean", "set"] = "boolean" if types == {bool} else "set" if is_set else "text"
    return Facet(name, kind, items, counts=_most_frequent_first(counts))


def _counted(facet: Facet, table: ItemTable, rows: Mask) -> Facet:
    """Return *facet* with the counts of *rows*."""
    if facet.kind == "number":
        assert facet.min is not None
        assert facet.max is not None
        numbers = _numbers(table, facet.name, rows, facet.lower)
        return replace(facet, items=len(numbers), histogram=_histogram(numbers, facet.min, facet.max))
    counts, items, _ = _values(table.columns(facet.name, rows))
    return Facet(facet.name, facet.kind, items, counts=_most_frequent_first(counts))


def _values(columns: Iterable[Column]) -> tuple[Counter[str | bool], int, bool]:
    """Return how many items have each value, how many have any, and whether one is a set: its elements count then."""
    counts: Counter[str | bool] = Counter()
    items, is_set = 0, False
    for column in columns:
        for kind, value in ((TRUE, True), (FALSE, False)):
            counts[value] += int(np.count_nonzero(column.kinds == kind))
            items += int(np.count_nonzero(column.kinds == kind))
        of_code = np.bincount(column.codes, minlength=1)
        for code in np.flatnonzero(of_code[1:]).tolist():
            text, count = column.texts.text(code).decode(), int(of_code[code + 1])
            found = elements(text)
            texts = {each for each in found if isinstance(each, str)}
            is_set |= found != [text]
            items += count if texts else 0
            for each in texts:
                counts[each] += count
    return +counts, items, is_set


def _numbers(table: ItemTable, name: str, rows: Mask, lower: str | None) -> NDArray[np.float64]:
    if lower is not None:
        numbers = table.numbers(name, rows, lower=lower)
    else:
        numbers = np.concatenate([np.empty(0), *(column.numbers for column in table.columns(name, rows))])
    return numbers[np.isfinite(numbers)]


def _number_facet(name: str, numbers: NDArray[np.float64], lower: str | None) -> Facet | None:
    """Return the facet of *numbers*, or None where there are not two different ones."""
    if not len(numbers):
        return None
    low, high = float(numbers.min()), float(numbers.max())
    if not 0 < high - low < math.inf:
        return None
    histogram = _histogram(numbers, low, high)
    return Facet(name, "number", len(numbers), min=low, max=high, histogram=histogram, lower=lower)


def _histogram(numbers: NDArray[np.float64], low: float, high: float) -> list[int]:
    """Return how many of *numbers* are in each of equal steps from *low* to *high*, which belongs to the last one."""
    starts = [low + number * ((high - low) / _STEPS) for number in range(1, _STEPS)]
    steps = np.searchsorted(starts, numbers, side="right")
    return [int(count) for count in np.bincount(steps, minlength=_STEPS)]


def _is_free_text(value: str | bool) -> bool:  # noqa: FBT001 - a value, not a switch
    return isinstance(value, str) and (len(value) > _MAX_LENGTH or "://" in value or "\n" in value)


def _most_frequent_first(counts: Counter[str | bool]) -> list[tuple[str | bool, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))

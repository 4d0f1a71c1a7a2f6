"""Facets: the attributes that items can be filtered by, counted once over all items, and then by what changes."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from vision_recs.serve.schemas import Facet
from vision_recs.types import Attribute

SCHEMA = """
CREATE TABLE facets (name TEXT PRIMARY KEY, facet TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE free_text (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE texts (name TEXT, value TEXT, items INTEGER NOT NULL, PRIMARY KEY (name, value)) WITHOUT ROWID;
CREATE TABLE numbers (name TEXT, value REAL, items INTEGER NOT NULL, PRIMARY KEY (name, value)) WITHOUT ROWID;
"""
"""`facets` has a JSON object for each facet; the other tables what was counted: a value of `texts` is JSON."""

Read: TypeAlias = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]
"""A query and its values -> the rows."""

_MAX_VALUES = 40  # of a facet: a title has as many values as there are items, and nobody filters by it
_MAX_COUNTED = 2_000  # distinct values, before an attribute counts as free text
_STEPS = 40  # of a histogram


class FacetCounter:
    """Counts the values of attributes, item by item."""

    def __init__(self) -> None:
        """Start without items."""
        self._counts: dict[str, Counter[str | bool]] = {}
        self._numbers: dict[str, Counter[float]] = {}
        self._free_text: set[str] = set()

    def add(self, attributes: Mapping[str, Attribute], by: int = 1) -> None:
        """Count the *attributes* of an item; *by* -1 takes back what was counted."""
        for name, value in attributes.items():
            if isinstance(value, str | bool):
                if name not in self._free_text:
                    self._count(name, value, by)
            elif isinstance(value, int | float) and math.isfinite(value):
                self._numbers.setdefault(name, Counter())[float(value)] += by

    def facets(self) -> list[Facet]:
        """Return the facets: first text and booleans, then numbers, each the attributes of most items first."""
        values = [facet for name in self._counts if (facet := self._value_facet(name)) is not None]
        ranges = [facet for name in self._numbers if (facet := self._number_facet(name)) is not None]
        return in_order([*values, *ranges])

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the facets, and what was counted, into a database with the tables of `SCHEMA`."""
        write = connection.executemany
        rows = ((facet.name, msgspec.json.encode(facet).decode()) for facet in self.facets())
        write("INSERT INTO facets VALUES (?, ?)", rows)
        write("INSERT INTO free_text VALUES (?)", ((name,) for name in self._free_text))
        texts = (
            (name, msgspec.json.encode(value).decode(), items)
            for name, counts in self._counts.items()
            for value, items in counts.items()
        )
        write("INSERT INTO texts VALUES (?, ?, ?)", texts)
        numbers = ((name, *each) for name, counts in self._numbers.items() for each in counts.items())
        write("INSERT INTO numbers VALUES (?, ?, ?)", numbers)

    def copy(self) -> FacetCounter:
        """Return a counter that goes on from here."""
        other = FacetCounter()
        other._counts = {name: counts.copy() for name, counts in self._counts.items()}
        other._numbers = {name: counts.copy() for name, counts in self._numbers.items()}
        other._free_text = set(self._free_text)
        return other

    def changed(self, read: Read, facets: Iterable[Facet], step: FacetCounter) -> list[Facet]:
        """Return the facets of what was saved, where *read* finds it, and of what this counter has counted since.

        *facets* are those before the last *step*, which is a part of what this counter has counted.
        """
        kept = {facet.name: facet for facet in facets}
        for name in step._touched():
            known = kept.pop(name, None)
            is_text = name in self._counts or name in self._free_text
            adjusted = self._adjusted(read, known, step._numbers[name]) if known and not is_text else None
            if adjusted is not None:
                kept[name] = adjusted
                continue
            for facet in self._with_saved(read, name).facets():
                kept[name] = facet
        return in_order(kept.values())

    def _touched(self) -> set[str]:
        touched = {name for name, counts in self._counts.items() if any(counts.values())}
        return touched | self._free_text | {name for name, counts in self._numbers.items() if any(counts.values())}

    def _adjusted(self, read: Read, facet: Facet, counts: Counter[float]) -> Facet | None:
        """Return *facet*, of numbers, with *counts*, which were counted since; None where they change its range."""
        low, high = facet.min, facet.max
        if low is None or high is None or any(not low <= value <= high for value, by in counts.items() if by):
            return None
        for edge in (low, high):
            query = "SELECT items FROM numbers WHERE name = ? AND value = ?"
            items = sum(number for (number,) in read(query, (facet.name, edge)))
            if items + self._numbers[facet.name][edge] <= 0:
                return None
        histogram = list(facet.histogram)
        for value, by in counts.items():
            histogram[_step(value, low, high)] += by
        return Facet(facet.name, "number", facet.items + counts.total(), min=low, max=high, histogram=histogram)

    def _with_saved(self, read: Read, name: str) -> FacetCounter:
        """Return a counter of *name* only: what was saved, and what this one has counted since."""
        both = FacetCounter()
        decode = msgspec.json.decode
        counts: Counter[str | bool] = Counter()
        counts.update({decode(value): n for value, n in _saved(read, "texts", name)})
        counts.update(self._counts.get(name, {}))
        numbers = Counter(dict(_saved(read, "numbers", name)))
        numbers.update(self._numbers.get(name, {}))
        if read("SELECT 1 FROM free_text WHERE name = ?", (name,)) or name in self._free_text:
            both._free_text.add(name)
        elif +counts:
            both._counts[name] = +counts
        if +numbers:
            both._numbers[name] = +numbers
        return both

    def _count(self, name: str, value: str | bool, by: int) -> None:  # noqa: FBT001 - a value, not a switch
        counts = self._counts.setdefault(name, Counter())
        counts[value] += by
        if len(counts) > _MAX_COUNTED:
            self._free_text.add(name)
            del self._counts[name]

    def _value_facet(self, name: str) -> Facet | None:
        """Return the facet of an attribute with few values that many items share, or None."""
        counts = self._counts[name]
        types = {type(value) for value in counts}
        items = sum(counts.values())
        is_useful = 1 < len(counts) <= _MAX_VALUES and len(types) == 1 and 2 * len(counts) <= max(items, 4)
        if not is_useful:
            return None
        frequent = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        return Facet(name, "boolean" if types == {bool} else "text", items, counts=frequent)

    def _number_facet(self, name: str) -> Facet | None:
        counts = self._numbers[name]
        low, high = min(counts), max(counts)
        if not 0 < high - low < math.inf or name in self._counts or name in self._free_text:
            return None
        histogram = [0] * _STEPS
        for value, count in counts.items():
            histogram[_step(value, low, high)] += count
        return Facet(name, "number", sum(counts.values()), min=low, max=high, histogram=histogram)


def in_order(facets: Iterable[Facet]) -> list[Facet]:
    """Return *facets* as they are shown: numbers last, then the attributes of most items first."""
    return sorted(facets, key=lambda each: (each.kind == "number", -each.items, len(each.counts), each.name))


def _step(value: float, low: float, high: float) -> int:
    return min(_STEPS - 1, int((value - low) / (high - low) * _STEPS))


def _saved(read: Read, table: str, name: str) -> list[tuple[Any, ...]]:
    return read(f"SELECT value, items FROM {table} WHERE name = ?", (name,))  # noqa: S608

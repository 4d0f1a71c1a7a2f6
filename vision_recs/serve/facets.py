"""Facets: the attributes that items can be filtered by, counted once over all items, and then by what changes."""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any, Literal, TypeAlias

import msgspec

from vision_recs.filters.ast import elements
from vision_recs.serve.schemas import Facet
from vision_recs.types import Attribute

SCHEMA = """
CREATE TABLE facets (name TEXT PRIMARY KEY, facet TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE free_text (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE texts (name TEXT, value TEXT, items INTEGER NOT NULL, PRIMARY KEY (name, value)) WITHOUT ROWID;
CREATE TABLE sets (name TEXT PRIMARY KEY, items INTEGER NOT NULL, elements INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE numbers (
    name TEXT, value REAL, items INTEGER NOT NULL, below INTEGER NOT NULL, PRIMARY KEY (name, value)
) WITHOUT ROWID;
"""
"""`facets` has a JSON object for each facet; the other tables what was counted: a value of `texts` is JSON.

An element of a set is a value of `texts`; `sets` says how many items have a set, and how many elements these have.

`below` is how many items have a smaller number, so that the items in a range are found by its two ends.
"""

Read: TypeAlias = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]
"""A query and its values -> the rows."""

_MAX_VALUES = 40  # of a facet: a title has as many values as there are items, and nobody filters by it
_MAX_COUNTED = 2_000  # distinct values, before an attribute counts as free text
_STEPS = 40  # of a histogram
_PAGE = 100


class FacetCounter:
    """Counts the values of attributes, item by item."""

    def __init__(self) -> None:
        """Start without items."""
        self._texts: dict[str, Counter[str | bool]] = {}
        self._numbers: dict[str, Counter[float]] = {}
        self._sets: dict[str, Counter[str]] = {}
        self._free_text: set[str] = set()

    def add(self, attributes: Mapping[str, Attribute], by: int = 1) -> None:
        """Count the *attributes* of an item; *by* -1 takes back what was counted."""
        for name, value in attributes.items():
            if isinstance(value, str | bool):
                if name not in self._free_text:
                    self._count_all(name, value, by)
            elif isinstance(value, int | float) and math.isfinite(value):
                self._numbers.setdefault(name, Counter())[float(value)] += by

    def save(self, connection: sqlite3.Connection) -> None:
        """Write what was counted, and the facets, into a database with the tables of `SCHEMA`."""
        write = connection.executemany
        write("INSERT INTO free_text VALUES (?)", ((name,) for name in self._free_text))
        texts = (
            (name, msgspec.json.encode(value).decode(), items)
            for name, counts in self._texts.items()
            for value, items in counts.items()
        )
        write("INSERT INTO texts VALUES (?, ?, ?)", texts)
        sets = ((name, each["items"], each["elements"]) for name, each in self._sets.items())
        write("INSERT INTO sets VALUES (?, ?, ?)", sets)
        for name, numbers in self._numbers.items():
            ordered = sorted(numbers.items())
            below = accumulate((items for _, items in ordered), initial=0)
            rows = ((name, *each, before) for each, before in zip(ordered, below, strict=False))
            write("INSERT INTO numbers VALUES (?, ?, ?, ?)", rows)
        facets = FacetCounter().changed(lambda *query: connection.execute(*query).fetchall(), [], self)
        write(
            "INSERT INTO facets VALUES (?, ?)", ((facet.name, msgspec.json.encode(facet).decode()) for facet in facets)
        )

    def copy(self) -> FacetCounter:
        """Return a counter that goes on from here."""
        other = FacetCounter()
        other._texts = {name: counts.copy() for name, counts in self._texts.items()}
        other._numbers = {name: counts.copy() for name, counts in self._numbers.items()}
        other._sets = {name: counts.copy() for name, counts in self._sets.items()}
        other._free_text = set(self._free_text)
        return other

    def changed(self, read: Read, facets: Iterable[Facet], step: FacetCounter) -> list[Facet]:
        """Return the facets of what was saved, where *read* finds it, and of what this counter has counted since.

        *facets* are those before the last *step*. However many values were saved, a few of them are read.
        """
        kept = {facet.name: facet for facet in facets}
        for name in step._touched():
            known = kept.pop(name, None)
            facet = self._facet(read, name, known, step._numbers.get(name, Counter()))
            if facet is not None:
                kept[name] = facet
        return in_order(kept.values())

    def _facet(self, read: Read, name: str, known: Facet | None, step: Counter[float]) -> Facet | None:
        if name in self._free_text or read("SELECT 1 FROM free_text WHERE name = ?", (name,)):
            return None
        saved = read("SELECT value, items FROM texts WHERE name = ?", (name,))
        texts: Counter[str | bool] = Counter({msgspec.json.decode(value): items for value, items in saved})
        texts.update(self._texts.get(name, {}))
        texts = +texts
        if texts:
            sets = self._sets.get(name, Counter()).copy()
            for items, count in read("SELECT items, elements FROM sets WHERE name = ?", (name,)):
                sets.update(items=items, elements=count)
            return _text_facet(name, texts, sets)
        numbers = _Numbers(read, name, self._numbers.get(name, Counter()))
        return (numbers.adjusted(known, step) if known else None) or numbers.facet()

    def _touched(self) -> set[str]:
        counted: tuple[Mapping[str, Mapping[Any, int]], ...] = (self._texts, self._numbers, self._sets)
        names = (name for each in counted for name, counts in each.items() if any(counts.values()))
        return self._free_text.union(names)

    def _count_all(self, name: str, value: str | bool, by: int) -> None:  # noqa: FBT001 - a value, not a switch
        """Count *value*, or each text in it where it is a set."""
        found = elements(value)
        if found == [value]:
            self._count(name, value, by)
            return
        texts = {each for each in found if isinstance(each, str)}
        self._sets.setdefault(name, Counter()).update(items=by if texts else 0, elements=by * len(texts))
        for each in texts:
            self._count(name, each, by)

    def _count(self, name: str, value: str | bool, by: int) -> None:  # noqa: FBT001 - a value, not a switch
        counts = self._texts.setdefault(name, Counter())
        counts[value] += by
        if len(counts) > _MAX_COUNTED:
            self._free_text.add(name)
            del self._texts[name]


def in_order(facets: Iterable[Facet]) -> list[Facet]:
    """Return *facets* as they are shown: numbers last, then the attributes of most items first."""
    return sorted(facets, key=lambda each: (each.kind == "number", -each.items, len(each.counts), each.name))


def _text_facet(name: str, counts: Counter[str | bool], sets: Counter[str]) -> Facet | None:
    """Return the facet of an attribute with few values that many items share, or None; *sets* is as in `SCHEMA`."""
    types = {type(value) for value in counts}
    items = counts.total() - sets["elements"] + sets["items"]
    is_useful = 1 < len(counts) <= _MAX_VALUES and len(types) == 1 and 2 * len(counts) <= max(items, 4)
    if not is_useful:
        return None
    frequent = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
    kind: Literal["text", "boolean", "set"] = "boolean" if types == {bool} else "set" if sets["items"] else "text"
    return Facet(name, kind, items, counts=frequent)


class _Numbers:
    """The numbers of an attribute: those that were saved, and what was counted since, which is *own*."""

    def __init__(self, read: Read, name: str, own: Counter[float]) -> None:
        self._read = read
        self._name = name
        self._own = own

    def adjusted(self, facet: Facet, step: Counter[float]) -> Facet | None:
        """Return *facet* with what *step* has counted; None where that changes its range."""
        low, high = facet.min, facet.max
        if low is None or high is None or any(not low <= value <= high for value, by in step.items() if by):
            return None
        if any(self._items_of(edge) <= 0 for edge in (low, high)):
            return None
        starts = _starts(low, high)
        histogram = list(facet.histogram)
        for value, by in step.items():
            if by:
                histogram[bisect_right(starts, value)] += by
        return Facet(self._name, "number", facet.items + step.total(), min=low, max=high, histogram=histogram)

    def facet(self) -> Facet | None:
        """Return the facet, or None where there are not two different numbers."""
        low, high = self._edge(ascending=True), self._edge(ascending=False)
        if low is None or high is None or not 0 < high - low < math.inf:
            return None
        starts = _starts(low, high)
        below = [*map(self._below, (low, *starts)), self._below(math.nextafter(high, math.inf))]
        histogram = [after - before for before, after in pairwise(below)]
        for value, by in self._own.items():
            if low <= value <= high:
                histogram[bisect_right(starts, value)] += by
        return Facet(self._name, "number", sum(histogram), min=low, max=high, histogram=histogram)

    def _items_of(self, value: float) -> int:
        found = self._read("SELECT items FROM numbers WHERE name = ? AND value = ?", (self._name, value))
        return int(sum(items for (items,) in found)) + self._own[value]

    def _edge(self, *, ascending: bool) -> float | None:
        """Return the smallest number that an item has, or the largest one."""
        order, beyond, edge = ("ASC", ">", min) if ascending else ("DESC", "<", max)
        query = f"SELECT value, items FROM numbers WHERE name = ? AND value {beyond} ? ORDER BY value {order} LIMIT ?"  # noqa: S608
        candidates = [value for value, by in self._own.items() if by > 0]
        last = -math.inf if ascending else math.inf
        while page := self._read(query, (self._name, last, _PAGE)):  # as many as are gone, and one page more
            alive = [value for value, items in page if items + self._own[value] > 0]
            if alive:
                candidates.append(alive[0])
                break
            last = page[-1][0]
        return edge(candidates, default=None)

    def _below(self, value: float) -> int:
        """Return how many items had a number below *value* when they were saved."""
        next_one = "SELECT below FROM numbers WHERE name = ? AND value >= ? ORDER BY value LIMIT 1"
        last = "SELECT below + items FROM numbers WHERE name = ? ORDER BY value DESC LIMIT 1"
        found = self._read(next_one, (self._name, value)) or self._read(last, (self._name,))
        return int(found[0][0]) if found else 0


def _starts(low: float, high: float) -> list[float]:
    """Return the smallest number of each step of a histogram but the first, which begins with *low*."""
    return [low + number * ((high - low) / _STEPS) for number in range(1, _STEPS)]

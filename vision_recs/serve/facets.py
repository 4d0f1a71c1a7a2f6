"""Facets: the attributes by which a person could filter, and the values they have."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from vision_recs.types import Attribute

_VALUES = 40
"""How many values an attribute may have to be offered for choosing; a title has as many as there are items."""

_WATCHED = 2_000  # distinct values that are counted before an attribute is taken for free text
_STEPS = 40  # bars of a histogram


@dataclass(frozen=True, slots=True)
class Facet:
    """An attribute and its values over all items.

    *kind* is "choice" (of text), "truth", or "range" (of numbers). *counts* are how many items have each value, the
    commonest first; a range has *low* and *high*, and *bars*, the items in each of equal steps between them.
    """

    name: str
    kind: str
    items: int
    counts: list[tuple[str | bool, int]] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    bars: list[int] = field(default_factory=list)

    def to_json(self) -> str:
        """Return it as JSON, of which `Facet(**...)` makes an equal one."""
        return json.dumps(asdict(self))


class FacetCounter:
    """Counts the values of items that come one after another."""

    def __init__(self) -> None:
        """Begin without items."""
        self._items = 0
        self._counts: dict[str, Counter[str | bool]] = {}
        self._numbers: dict[str, Counter[float]] = {}
        self._free: set[str] = set()

    def add(self, attributes: Mapping[str, Attribute]) -> None:
        """Count an item with *attributes*."""
        self._items += 1
        for name, value in attributes.items():
            if isinstance(value, str | bool):
                if name not in self._free:
                    self._count(name, value)
            elif isinstance(value, int | float) and math.isfinite(value):
                self._numbers.setdefault(name, Counter())[float(value)] += 1

    def facets(self) -> Iterator[Facet]:
        """Yield the facets: choices and truths, then ranges, each that most items have first."""
        chosen = [facet for name in self._counts if (facet := self._choice(name)) is not None]
        ranges = [facet for name in self._numbers if (facet := self._range(name)) is not None]
        for facets in (chosen, ranges):
            yield from sorted(facets, key=lambda facet: (-facet.items, len(facet.counts), facet.name))

    def _count(self, name: str, value: str | bool) -> None:  # noqa: FBT001 - a value, not a switch
        counts = self._counts.setdefault(name, Counter())
        counts[value] += 1
        if len(counts) > _WATCHED:
            self._free.add(name)
            del self._counts[name]

    def _choice(self, name: str) -> Facet | None:
        counts = self._counts[name]
        kinds = {type(value) for value in counts}
        items = sum(counts.values())
        is_choice = 1 < len(counts) <= _VALUES and len(kinds) == 1 and 2 * len(counts) <= max(items, 4)
        if not is_choice:
            return None
        common = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        return Facet(name, "truth" if kinds == {bool} else "choice", items, common)

    def _range(self, name: str) -> Facet | None:
        counts = self._numbers[name]
        low, high = min(counts), max(counts)
        if not 0 < high - low < math.inf or name in self._counts or name in self._free:
            return None
        bars = [0] * _STEPS
        for value, count in counts.items():
            bars[min(_STEPS - 1, int((value - low) / (high - low) * _STEPS))] += count
        return Facet(name, "range", sum(counts.values()), low=low, high=high, bars=bars)

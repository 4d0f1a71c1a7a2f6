"""The types of the values of an attribute, as far as somebody should know: a filter compares those of one type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vision_recs.catalog.cell_types import is_price
from vision_recs.catalog.findings import First, count_first, short
from vision_recs.filters import AttributeType
from vision_recs.types import Attribute

_TYPES: Final = {
    str: AttributeType.TEXT,
    int: AttributeType.NUMBER,
    float: AttributeType.NUMBER,
    bool: AttributeType.BOOLEAN,
}
_WORDS: Final = {
    AttributeType.TEXT: "text",
    AttributeType.NUMBER: "numbers",
    AttributeType.BOOLEAN: "true or false",
}

_COMPARED: Final = 2_000
"""Pairs of names that are compared at most, and of these names the first `_NEW`: more would outlast the change."""

_NEW: Final = 20


class ValueTypes:
    """Counts the values of each attribute by their types, and keeps the first of each type."""

    def __init__(self) -> None:
        """Start without any."""
        self._seen: dict[str, dict[AttributeType, First]] = {}
        self.known: dict[str, AttributeType] = {}
        """The types of attributes of items that are not counted."""

    def know(self, types: Mapping[str, AttributeType]) -> None:
        """Know that the attributes of items that are not counted have *types*."""
        for name, held in types.items():
            self.known[name] = self.known.get(name, AttributeType(0)) | held

    def see(self, item: str, attributes: Mapping[str, Attribute]) -> None:
        """Count the *attributes* of *item*; null has no type."""
        for name, value in attributes.items():
            if value is not None:
                self._count(name, _TYPES[type(value)], First(value, item))

    def see_column(self, name: str, values: Sequence[Attribute], items: Sequence[str]) -> None:
        """Count *values*, those of *items* under the attribute *name*."""
        types = set(map(type, values)) - {type(None)}
        for each in sorted(types, key=lambda kind: kind.__name__):
            at = next(place for place, value in enumerate(values) if type(value) is each)
            if len(types) == 1:
                count = len(values) - values.count(None)
            else:
                count = sum(type(value) is each for value in values)
            self._count(name, _TYPES[each], First(values[at], items[at], count))

    def _count(self, name: str, of_type: AttributeType, first: First) -> None:
        count_first(self._seen.setdefault(name, {}), of_type, first)

    def notes(self, what: str, unit: str) -> Iterator[str]:
        """Yield a sentence for each attribute whose values are of several types, or of another one than is known.

        Text in a price is said whether it is known or not. Then come new names that are nearly known ones, a few at
        most. *what* the attribute is, a column or an attribute, and the *unit* that was counted are words of the
        sentence.
        """
        for name, firsts in self._seen.items():
            held = self.known.get(name, AttributeType(0)) or max(firsts, key=lambda each: firsts[each].count)
            if AttributeType.NUMBER in held and is_price(name):
                held &= ~AttributeType.TEXT
            odd = {each: first for each, first in firsts.items() if not each & held}
            if odd:
                yield mixed(f"the {what} {short(name)}", held, odd, unit)
        yield from self._misspelt(what, unit)

    def _misspelt(self, what: str, unit: str) -> Iterator[str]:
        from difflib import get_close_matches

        usual = self.known.keys() - self._seen.keys()
        new = [name for name in self._seen if name not in self.known] if usual else []
        for name in new[: min(_NEW, _COMPARED // max(1, len(usual)))]:
            for nearest in get_close_matches(name, usual, n=1):
                count = sum(first.count for first in self._seen[name].values())
                counted = f"{count:,} {unit}{' has' if count == 1 else 's have'}"
                yield f"{counted} the {what} {short(name)}, which no item had; items have {short(nearest)}"


def mixed(what: str, held: AttributeType, odd: Mapping[AttributeType, First], unit: str) -> str:
    """Return the sentence that *what* has values of the types *held*, and those of *odd* in some rows or changes."""
    holds = " and ".join(_WORDS[each] for each in held)
    others = " and ".join(
        f"{_WORDS[each]} in {first.count:,} {unit}{'' if first.count == 1 else 's'}, the first {first}"
        for each, first in odd.items()
    )
    return f"{what} holds {holds}, and {others}; a filter finds those of one type"

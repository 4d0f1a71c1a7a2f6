"""One attribute of a group of items: its values are collected, then turned into the arrays of the file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import AttributeType
from vision_recs.store.attributes.format import FALSE, NULL, NUMBER, OTHER, TEXT
from vision_recs.types import Attribute

_TYPES = {
    str: AttributeType.TEXT,
    int: AttributeType.NUMBER,
    float: AttributeType.NUMBER,
    bool: AttributeType.BOOLEAN,
}
_KIND_OF = {NoneType: NULL, str: TEXT, int: NUMBER, float: NUMBER, bool: FALSE}
_EXACT_IN_FLOAT = 2.0**53
_INT64 = range(-(2**63), 2**63)
_SPARSE = 2  # where fewer than one in two items has a value, it takes less room to say which ones have


class ColumnBuilder:
    """Collects the values of an attribute, and which items of the group they belong to."""

    def __init__(self) -> None:
        """Start without a value."""
        self._types: set[type] = set()
        self._items: list[NDArray[np.int64]] = []
        self._kinds: list[NDArray[np.uint8]] = []
        self._codes: list[NDArray[np.int64]] = []
        self._numbers: list[NDArray[np.float64]] = []
        self._inexact: dict[int, int] = {}  # item -> a whole number that float64 cannot represent
        self._code_of: dict[str | None, int] = {None: 0}

    @property
    def held(self) -> AttributeType:
        """The types of the values."""
        held = [_TYPES[type_] for type_ in self._types if type_ in _TYPES]
        return reduce(or_, held, AttributeType(0))

    def add(self, items: NDArray[np.int64], values: Sequence[Attribute]) -> None:
        """Add the *values* of some *items*, in any order; an item must not be added twice."""
        types = set(map(type, values))
        self._types |= types
        self._items.append(items)
        self._kinds.append(_kinds(values, types))
        self._codes.append(self._coded(values, types))
        self._numbers.append(self._numbered(items, values, types))

    def arrays(self, count: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of the attribute in a group of *count* items, by name; empty where every value is null."""
        kinds = np.concatenate(self._kinds)
        present = np.flatnonzero(kinds)
        if not len(present):
            return {}
        items = np.concatenate(self._items)[present]
        sparse = len(items) * _SPARSE < count
        listed = np.sort(items) if sparse else np.arange(count)
        places = np.searchsorted(listed, items)
        arrays: dict[str, NDArray[Any]] = {"items": narrow(listed)} if sparse else {}
        arrays["kinds"] = _placed(kinds[present], places, np.zeros(len(listed), np.uint8))
        if str in self._types:
            rank, arrays["dictionary"], arrays["dictionary_ends"] = self._dictionary()
            codes = rank[np.concatenate(self._codes)[present]]
            arrays["codes"] = _placed(codes, places, np.zeros(len(listed), rank.dtype))
        if self._types & {int, float}:
            numbers = np.concatenate(self._numbers)[present]
            arrays["numbers"] = _placed(numbers, places, np.full(len(listed), np.nan))
        if self._inexact:
            arrays["int64_places"] = narrow(np.searchsorted(listed, list(self._inexact)))
            arrays["int64_values"] = np.array(list(self._inexact.values()), dtype=np.int64)
        return arrays

    def _coded(self, values: Sequence[Attribute], types: set[type]) -> NDArray[np.int64]:
        """Return the code of each text: 1 for the first distinct text, and so on; 0 for a value that is not a text."""
        if str not in types:
            return np.zeros(len(values), np.int64)
        code_of = self._code_of  # holds None, so that the next code is always its length
        texts = _only(values, types, (str,))
        return np.array([code_of.setdefault(text, len(code_of)) for text in texts])

    def _numbered(self, items: NDArray[np.int64], values: Sequence[Attribute], types: set[type]) -> NDArray[np.float64]:
        """Return the nearest float64 of each number, NaN for other values; remember the numbers that are not equal."""
        if not types & {int, float}:
            return np.full(len(values), np.nan)
        numbers = _floats(_only(values, types, (int, float)))
        for place in np.flatnonzero(np.abs(numbers) >= _EXACT_IN_FLOAT).tolist():
            value = values[place]
            if isinstance(value, int) and value in _INT64 and float(numbers[place]) != value:  # numpy would round it
                self._inexact[int(items[place])] = value
        return numbers

    def _dictionary(self) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8], NDArray[np.unsignedinteger]]:
        """Return the final code of each code, the texts (ascending, as bytes), and where each text ends.

        Final codes count the texts in ascending order, from 1.
        """
        texts = sorted(text for text in self._code_of if text is not None)
        rank = np.zeros(len(texts) + 1, dtype=np.min_scalar_type(len(texts)))
        rank[[self._code_of[text] for text in texts]] = np.arange(1, len(texts) + 1)
        encoded = [text.encode() for text in texts]
        return rank, np.frombuffer(b"".join(encoded), np.uint8), narrow(np.cumsum([len(text) for text in encoded]))


def narrow(values: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
    """Return *values*, all at least 0, in the narrowest type that holds the largest."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _only(values: Sequence[Any], types: set[type], wanted: tuple[type, ...]) -> Sequence[Any]:
    """Return *values* with None in place of those whose type is not in *wanted*; *types* are the types of *values*."""
    return values if types <= {*wanted, NoneType} else [value if type(value) in wanted else None for value in values]


def _kinds(values: Sequence[Attribute], types: set[type]) -> NDArray[np.uint8]:
    kind_of = [_KIND_OF.get(type_, OTHER) for type_ in types]
    if len(kind_of) == 1:
        kinds = np.full(len(values), kind_of[0], dtype=np.uint8)
    else:
        kinds = np.array([_KIND_OF.get(type(value), OTHER) for value in values], dtype=np.uint8)
    if bool in types:
        kinds += np.array([value is True for value in values])  # FALSE + 1 is TRUE
    return kinds


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:  # a whole number beyond the largest float64
        most = sys.float_info.max
        return np.array([None if value is None else max(-most, min(value, most)) for value in values], np.float64)


def _placed(values: NDArray[Any], places: NDArray[np.int64], empty: NDArray[Any]) -> NDArray[Any]:
    empty[places] = values
    return empty

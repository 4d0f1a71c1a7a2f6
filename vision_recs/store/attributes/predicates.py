"""A predicate on one attribute of a group of items, evaluated on its whole column; `filters.ast` says what it means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import AttributeType
from vision_recs.filters.ast import OPERATORS, Compare, Has, In, IsNull, IsTrue, Predicate, TextMatch, Value, elements
from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.store.attributes.format import FALSE, NULL, TRUE

Mask: TypeAlias = NDArray[np.bool_]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""The arrays of one attribute, by name: see `format`."""


def passes(test: Predicate, arrays: Arrays) -> Mask:
    """Return which values of the column *arrays* pass *test*, as a new array."""
    match test:
        case IsNull():
            return _of_kind(NULL, arrays)
        case IsTrue():
            return _of_kind(TRUE, arrays)
        case Compare(_, operator, value):
            return _compared(operator, value, arrays)
        case In(_, values):
            return _member(values, arrays)
        case Has(_, value):
            alone = _none(arrays) if elements(value.value) != [value.value] else _member([value], arrays)
            return alone | _with_element(test, arrays)
        case TextMatch(_, method, value):
            return _with_part(method, str(value.value), arrays)


def _compared(operator: str, value: Value, arrays: Arrays) -> Mask:
    match value.value:
        case bool():
            return _of_kind(TRUE if value.value else FALSE, arrays)
        case str():
            return _coded(_dictionary(arrays).find(operator, value.value), arrays)
        case _:
            return _compared_number(operator, value.value, arrays)


def _compared_number(operator: str, value: float, arrays: Arrays) -> Mask:
    if "numbers" not in arrays:
        return _none(arrays)
    mask = _compared_floats(operator, value, arrays["numbers"])
    if "int64_places" in arrays:
        compare = OPERATORS[operator]
        mask[arrays["int64_places"]] = [compare(number, value) for number in arrays["int64_values"].tolist()]
    return mask


def _compared_floats(operator: str, value: float, numbers: NDArray[np.float64]) -> Mask:
    """Compare exactly, as Python does: a whole number is not rounded to a float64."""
    nearest = float(value)
    if nearest == value:
        return np.asarray(OPERATORS[operator](numbers, nearest))
    if operator == "==":
        return np.zeros(len(numbers), dtype=np.bool_)
    # no float64 lies between *value* and the nearest float64, which is either below *value* or above it
    if operator[0] == "<":
        return numbers < nearest if nearest > value else numbers <= nearest
    return numbers >= nearest if nearest > value else numbers > nearest


def _member(values: Sequence[Value], arrays: Arrays) -> Mask:
    mask = _none(arrays)
    for word in (True, False):
        if any(value.value is word for value in values):
            mask |= _of_kind(TRUE if word else FALSE, arrays)
    texts = [value.value for value in values if isinstance(value.value, str)]
    if texts and "codes" in arrays:
        dictionary = _dictionary(arrays)
        codes = [number + 1 for text in texts for number in dictionary.find("==", text)]
        mask |= np.isin(arrays["codes"], np.array(codes, dtype=arrays["codes"].dtype))
    numbers = {value.value for value in values if value.type is AttributeType.NUMBER}
    if numbers and "numbers" in arrays:
        floats = [float(number) for number in numbers if float(number) == number]
        mask |= np.isin(arrays["numbers"], floats)
        if "int64_places" in arrays:
            mask[arrays["int64_places"]] = [number in numbers for number in arrays["int64_values"].tolist()]
    return mask


def _with_element(test: Has, arrays: Arrays) -> Mask:
    """Return which values are sets with the element of *test*; each distinct set is looked at once."""
    if "codes" not in arrays:
        return _none(arrays)
    dictionary = _dictionary(arrays)
    found = np.zeros(len(dictionary) + 1, dtype=np.bool_)
    value = test.value.value
    has_part = None  # 5 may be written 5.0
    if isinstance(value, str):  # and any character as an escape sequence
        has_part = dictionary.containing(json.dumps(value, ensure_ascii=False)) | dictionary.containing("\\")
    for number in dictionary.beginning("["):
        if has_part is None or has_part[number]:
            found[number + 1] = test.evaluate({test.name.text: dictionary.text(number).decode()})
    return found[arrays["codes"]]


def _with_part(method: str, part: str, arrays: Arrays) -> Mask:
    dictionary = _dictionary(arrays)
    if method == "startswith" or not part:
        return _coded(dictionary.beginning(part), arrays)
    if "codes" not in arrays:
        return _none(arrays)
    found = dictionary.ending(part) if method == "endswith" else dictionary.containing(part)
    return np.concatenate([[False], found])[arrays["codes"]]


def _coded(found: range, arrays: Arrays) -> Mask:
    """Return which values are one of the texts whose numbers are *found*."""
    if not found:
        return _none(arrays)
    codes = arrays["codes"]
    mask: Mask = codes == found.stop if len(found) == 1 else (codes > found.start) & (codes <= found.stop)
    return mask


def _of_kind(kind: int, arrays: Arrays) -> Mask:
    mask: Mask = arrays["kinds"] == kind
    return mask


def _dictionary(arrays: Arrays) -> Dictionary:
    nothing = np.empty(0, dtype=np.uint8)
    return Dictionary(arrays.get("dictionary", nothing), arrays.get("dictionary_ends", nothing))


def _none(arrays: Arrays) -> Mask:
    return np.zeros(len(arrays["kinds"]), dtype=np.bool_)

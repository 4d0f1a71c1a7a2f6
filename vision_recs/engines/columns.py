"""Attribute columns: which columns hold the values of an attribute, by which an engine tests filters.

An attribute can have values of several types, and each type is a column of its own, which is null in the other records:

text     a text
number   a number that float64 holds exactly
integer  another whole number of 64 bits, as long ids have it
boolean  true or false
set      the elements of a text that is a set, each as `element_code` writes it; the text itself is in the column `text`
other    true where the value is none of these, such as a whole number of 500 digits; such values we test ourselves
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from vision_recs.engines.base import Column, Kind
from vision_recs.filters.ast import elements
from vision_recs.filters.filter import ID
from vision_recs.types import Attribute

Kinds: TypeAlias = Mapping[str, frozenset[Kind]]
"""The kinds of columns that each attribute has, by its name."""

ID_KINDS: frozenset[Kind] = frozenset({"text"})
"""What the column `id` holds: the id of each item, unless the item has an attribute of that name."""

LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1

_PLAIN = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")
_LONGEST = 40


def column_name(attribute: str, kind: Kind) -> str:
    """Return the name of the column of *kind* of *attribute*: letters, digits and underscores, in every engine alike.

    It is `price__number` for price. A name with other characters gets a part of its digest.
    """
    name = attribute
    if not _PLAIN.fullmatch(attribute) or len(attribute) > _LONGEST:
        digest = hashlib.sha256(attribute.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        name = f"{_NOT_PLAIN.sub('_', attribute.lower()).strip('_')[:_LONGEST]}_{digest}".strip("_")
        name = name if name[0].isalpha() else f"a_{name}"
    return f"{name}__{kind}"


def columns_of(kinds: Kinds) -> tuple[Column, ...]:
    """Return the columns of all attributes, in the order of their names."""
    return tuple(
        Column(column_name(attribute, kind), kind) for attribute, own in sorted(kinds.items()) for kind in sorted(own)
    )


def kinds_of(items: Iterable[Mapping[str, Attribute]]) -> dict[str, frozenset[Kind]]:
    """Return the kinds of columns that the attributes of all *items* need; every attribute is named."""
    found: dict[str, set[Kind]] = {ID: set(ID_KINDS)}
    for attributes in items:
        for name, value in attributes.items():
            own = found.setdefault(name, set())
            own.update(kind for kind, _ in cells_of(value))
    return {name: frozenset(own) for name, own in found.items()}


def cells(
    ids: Sequence[str], attributes: Sequence[Mapping[str, Attribute]], kinds: Kinds
) -> dict[str, Sequence[object]]:
    """Return the values of the columns of the items with *ids* and *attributes*, by the names of the columns.

    *kinds* are those of `kinds_of` for these items, or for more. Whatever is not in such a column is null.
    """
    found: dict[str, Sequence[object]] = {}
    for name, own in kinds.items():
        values = [each.get(name) for each in attributes]
        if name == ID:
            values = [item if value is None else value for item, value in zip(ids, values, strict=True)]
        found.update(_column_cells(name, values, own))
    return found


def _column_cells(attribute: str, values: Sequence[Attribute], kinds: frozenset[Kind]) -> dict[str, Sequence[object]]:
    """Return what the columns of *attribute* hold; where its values are of one kind, none is looked at alone."""
    match list(kinds):
        case ["text" | "boolean" | "integer" as kind]:
            return {column_name(attribute, kind): values}
        case ["number"]:
            numbers = [_number(each) if isinstance(each, int | float) else None for each in values]
            return {column_name(attribute, "number"): numbers}
        case _:
            held = [dict(cells_of(value)) for value in values]
            return {column_name(attribute, kind): [each.get(kind) for each in held] for kind in kinds}


def element_code(value: Attribute) -> str | None:
    """Return *value*, an element of a set, as text, the same for equal values; None where no test finds it."""
    match value:
        case bool():
            return f"b{value:d}"
        case str():
            return f"t{value}"
        case float() if not math.isfinite(value):
            return None if math.isnan(value) else f"n{value}"
        case int() | float():
            return f"n{int(value) if value == int(value) else value!r}"
        case _:
            return None


def cells_of(value: Attribute) -> Iterator[tuple[Kind, Any]]:
    """Yield the kind of each column that *value* is in, and what it is there."""
    match value:
        case None:
            return
        case bool():
            yield "boolean", value
        case str():
            yield "text", value
            parts = elements(value)
            if parts != [value]:
                yield "set", sorted({code for part in parts if (code := element_code(part)) is not None})
        case int() | float() if is_number(value):
            yield "number", _number(value)
        case int() if LEAST_INTEGER <= value <= MOST_INTEGER:
            yield "integer", value
        case _:
            yield "other", True


def _number(value: float) -> float:
    return float(value) + 0.0  # an engine may tell -0.0 from 0.0


def is_number(value: float) -> bool:
    """Return whether float64 holds *value* exactly."""
    try:
        return math.isfinite(value) and float(value) == value
    except OverflowError:
        return False

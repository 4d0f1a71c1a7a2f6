"""A filter as a condition over the items of a store."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from vision_recs.filters.tree import (
    And,
    AttributeType,
    Compare,
    Member,
    Missing,
    Name,
    Node,
    Not,
    Or,
    Test,
    Text,
    Truth,
    Value,
)

_JSON_TYPES = {AttributeType.TEXT: "= 'text'", AttributeType.NUMBER: "IN ('integer', 'real')"}
_NO_PATH = re.compile(r'["\\\x00-\x1f]')  # which SQLites of different age want to be written differently in a path


class Condition(NamedTuple):
    """An SQL expression and its parameters in their order."""

    text: str
    parameters: tuple[str, ...]


def condition(node: Node) -> Condition:
    """Return what is 1 for the rows of the table `items` whose attributes *node* holds for, else 0, and never NULL."""
    match node:
        case And(parts):
            return _together("AND", [condition(part) for part in parts])
        case Or(parts):
            return _together("OR", [condition(part) for part in parts])
        case Not(part):
            text, parameters = condition(part)
            return Condition(f"(NOT {text})", parameters)
        case _:
            return _test(node)


def _together(word: str, parts: Sequence[Condition]) -> Condition:
    """Join *parts* two by two: SQLite limits the depth of an expression, to which each part of a chain would add."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = _together(word, parts[:middle]), _together(word, parts[middle:])
    return Condition(f"({left.text} {word} {right.text})", left.parameters + right.parameters)


def _test(test: Test) -> Condition:
    match test:
        case Truth(name):
            return _is_truth(name, "true")
        case Missing(name):
            text, parameters = _json_type(name)
            return Condition(f"(ifnull({text}, 'null') = 'null')", parameters)
        case Compare(name, operator, value):
            return _compare(name, operator, value)
        case Member(name, values):
            return _member(name, values)
        case Text(name, method, value):
            return _text(name, method, str(value.value))


def _compare(name: Name, operator: str, value: Value) -> Condition:
    if value.type is AttributeType.TRUTH:
        return _is_truth(name, str(value))
    # JSON on both sides: older SQLites read a number of 17 digits with an error in the last, but always the same
    return _typed(name, value.type, f"{{}} {operator} json_extract(?, '$')", str(value))


def _member(name: Name, values: Sequence[Value]) -> Condition:
    parts = [_is_truth(name, word) for word in sorted({str(v) for v in values if v.type is AttributeType.TRUTH})]
    for type_ in _JSON_TYPES:
        listed = [value.value for value in values if value.type is type_]
        if listed:
            text = json.dumps(listed, ensure_ascii=False)
            parts.append(_typed(name, type_, "{} IN (SELECT value FROM json_each(?))", text))
    return _together("OR", parts) if parts else Condition("0", ())


def _text(name: Name, method: str, part: str) -> Condition:
    if method == "contains" or not part:
        return _typed(name, AttributeType.TEXT, "instr({}, ?)", part)
    start = "1" if method == "startswith" else f"-{len(part)}"
    return _typed(name, AttributeType.TEXT, f"substr({{}}, {start}, {len(part)}) = ?", part)


def _is_truth(name: Name, word: str) -> Condition:
    text, parameters = _json_type(name)
    return Condition(f"ifnull({text} = '{word}', 0)", parameters)


def _typed(name: Name, type_: AttributeType, test: str, parameter: str) -> Condition:
    """Return whether *name* is of the type *type_* and its value, put into *test*, passes with *parameter*."""
    kind, value = _json_type(name), _json_value(name)
    text = f"ifnull({kind.text} {_JSON_TYPES[type_]} AND {test.format(value.text)}, 0)"
    return Condition(text, (*kind.parameters, *value.parameters, parameter))


def _json_type(name: Name) -> Condition:
    return _looked_up(
        name,
        by_path="json_type(items.attributes, ?)",
        by_key="(SELECT type FROM json_each(items.attributes) WHERE key = ?)",
    )


def _json_value(name: Name) -> Condition:
    return _looked_up(
        name,
        by_path="json_extract(items.attributes, ?)",
        by_key="(SELECT value FROM json_each(items.attributes) WHERE key = ?)",
    )


def _looked_up(name: Name, *, by_path: str, by_key: str) -> Condition:
    if _NO_PATH.search(name.text):
        return Condition(by_key, (name.text,))
    return Condition(by_path, (f'$."{name.text}"',))

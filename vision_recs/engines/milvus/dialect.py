"""How Milvus writes a condition, for records that have a stand-in wherever there is no value."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from vision_recs.engines import base
from vision_recs.engines.base import ColumnTest

LONGEST_TEXT = 16_000
"""So many characters of a text are in its column: in UTF-8 they are fewer bytes than a field holds. A test with a
shorter text finds in them what it finds in the whole text."""

NO_TEXT = "\ufdd0"  # Unicode keeps it for uses within a program: no text has it
NO_NUMBER = -1.7976931348623157e308
NO_SET = "-"  # an element is written with a letter before it

STAND_INS: dict[str, Any] = {
    "text": NO_TEXT,
    "number": NO_NUMBER,
    "integer": 0,  # float64 holds it, so that it is never in this column
    "boolean": -1,
    "set": [NO_SET],
    "other": 0,
}
"""What a column of each kind has where there is no value. Milvus knew no null until version 2.5."""

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NONE_AT_ALL = f'({base.KEY} == "")'  # no record meets it
_LEAST_INTEGER = -(2**63)
_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class MilvusDialect:
    """Milvus compares with what is there, and a stand-in is always there: so a test is true or false.

    *columns* are the attribute columns of the table that was opened last; others we test ourselves.
    """

    def __init__(self) -> None:
        """Say tests of every column, until a table is opened."""
        self.columns: frozenset[str] | None = None

    def test(self, test: ColumnTest) -> str | None:
        """Return the expression of *test*, or None where Milvus cannot say it exactly."""
        kind = kind_of(test.column)
        if kind is not None and self.columns is not None and test.column not in self.columns:
            return None
        if kind == "set":
            element = NO_SET if test.operator == "is null" else str(test.value)
            return f"array_contains({test.column}, {literal(element)})" if _is_short(element) else None
        if test.operator == "is null":
            return f"({test.column} == {literal(STAND_INS[str(kind)])})"
        if kind is not None and not all(_is_short(value) for value in _values(test)):
            return None
        return _of_column(test, STAND_INS.get(str(kind)))

    def all_of(self, parts: Sequence[str]) -> str:
        """Return the expression that is true where all of *parts* are true."""
        return f"({' and '.join(parts)})"

    def any_of(self, parts: Sequence[str]) -> str:
        """Return the expression that is true where one of *parts* is true."""
        return f"({' or '.join(parts)})"

    def negated(self, part: str) -> str:
        """Return the expression that is true where *part* is false."""
        return f"(not ({part}))"


def kind_of(column: str) -> str | None:
    """Return the kind of an attribute column, or None for one that every record has."""
    return column.rpartition("__")[2] if "__" in column else None


def literal(value: str | float) -> str:
    """Return *value* as Milvus reads it."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
    return repr(int(value) if isinstance(value, bool) else value)


def _of_column(test: ColumnTest, stand_in: str | float | None) -> str | None:
    """Return the expression of *test* of a column that has *stand_in* where there is no value."""
    column, value = test.column, test.value
    match test.operator, value:
        case "in", tuple():
            values = [each for each in value if each != stand_in and _is_sayable(each)]
            return f"({column} in [{', '.join(map(literal, values))}])" if values else _NONE_AT_ALL
        case "startswith", str():
            found, meets = _beginning(column, value), isinstance(stand_in, str) and stand_in.startswith(value)
        case (("endswith" | "contains"), _):
            return None  # LIKE has other rules in each version
        case ("==" | "<" | "<=" | ">" | ">=") as sign, str() | int() | float():
            if sign == "==" and not _is_sayable(value):
                return _NONE_AT_ALL
            if value == _LEAST_INTEGER and kind_of(column) == "integer":  # a number that Milvus cannot read
                sign, value = (">=" if sign in {">", ">="} else "<"), _LEAST_INTEGER + 1
            found = f"{column} {sign} {literal(value)}"
            meets = stand_in is not None and _COMPARISONS[sign](stand_in, value)
        case _:
            raise AssertionError(test)
    if meets and stand_in is not None:
        return f"({found} and {column} != {literal(stand_in)})"
    return f"({found})"


def _beginning(column: str, text: str) -> str:
    """Return the condition that *column* begins with *text*: it lies from *text* to what comes after all of these."""
    beginning = f"{column} >= {literal(text)}"
    for length in range(len(text), 0, -1):
        code = ord(text[length - 1]) + 1
        if code <= _LAST:
            code = _SURROGATES.stop if code in _SURROGATES else code
            return f"{beginning} and {column} < {literal(text[: length - 1] + chr(code))}"
    return beginning


def _values(test: ColumnTest) -> tuple[Any, ...]:
    return test.value if isinstance(test.value, tuple) else (test.value,)


def _is_short(value: object) -> bool:
    return not isinstance(value, str) or (len(value) < LONGEST_TEXT and _is_sayable(value))


def _is_sayable(value: object) -> bool:
    """Return whether *value* has no half of a surrogate pair, which no text in Milvus has."""
    return not isinstance(value, str) or value.isascii() or not any(ord(each) in _SURROGATES for each in value)

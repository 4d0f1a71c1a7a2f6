"""From a filter to a condition of an engine that is true for the same records.

Each test of the filter becomes tests of columns that are true or false, never null, so that `not` means what it means
in a filter. A test that the engine cannot say exactly is left to us: the condition then leaves some records too many,
never one too few, and `Condition.rest` is the filter to test them with.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vision_recs.engines.base import ColumnTest, Dialect, Kind
from vision_recs.engines.columns import (
    ID_KINDS,
    LEAST_INTEGER,
    MOST_INTEGER,
    Kinds,
    column_name,
    element_code,
    is_number,
)
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import And, Compare, Has, In, IsNull, IsTrue, Node, Not, Or, Predicate, TextMatch, Value
from vision_recs.filters.filter import ID

Part: TypeAlias = str | bool
"""An expression of the engine, or what is always true or always false."""

Operand: TypeAlias = str | float | tuple[str | float, ...] | None


@dataclass(frozen=True, slots=True)
class Condition:
    """What a filter becomes: *expression* is None where every record meets it.

    Where *is_never*, no record does. *rest* is the filter that records have to be tested with as well, if any.
    """

    expression: str | None = None
    is_never: bool = False
    rest: Filter | None = None


def condition_of(where: Filter, kinds: Kinds, dialect: Dialect) -> Condition:
    """Return the condition of *where* for records whose attributes have columns of *kinds*."""
    translation = _Translation({**kinds, ID: kinds.get(ID, frozenset()) | ID_KINDS}, dialect)
    found = translation.of(where.tree, wanted=True)
    rest = None if translation.is_exact else where
    if isinstance(found, bool):
        return Condition(is_never=not found, rest=rest if found else None)
    return Condition(found, rest=rest)


class _Translation:
    """The translation of one filter; *is_exact* turns false at a test that the engine cannot say."""

    def __init__(self, kinds: Kinds, dialect: Dialect) -> None:
        self.is_exact = True
        self._kinds = kinds
        self._dialect = dialect

    def of(self, node: Node, *, wanted: bool) -> Part:
        """Return the expression of *node*. Where it cannot be exact, it errs towards *wanted*."""
        match node:
            case Not(part):
                return self._negated(self.of(part, wanted=not wanted))
            case And(parts):
                return self._all_of(self.of(part, wanted=wanted) for part in parts)
            case Or(parts):
                return self._any_of(self.of(part, wanted=wanted) for part in parts)
            case _:
                return self._predicate(node, wanted=wanted)

    def _predicate(self, node: Predicate, *, wanted: bool) -> Part:
        name = node.name.text
        match node:
            case IsTrue():
                return self._test(name, "boolean", "==", value=True, wanted=wanted)
            case IsNull():
                return self._all_of(
                    self._test(name, kind, "is null", None, wanted=wanted) for kind in self._sorted(name, exclude="set")
                )
            case Compare(_, operator, value):
                return self._any_of(self._compared(name, operator, value, wanted=wanted))
            case In(_, values):
                return self._contained(name, values, wanted=wanted)
            case Has(_, value):
                return self._has(name, value, wanted=wanted)
            case TextMatch(_, method, value):
                return self._test(name, "text", method, str(value.value), wanted=wanted)

    def _compared(self, name: str, operator: str, value: Value, *, wanted: bool) -> Iterator[Part]:
        """Yield tests of which one is true where the attribute *name* compares with *value*."""
        if value.type is AttributeType.TEXT:
            yield self._test(name, "text", operator, value.value, wanted=wanted)
        elif value.type is AttributeType.BOOLEAN:
            yield self._test(name, "boolean", operator, bool(value.value), wanted=wanted)
        else:
            tests = _number_tests(operator, _number(value))
            yield from (self._test(name, kind, *test, wanted=wanted) for kind, test in tests)
            yield from self._unsayable(name, wanted=wanted)

    def _contained(self, name: str, values: Sequence[Value], *, wanted: bool) -> Part:
        """Return a test for each type of *values*, which may be thousands."""
        texts = [value.value for value in values if value.type is AttributeType.TEXT]
        numbers = [value for value in values if value.type is AttributeType.NUMBER]
        others = [value for value in values if value.type is AttributeType.BOOLEAN]
        of_kind: dict[Kind, list[str | float]] = {"text": texts, "number": [], "integer": []}
        for value in numbers:
            for kind, (_, number) in _number_tests("==", _number(value)):
                of_kind[kind].append(number)
        parts = [
            self._test(name, kind, "in", tuple(dict.fromkeys(found)), wanted=wanted)
            for kind, found in of_kind.items()
            if found
        ]
        if numbers:
            parts += self._unsayable(name, wanted=wanted)
        parts += [part for value in others for part in self._compared(name, "==", value, wanted=wanted)]
        return self._any_of(parts)

    def _unsayable(self, name: str, *, wanted: bool) -> Iterator[Part]:
        """Yield a test for the values that are in no other column, which have to be compared with a number by us."""
        if "other" in self._kinds.get(name, ()):
            self.is_exact = False
            if wanted:
                yield self._negated(self._test(name, "other", "is null", None, wanted=False))

    def _has(self, name: str, value: Value, *, wanted: bool) -> Part:
        alone = self._any_of(self._compared(name, "==", value, wanted=wanted))
        if "set" not in self._kinds.get(name, ()):
            return alone
        code = element_code(value.value if value.type is not AttributeType.BOOLEAN else bool(value.value))
        within = self._test(name, "set", "has", code or "", wanted=wanted)
        no_set = self._test(name, "set", "is null", None, wanted=wanted)
        return self._any_of([within, self._all_of([no_set, alone])])

    def _test(self, name: str, kind: Kind, operator: str, value: Operand, *, wanted: bool) -> Part:
        if kind not in self._kinds.get(name, ()):
            return operator == "is null"
        found = self._dialect.test(ColumnTest(column_name(name, kind), operator, value))
        if found is None:
            self.is_exact = False
            return wanted
        return found

    def _sorted(self, name: str, *, exclude: Kind) -> list[Kind]:
        return sorted(kind for kind in self._kinds.get(name, ()) if kind != exclude)

    def _negated(self, part: Part) -> Part:
        return not part if isinstance(part, bool) else self._dialect.negated(part)

    def _all_of(self, parts: Iterable[Part]) -> Part:
        kept = [part for part in dict.fromkeys(parts) if part is not True]
        if False in kept:
            return False
        texts = [part for part in kept if isinstance(part, str)]
        return True if not texts else texts[0] if len(texts) == 1 else self._dialect.all_of(texts)

    def _any_of(self, parts: Iterable[Part]) -> Part:
        kept = [part for part in dict.fromkeys(parts) if part is not False]
        if True in kept:
            return True
        texts = [part for part in kept if isinstance(part, str)]
        return False if not texts else texts[0] if len(texts) == 1 else self._dialect.any_of(texts)


def _number(value: Value) -> float:
    assert not isinstance(value.value, str)
    return value.value


def _number_tests(operator: str, number: float) -> Iterator[tuple[Kind, tuple[str, float]]]:
    """Yield the tests of the columns number and integer of which one is true where a value compares with *number*.

    They are exact, also where float64 does not hold *number*: none of its values lies between *number* and the nearest
    one, which therefore stands for it, with or without itself.
    """
    if is_number(number):
        yield "number", (operator, float(number))
    elif operator != "==":
        nearest = _nearest_number(number)
        is_within = nearest < number if operator[0] == "<" else nearest > number
        yield "number", (f"{operator[0]}=" if is_within else operator[0], nearest)
    if isinstance(number, float) and math.isinf(number):
        number = 2 * MOST_INTEGER if number > 0 else 2 * LEAST_INTEGER
    if operator == "==":
        if number == int(number) and LEAST_INTEGER <= number <= MOST_INTEGER:
            yield "integer", ("==", int(number))
        return
    bound = math.ceil(number) if operator in {"<", ">="} else math.floor(number)
    if LEAST_INTEGER <= bound <= MOST_INTEGER:
        yield "integer", (operator, bound)
    elif (bound > 0) == (operator[0] == "<"):  # as every value of 64 bits does
        yield "integer", ("<=", MOST_INTEGER)


def _nearest_number(number: float) -> float:
    try:
        nearest = float(number)
    except OverflowError:
        nearest = math.inf if number > 0 else -math.inf
    return max(-sys.float_info.max, min(nearest, sys.float_info.max))

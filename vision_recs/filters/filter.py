"""A filter: parsed once, fitted to the items, then asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vision_recs.errors import FilterError
from vision_recs.filters.parser import parse
from vision_recs.filters.tokens import short
from vision_recs.filters.tree import And, AttributeType, Compare, Member, Missing, Name, Node, Test, Text, Truth, tests
from vision_recs.types import Attribute

_NAMED_AT_MOST = 20  # attributes in a message
_WORDS = {
    AttributeType.TEXT: ("text", "text"),
    AttributeType.NUMBER: ("numbers", "a number"),
    AttributeType.TRUTH: ("true or false", "true or false"),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """What an item has to be like; `Filter.parse` makes it, `str` writes it so that it parses to an equal one."""

    tree: Node
    expression: str = field(default="", compare=False, repr=False)

    @classmethod
    def parse(cls, expression: str) -> Filter:
        """Return the filter that *expression* describes (see `vision_recs.filters`); raises FilterError."""
        return cls(parse(expression), expression)

    def __and__(self, other: Filter | None) -> Filter:
        """Return the filter that an item matches which matches both; None is matched by all."""
        return self if other is None else Filter(And((*_parts(self.tree), *_parts(other.tree))))

    def __str__(self) -> str:
        """Return an expression that parses to an equal filter."""
        return str(self.tree)

    @property
    def attributes(self) -> frozenset[str]:
        """The names of the attributes that are tested."""
        return frozenset(test.name.text for test in tests(self.tree))

    def matches(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether an item with *attributes* matches."""
        return self.tree.holds(attributes)

    def check(self, schema: Mapping[str, AttributeType]) -> None:
        """Make sure that every test can hold for items with attributes as in *schema*.

        Raises FilterError for an attribute that *schema* does not name, and for a test that needs another type than
        those it names. Where an attribute is null in every item, any test of it may stand.
        """
        for test in tests(self.tree):
            held = schema.get(test.name.text)
            if held is None:
                raise self._error(_unknown(test.name.text, schema), test.name.position)
            for type_, shown, position in _needs(test):
                if held and not type_ & held:
                    kinds = " or ".join(_WORDS[kind][0] for kind in held)
                    wanted = " or ".join(_WORDS[kind][1] for kind in held)
                    message = f"{short(str(test.name))} holds {kinds}, never {shown}; compare it with {wanted}"
                    raise self._error(message, position)

    def _error(self, message: str, position: int) -> FilterError:
        return FilterError(message, expression=self.expression or str(self), position=position)


def _needs(test: Test) -> Iterator[tuple[AttributeType, str, int]]:
    """Yield each type that *test* needs, what of the test needs it, and the column of that."""
    match test:
        case Truth(name):
            yield AttributeType.TRUTH, "true or false", name.position
        case Compare(_, _, value) | Text(_, _, value):
            yield value.type, short(str(value)), value.position
        case Member(_, values):
            yield from ((value.type, short(str(value)), value.position) for value in values)
        case Missing():
            pass


def _unknown(name: str, schema: Mapping[str, AttributeType]) -> str:
    if not schema:
        return f"no item has the attribute {name!r} or any other; index a catalog with attributes"
    nearest = " or ".join(map(_written, difflib.get_close_matches(name, schema, n=2)))
    listed = ", ".join(map(_written, sorted(schema)[:_NAMED_AT_MOST]))
    more = f" and {len(schema) - _NAMED_AT_MOST} more" if len(schema) > _NAMED_AT_MOST else ""
    hint = f"the nearest is {nearest}; " if nearest else ""
    return f"no item has the attribute {short(name)!r}; {hint}items have {listed}{more}"


def _written(name: str) -> str:
    return short(str(Name(name)))


def _parts(node: Node) -> tuple[Node, ...]:
    return node.parts if isinstance(node, And) else (node,)

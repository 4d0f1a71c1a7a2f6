"""`Filter`: an expression that is parsed once, checked against the attributes of the items, and evaluated."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vision_recs.errors import FilterError
from vision_recs.filters.ast import (
    And,
    Compare,
    Has,
    In,
    IsNull,
    IsTrue,
    Name,
    Node,
    Predicate,
    TextMatch,
    predicates,
    short,
)
from vision_recs.filters.attribute_type import AttributeType
from vision_recs.filters.parser import parse
from vision_recs.types import Attribute

ID = "id"
"""The name under which a filter finds the id of an item, unless the item has an attribute of that name."""

_NAMED_AT_MOST = 20  # attributes in a message
_WORDS = {
    AttributeType.TEXT: ("text", "text"),
    AttributeType.NUMBER: ("numbers", "a number"),
    AttributeType.BOOLEAN: ("true or false", "true or false"),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on the attributes of an item.

    `Filter.parse` makes a filter, and `str` writes it as an expression that parses to an equal one.
    """

    tree: Node
    expression: str = field(default="", compare=False, repr=False)
    _names_id: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Find out once whether the filter needs the ids of items."""
        object.__setattr__(self, "_names_id", ID in self.attributes)

    @classmethod
    def parse(cls, expression: str) -> Filter:
        """Return the filter of *expression*; `vision_recs.filters` describes the language. Raises FilterError."""
        return cls(parse(expression), expression)

    def __and__(self, other: Filter | None) -> Filter:
        """Return the filter that matches what both filters match; every item matches None."""
        return self if other is None else Filter(And((*_parts(self.tree), *_parts(other.tree))))

    def __str__(self) -> str:
        """Return an expression that parses to an equal filter."""
        return str(self.tree)

    @property
    def attributes(self) -> frozenset[str]:
        """The names of the attributes that the filter uses."""
        return frozenset(predicate.name.text for predicate in predicates(self.tree))

    def matches(self, attributes: Mapping[str, Attribute], item: str | None = None) -> bool:
        """Whether an item with *attributes* and the id *item* matches; without *item*, a condition on ids is false."""
        if self._names_id and attributes.get(ID) is None:
            attributes = {**attributes, ID: item}
        return self.tree.evaluate(attributes)

    def check(self, schema: Mapping[str, AttributeType]) -> None:
        """Check that the filter fits items with the attributes of *schema*, which has the types of each by its name.

        Raises FilterError for an attribute that is not in *schema*, and for a condition that no value of the types in
        *schema* can match. An attribute that is null in every item fits any condition.
        """
        for predicate in predicates(self.tree):
            held = schema.get(predicate.name.text, AttributeType.TEXT if predicate.name.text == ID else None)
            if held is None:
                raise self._error(unknown_attribute(predicate.name.text, schema), predicate.name.position)
            for type_, shown, position in _needs(predicate):
                if held and not type_ & held:
                    kinds = " or ".join(_WORDS[kind][0] for kind in held)
                    wanted = " or ".join(_WORDS[kind][1] for kind in held)
                    message = f"{short(str(predicate.name))} holds {kinds}, never {shown}; compare it with {wanted}"
                    raise self._error(message, position)

    def _error(self, message: str, position: int) -> FilterError:
        return FilterError(message, expression=self.expression or str(self), position=position)


def _needs(predicate: Predicate) -> Iterator[tuple[AttributeType, str, int]]:
    """Yield each type that *predicate* needs, the part of it that needs the type, and the column of that part."""
    match predicate:
        case IsTrue(name):
            yield AttributeType.BOOLEAN, "true or false", name.position
        case Compare(_, _, value) | TextMatch(_, _, value):
            yield value.type, short(str(value)), value.position
        case Has(_, value):  # a set is text
            yield value.type | AttributeType.TEXT, short(str(value)), value.position
        case In(_, values):
            yield from ((value.type, short(str(value)), value.position) for value in values)
        case IsNull():
            pass


def unknown_attribute(name: str, schema: Mapping[str, AttributeType]) -> str:
    """Return why no item has the attribute *name*, and what the items of *schema* have instead."""
    if not schema:
        return f"no item has the attribute {name!r} or any other; index a catalog with attributes"
    nearest = " or ".join(map(_written, difflib.get_close_matches(name, schema, n=2)))
    listed = ", ".join(map(_written, sorted(schema)[:_NAMED_AT_MOST]))
    more = f" and {len(schema) - _NAMED_AT_MOST} more" if len(schema) > _NAMED_AT_MOST else ""
    if name == "image_colors":
        return "no item has image_colors: the store names no colors; run `visrec index CATALOG --colors`"
    hint = f"the nearest is {nearest}; " if nearest else ""
    return f"no item has the attribute {short(name)!r}; {hint}items have {listed}{more}"


def _written(name: str) -> str:
    return short(str(Name(name)))


def _parts(node: Node) -> tuple[Node, ...]:
    return node.parts if isinstance(node, And) else (node,)

"""The syntax tree of a filter: each node evaluates the attributes of one item, and `str` writes it as an expression."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vision_recs.filters.attribute_type import AttributeType
from vision_recs.types import Attribute, is_unicode

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "like", "null", "none", "true", "false"})
"""The words of the language, in upper or lower case; an attribute with such a name is written in backticks."""

_BARE_NAME = re.compile(r"[^\W\d]\w*")
_QUOTED_AT_MOST = 40
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Name:
    """The name of an attribute; *position* is its column in the expression, counted from 1."""

    text: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Return the name as it is written, in backticks where it needs them."""
        if _BARE_NAME.fullmatch(self.text) and self.text.lower() not in KEYWORDS:
            return self.text
        return "`" + self.text.replace("`", "``") + "`"


@dataclass(frozen=True, slots=True)
class Value:
    """A literal that is not null; *position* is its column. *type* keeps `true` from being equal to 1."""

    type: AttributeType
    value: str | float
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Return the value as it is written."""
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class IsTrue:
    """The attribute is true: `in_stock`."""

    name: Name

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        return attributes.get(self.name.text) is True

    def __str__(self) -> str:
        """Return `in_stock`."""
        return str(self.name)


@dataclass(frozen=True, slots=True)
class IsNull:
    """The item does not have the attribute, or it is null: `color is null`."""

    name: Name

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        return attributes.get(self.name.text) is None

    def __str__(self) -> str:
        """Return `color is null`."""
        return f"{self.name} is null"


@dataclass(frozen=True, slots=True)
class Compare:
    """The attribute has the type of *value* and compares with it by *operator*: == < <= > or >=."""

    name: Name
    operator: str
    value: Value

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        found = attributes.get(self.name.text)
        return AttributeType.of(found) is self.value.type and OPERATORS[self.operator](found, self.value.value)

    def __str__(self) -> str:
        """Return `price < 30`."""
        return f"{self.name} {self.operator} {self.value}"


@dataclass(frozen=True, slots=True)
class In:
    """The attribute is equal to one of *values*, and of the same type: `color in ["red", "blue"]`."""

    name: Name
    values: tuple[Value, ...]

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        found = attributes.get(self.name.text)
        type_ = AttributeType.of(found)
        return any(value.type is type_ and value.value == found for value in self.values)

    def __str__(self) -> str:
        """Return `color in ["red", "blue"]`."""
        return f"{self.name} in [{', '.join(map(str, self.values))}]"


@dataclass(frozen=True, slots=True)
class Has:
    """The attribute, a set, has the element *value*: `"red" in tags`; a value that is no set is a set of itself."""

    name: Name
    value: Value

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        return any(
            AttributeType.of(element) is self.value.type and element == self.value.value
            for element in elements(attributes.get(self.name.text))
        )

    def __str__(self) -> str:
        """Return `"red" in tags`."""
        return f"{self.value} in {self.name}"


def elements(value: Attribute) -> list[Attribute]:
    """Return the elements of *value*: those of a set, which is a list in JSON, or else *value* alone.

    A text that is not Unicode is left out: nothing can name it, and no engine takes it.
    """
    if isinstance(value, str) and value.startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        if isinstance(found, list):
            return [each for each in found if not isinstance(each, str) or is_unicode(each)]
    return [value]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The attribute is text that *method* finds *value* in: startswith, endswith or contains."""

    name: Name
    method: str
    value: Value

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        found, part = attributes.get(self.name.text), str(self.value.value)
        if not isinstance(found, str):
            return False
        if self.method == "contains":
            return part in found
        return found.startswith(part) if self.method == "startswith" else found.endswith(part)

    def __str__(self) -> str:
        """Return `title.startswith("Str")`."""
        return f"{self.name}.{self.method}({self.value})"


@dataclass(frozen=True, slots=True)
class Not:
    """Not *part*: it matches exactly the items that *part* does not match."""

    part: Node

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        return not self.part.evaluate(attributes)

    def __str__(self) -> str:
        """Return `color != "red"`, `color not in [...]`, `"red" not in tags`, `color is not null`, else `not ...`."""
        match self.part:
            case Compare(name, "==", value):
                return f"{name} != {value}"
            case In(name, values):
                return f"{name} not in [{', '.join(map(str, values))}]"
            case Has(name, value):
                return f"{value} not in {name}"
            case IsNull(name):
                return f"{name} is not null"
        return f"not {_grouped(self.part)}"


@dataclass(frozen=True, slots=True)
class And:
    """All of *parts*, which are two or more."""

    parts: tuple[Node, ...]

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        return all(part.evaluate(attributes) for part in self.parts)

    def __str__(self) -> str:
        """Return `a and b and (c or d)`."""
        return " and ".join(map(_grouped, self.parts))


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of *parts*, which are two or more."""

    parts: tuple[Node, ...]

    def evaluate(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether *attributes* match."""
        return any(part.evaluate(attributes) for part in self.parts)

    def __str__(self) -> str:
        """Return `a or b or (c and d)`."""
        return " or ".join(map(_grouped, self.parts))


Predicate: TypeAlias = IsTrue | IsNull | Compare | In | Has | TextMatch
Node: TypeAlias = Predicate | Not | And | Or


def predicates(node: Node) -> Iterator[Predicate]:
    """Yield the predicates of *node*, its leaves, in the order in which they are written."""
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from predicates(part)
        case Not(part):
            yield from predicates(part)
        case _:
            yield node


def nesting(node: Node) -> int:
    """Return how deeply `str` nests parentheses and nots in *node*, the tree of one condition."""
    match node:
        case Not(Compare() | In() | Has() | IsNull()):
            return 0
        case Not(part):
            return 1 + nesting(part)
        case And() | Or():
            return 1
        case _:
            return 0


def short(text: str) -> str:
    """Return *text* on one line, cut where it is too long to be quoted in a message."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= _QUOTED_AT_MOST else text[: _QUOTED_AT_MOST - 3] + "..."


def _grouped(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)

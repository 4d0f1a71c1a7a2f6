"""The tree of a filter: what its parts mean for the attributes of one item, and how they are written."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, TypeAlias

from vision_recs.types import Attribute

WORDS = frozenset({"and", "or", "not", "in", "is", "like", "null", "none", "true", "false"})
"""What means something by itself, in any case; an attribute of that name is written in backticks."""

_BARE_NAME = re.compile(r"[^\W\d]\w*")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class AttributeType(Flag):
    """What the items hold under one name: one kind of value, several, or, as `AttributeType(0)`, only null."""

    TEXT = auto()
    NUMBER = auto()
    TRUTH = auto()

    @classmethod
    def of(cls, value: Attribute) -> AttributeType:
        """Return the kind of *value*; null has none, and neither has what is no attribute, as a list."""
        match value:
            case bool():
                return cls.TRUTH
            case int() | float():
                return cls.NUMBER
            case str():
                return cls.TEXT
            case _:
                return cls(0)


@dataclass(frozen=True, slots=True)
class Name:
    """An attribute, and the column where the expression names it."""

    text: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Return the name as it is written, in backticks where it needs them."""
        if _BARE_NAME.fullmatch(self.text) and self.text.lower() not in WORDS:
            return self.text
        return "`" + self.text.replace("`", "``") + "`"


@dataclass(frozen=True, slots=True)
class Value:
    """A literal that is not null, and its column. *type* keeps `true` from being equal to 1."""

    type: AttributeType
    value: str | float
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Return the value as it is written."""
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Truth:
    """The attribute is true."""

    name: Name

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        return attributes.get(self.name.text) is True

    def __str__(self) -> str:
        """Return `in_stock`."""
        return str(self.name)


@dataclass(frozen=True, slots=True)
class Missing:
    """The item has no such attribute, or null."""

    name: Name

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        return attributes.get(self.name.text) is None

    def __str__(self) -> str:
        """Return `color is null`."""
        return f"{self.name} is null"


@dataclass(frozen=True, slots=True)
class Compare:
    """The attribute is of the type of *value* and stands to it as *operator* says: == < <= > or >=."""

    name: Name
    operator: str
    value: Value

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        found = attributes.get(self.name.text)
        return AttributeType.of(found) is self.value.type and COMPARE[self.operator](found, self.value.value)

    def __str__(self) -> str:
        """Return `price < 30`."""
        return f"{self.name} {self.operator} {self.value}"


@dataclass(frozen=True, slots=True)
class Member:
    """The attribute is one of *values*, type and all."""

    name: Name
    values: tuple[Value, ...]

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        found = attributes.get(self.name.text)
        type_ = AttributeType.of(found)
        return any(value.type is type_ and value.value == found for value in self.values)

    def __str__(self) -> str:
        """Return `color in ["red", "blue"]`."""
        return f"{self.name} in [{', '.join(map(str, self.values))}]"


@dataclass(frozen=True, slots=True)
class Text:
    """The attribute is text of which *value* is a part, where *method* says: startswith, endswith or contains."""

    name: Name
    method: str
    value: Value

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
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
    """Whatever *part* leaves out."""

    part: Node

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        return not self.part.holds(attributes)

    def __str__(self) -> str:
        """Return `color != "red"`, `color not in [...]`, `color is not null`, else `not ...`."""
        match self.part:
            case Compare(name, "==", value):
                return f"{name} != {value}"
            case Member(name, values):
                return f"{name} not in [{', '.join(map(str, values))}]"
            case Missing(name):
                return f"{name} is not null"
        return f"not {_grouped(self.part)}"


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more *parts*."""

    parts: tuple[Node, ...]

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        return all(part.holds(attributes) for part in self.parts)

    def __str__(self) -> str:
        """Return `a and b and (c or d)`."""
        return " and ".join(map(_grouped, self.parts))


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more *parts*."""

    parts: tuple[Node, ...]

    def holds(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether it holds for *attributes*."""
        return any(part.holds(attributes) for part in self.parts)

    def __str__(self) -> str:
        """Return `a or b or (c and d)`."""
        return " or ".join(map(_grouped, self.parts))


Test: TypeAlias = Truth | Missing | Compare | Member | Text
Node: TypeAlias = Test | Not | And | Or


def tests(node: Node) -> Iterator[Test]:
    """Yield the leaves of *node*, in the order in which they are written."""
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from tests(part)
        case Not(part):
            yield from tests(part)
        case _:
            yield node


def _grouped(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)

"""The rules of a shop: what is never shown, what goes up and down, and what has to fit the item that is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from vision_recs.errors import FilterError, PolicyError
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.tree import And, Compare, Member, Name, Node, Not, Or, Value
from vision_recs.types import Attribute, RuleEffect

Asked: TypeAlias = Mapping[str, Mapping[str, Attribute]]
"""The items that a question asks for, with their attributes."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """When a rule applies: for questions after one of *items* or after an item that matches *when*; or always."""

    items: frozenset[str] = frozenset()
    when: Filter | None = None

    def holds(self, asked: Asked) -> bool:
        """Whether the rule applies to a question for *asked*."""
        if not self.items and self.when is None:
            return True
        return any(
            item in self.items or (self.when is not None and self.when.matches(attributes))
            for item, attributes in asked.items()
        )


ALWAYS = Occasion()


@dataclass(frozen=True, slots=True)
class Exclude:
    """Items that match *where* are never shown; *key* says where the rule is written."""

    where: Filter
    occasion: Occasion = ALWAYS
    key: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Shift:
    """Items that match *where* are ranked as if their score were *by* more: above 0 a boost, below 0 a bury."""

    where: Filter
    by: float
    name: str
    occasion: Occasion = ALWAYS
    key: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Pin:
    """*item* is shown at the place *at*, counted from 1, unless the query or an exclusion forbids it."""

    item: str
    at: int
    name: str
    occasion: Occasion = ALWAYS
    key: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Same:
    """An answer has the *attribute* that an asked item has."""

    attribute: str

    @property
    def name(self) -> str:
        """What a fallback chain calls it."""
        return f"same.{self.attribute}"

    def filter(self, asked: Asked) -> Filter | None:
        """Return what an answer to a question for *asked* has to be, or None where no asked item says it."""
        values = _values(self.attribute, asked)
        return Filter(Member(Name(self.attribute), values)) if values else None


@dataclass(frozen=True, slots=True)
class Differ:
    """An answer does not have the *attribute* that an asked item has."""

    attribute: str

    @property
    def name(self) -> str:
        """What a fallback chain calls it."""
        return f"differ.{self.attribute}"

    def filter(self, asked: Asked) -> Filter | None:
        """Return what an answer to a question for *asked* has to be, or None where no asked item says it."""
        values = _values(self.attribute, asked)
        return Filter(Not(Member(Name(self.attribute), values))) if values else None


@dataclass(frozen=True, slots=True)
class Bounds:
    """An answer's number *attribute* is *low* to *high* times that of an asked item."""

    attribute: str
    low: float
    high: float

    @property
    def name(self) -> str:
        """What a fallback chain calls it."""
        return f"bounds.{self.attribute}"

    def filter(self, asked: Asked) -> Filter | None:
        """Return what an answer to a question for *asked* has to be, or None where no asked item says it."""
        values = [value.value for value in _values(self.attribute, asked) if value.type is AttributeType.NUMBER]
        spans = [sorted((self.low * float(value), self.high * float(value))) for value in values]
        nodes = tuple(_within(Name(self.attribute), low, high) for low, high in spans)
        return Filter(nodes[0] if len(nodes) == 1 else Or(nodes)) if nodes else None


Relation: TypeAlias = Same | Differ | Bounds

RELAXABLE = ("one_per", "min_score")
"""What a fallback chain may name besides relations."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The rules that apply to one question.

    An answer has to match every filter of *allowed*, which are what exclusions leave, and those of *to_be*, by the name
    of the relation, as long as that is not relaxed.
    """

    allowed: tuple[Filter, ...]
    to_be: Mapping[str, Filter]
    shifts: tuple[Shift, ...]

    @property
    def most(self) -> float:
        """The most that all shifts together can add."""
        return sum(shift.by for shift in self.shifts if shift.by > 0)

    def effects(self, attributes: Mapping[str, Attribute]) -> tuple[RuleEffect, ...]:
        """Return the effects of the rules on an item with *attributes*."""
        return tuple(
            RuleEffect(shift.name, score_delta=shift.by) for shift in self.shifts if shift.where.matches(attributes)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a shop, in the order in which they are written; *path* is their file.

    *relax* names relations, "one_per" and "min_score" in the order in which they are given up, one after another,
    where fewer items are left than were asked for. What is excluded stays so.
    """

    exclude: tuple[Exclude, ...] = ()
    shifts: tuple[Shift, ...] = ()
    pins: tuple[Pin, ...] = ()
    relations: tuple[Relation, ...] = ()
    relax: tuple[str, ...] = ()
    path: str | None = None

    def ruling(self, asked: Asked) -> Ruling:
        """Return what applies to a question for *asked*."""
        wanted = ((relation.name, relation.filter(asked)) for relation in self.relations)
        return Ruling(
            tuple(Filter(Not(rule.where.tree)) for rule in self.exclude if rule.occasion.holds(asked)),
            {name: test for name, test in wanted if test is not None},
            tuple(rule for rule in self.shifts if rule.occasion.holds(asked)),
        )

    def pinned(self, asked: Asked) -> list[Pin]:
        """Return the pins that apply to a query for *asked*, by their place, equal ones in the order of the file."""
        return sorted((pin for pin in self.pins if pin.occasion.holds(asked)), key=lambda pin: pin.at)

    def check(self, schema: Mapping[str, AttributeType]) -> None:
        """Raise PolicyError for a rule that names an attribute, or compares it, as no item of *schema* has it."""
        for key, test in self._filters():
            try:
                test.check(schema)
            except FilterError as error:
                raise PolicyError(str(error), path=self.path, key=key) from error
        for relation in self.relations:
            kind = AttributeType.NUMBER if isinstance(relation, Bounds) else None
            table, _, _ = relation.name.partition(".")
            key = f"[bounds], key {relation.attribute!r}" if kind else f"key {table!r}"
            require(relation.attribute, schema, key=key, path=self.path, kind=kind)

    def _filters(self) -> Iterator[tuple[str, Filter]]:
        rules: Iterable[Exclude | Shift | Pin] = (*self.exclude, *self.shifts, *self.pins)
        for rule in rules:
            if not isinstance(rule, Pin):
                yield f"{rule.key}, key 'where'", rule.where
            if rule.occasion.when is not None:
                yield f"{rule.key}, key 'when'", rule.occasion.when


def require(
    attribute: str,
    schema: Mapping[str, AttributeType],
    *,
    key: str,
    path: str | None = None,
    kind: AttributeType | None = None,
) -> None:
    """Raise PolicyError where no item of *schema* has *attribute*, or none has it as a *kind*."""
    if attribute not in schema:
        near = difflib.get_close_matches(attribute, schema, n=2) or sorted(schema)
        hint = f"items have {', '.join(near)}" if near else "items have none at all"
        raise PolicyError(f"no item has the attribute {attribute!r}; {hint}", path=path, key=key)
    if kind is not None and schema[attribute] and not kind & schema[attribute]:
        raise PolicyError(f"{attribute} holds no numbers; name an attribute that does", path=path, key=key)


def _values(attribute: str, asked: Asked) -> tuple[Value, ...]:
    """Return what the *asked* items have under *attribute*, each value once, null left out."""
    found = [attributes.get(attribute) for attributes in asked.values()]
    return tuple(dict.fromkeys(Value(AttributeType.of(value), value) for value in found if value is not None))


def _within(name: Name, low: float, high: float) -> Node:
    number = AttributeType.NUMBER
    return And((Compare(name, ">=", Value(number, low)), Compare(name, "<=", Value(number, high))))

"""The rules of a shop: what is never shown, what moves up or down, and what has to fit the query items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from vision_recs.errors import FilterError, PolicyError
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import And, Compare, Has, In, Name, Node, Not, Or, Value, elements
from vision_recs.filters.filter import unknown_attribute
from vision_recs.filters.spans import are_apart
from vision_recs.types import Attribute, RuleEffect

QueryItems: TypeAlias = Mapping[str, Mapping[str, Attribute]]
"""The query items, by id, with their attributes."""


@dataclass(frozen=True, slots=True)
class Condition:
    """When a rule applies: where a query item is one of *items* or matches *when*; without both, always."""

    items: frozenset[str] = frozenset()
    when: Filter | None = None

    def holds(self, query_items: QueryItems) -> bool:
        """Whether the rule applies to a query for *query_items*."""
        if not self.items and self.when is None:
            return True
        return any(
            item in self.items or (self.when is not None and self.when.matches(attributes, item))
            for item, attributes in query_items.items()
        )


ALWAYS = Condition()


@dataclass(frozen=True, slots=True)
class Exclude:
    """Items that match *where* are never shown; *key* says where the rule stands in its file."""

    where: Filter
    condition: Condition = ALWAYS
    key: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Boost:
    """Items that match *where* are ranked as if *score_delta* were added to their score; below 0 it is a bury."""

    where: Filter
    score_delta: float
    name: str
    condition: Condition = ALWAYS
    key: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Pin:
    """*item* is shown at *position*, counted from 1, unless the query or an exclusion forbids it."""

    item: str
    position: int
    name: str
    condition: Condition = ALWAYS
    key: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Same:
    """Every item of the answer has the same value of *attribute* as one of the query items; of sets, one element."""

    attribute: str

    @property
    def name(self) -> str:
        """The name of the rule in the list of fallbacks."""
        return f"same.{self.attribute}"

    def filter(self, query_items: QueryItems) -> Filter | None:
        """Return what the answer has to match, or None where no query item has the attribute."""
        shared = _shared(self.attribute, query_items)
        return None if shared is None else Filter(shared)


@dataclass(frozen=True, slots=True)
class Differ:
    """No item of the answer has the same value of *attribute* as one of the query items; of sets, no element."""

    attribute: str

    @property
    def name(self) -> str:
        """The name of the rule in the list of fallbacks."""
        return f"differ.{self.attribute}"

    def filter(self, query_items: QueryItems) -> Filter | None:
        """Return what the answer has to match, or None where no query item has the attribute."""
        shared = _shared(self.attribute, query_items)
        return None if shared is None else Filter(Not(shared))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The number *attribute* of every item of the answer is *low* to *high* times that of one of the query items."""

    attribute: str
    low: float
    high: float

    @property
    def name(self) -> str:
        """The name of the rule in the list of fallbacks."""
        return f"bounds.{self.attribute}"

    def filter(self, query_items: QueryItems) -> Filter | None:
        """Return what the answer has to match, or None where no query item has the attribute."""
        values = [value.value for value in _values(self.attribute, query_items) if value.type is AttributeType.NUMBER]
        spans = [sorted((self.low * float(value), self.high * float(value))) for value in values]
        nodes = tuple(_within(Name(self.attribute), low, high) for low, high in spans)
        return Filter(Or(nodes)) if nodes else None


AttributeRule: TypeAlias = Same | Differ | Bounds
"""A rule that compares an attribute of the answer with that of the query items."""

RELAXABLE = ("one_per", "min_score")
"""The names that the list of fallbacks may hold besides those of attribute rules."""


class ActiveRules(NamedTuple):
    """The rules that apply to one sub-query.

    Every item of the answer matches each of *exclusion_filters*, which are the negated filters of the exclusions, and
    each of *attribute_filters*, by the name of the rule, unless that rule is relaxed.
    """

    exclusion_filters: tuple[Filter, ...]
    attribute_filters: Mapping[str, Filter]
    boosts: tuple[Boost, ...]

    def max_boost(self, filters: Sequence[Filter]) -> float:
        """Return the most that all boosts together can add to the score of an item that matches *filters*."""
        nodes = [each.tree for each in filters]
        raising = [boost for boost in self.boosts if boost.score_delta > 0]
        return sum(boost.score_delta for boost in raising if not are_apart(boost.where.tree, *nodes))

    def effects(self, attributes: Mapping[str, Attribute], item: str) -> tuple[RuleEffect, ...]:
        """Return the effects of the boosts on *item*, which has *attributes*."""
        return tuple(
            RuleEffect(boost.name, score_delta=boost.score_delta)
            for boost in self.boosts
            if boost.where.matches(attributes, item)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a shop, in the order in which they are written; *path* is their file.

    *fallbacks* names attribute rules, "one_per" and "min_score". Where fewer than k items are found, these rules are
    relaxed one after another, in that order, and each time more items are added. Exclusions are never relaxed.
    """

    exclude: tuple[Exclude, ...] = ()
    boosts: tuple[Boost, ...] = ()
    pins: tuple[Pin, ...] = ()
    attribute_rules: tuple[AttributeRule, ...] = ()
    fallbacks: tuple[str, ...] = ()
    path: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no rule, and nothing of the policy may be relaxed."""
        return not (self.exclude or self.boosts or self.pins or self.attribute_rules or self.fallbacks)

    def active(self, query_items: QueryItems) -> ActiveRules:
        """Return the rules that apply to a query for *query_items*."""
        filters = ((rule.name, rule.filter(query_items)) for rule in self.attribute_rules)
        return ActiveRules(
            tuple(Filter(Not(rule.where.tree)) for rule in self.exclude if rule.condition.holds(query_items)),
            {name: each for name, each in filters if each is not None},
            tuple(boost for boost in self.boosts if boost.condition.holds(query_items)),
        )

    def active_pins(self, query_items: QueryItems) -> list[Pin]:
        """Return the pins that apply to a query for *query_items*, by position; equal ones in the order of the file."""
        return sorted((pin for pin in self.pins if pin.condition.holds(query_items)), key=lambda pin: pin.position)

    def check(self, schema: Mapping[str, AttributeType]) -> None:
        """Raise PolicyError for a rule that names or compares an attribute in a way that fits no item of *schema*."""
        for key, where in self._filters():
            try:
                where.check(schema)
            except FilterError as error:
                raise PolicyError(str(error), path=self.path, key=key) from error
        for rule in self.attribute_rules:
            type_ = AttributeType.NUMBER if isinstance(rule, Bounds) else None
            table, _, _ = rule.name.partition(".")
            key = f"[bounds], key {rule.attribute!r}" if type_ else f"key {table!r}"
            require_attribute(rule.attribute, schema, key=key, path=self.path, type_=type_)

    def _filters(self) -> Iterator[tuple[str, Filter]]:
        rules: Iterable[Exclude | Boost | Pin] = (*self.exclude, *self.boosts, *self.pins)
        for rule in rules:
            if not isinstance(rule, Pin):
                yield f"{rule.key}, key 'where'", rule.where
            if rule.condition.when is not None:
                yield f"{rule.key}, key 'when'", rule.condition.when


def require_attribute(
    attribute: str,
    schema: Mapping[str, AttributeType],
    *,
    key: str,
    path: str | None = None,
    type_: AttributeType | None = None,
) -> None:
    """Raise PolicyError where no item of *schema* has *attribute*, or none has a value of *type_* for it."""
    if attribute not in schema:
        raise PolicyError(unknown_attribute(attribute, schema), path=path, key=key)
    if type_ is not None and schema[attribute] and not type_ & schema[attribute]:
        raise PolicyError(f"{attribute} holds no numbers; name an attribute that does", path=path, key=key)


def _values(attribute: str, query_items: QueryItems) -> tuple[Value, ...]:
    """Return the values of *attribute* that the query items have, each value once, without null."""
    found = [attributes.get(attribute) for attributes in query_items.values()]
    return tuple(dict.fromkeys(Value(AttributeType.of(value), value) for value in found if value is not None))


def _shared(attribute: str, query_items: QueryItems) -> Node | None:
    """Return what items match that share a value of *attribute* with the query items; None where these lack it.

    Two sets have a value in common where they have an element in common.
    """
    name, plain, several = Name(attribute), list[Value](), list[Node]()
    for value in _values(attribute, query_items):
        found = elements(value.value)
        if found == [value.value]:
            plain.append(value)
        else:
            several += [
                Has(name, Value(AttributeType.of(each), each)) for each in found if isinstance(each, str | int | float)
            ]
    nodes = tuple(dict.fromkeys(several))
    if plain:
        nodes = (In(name, tuple(plain)), *nodes)
    return nodes[0] if len(nodes) == 1 else Or(nodes) if nodes else None


def _within(name: Name, low: float, high: float) -> Node:
    number = AttributeType.NUMBER
    return And((Compare(name, ">=", Value(number, low)), Compare(name, "<=", Value(number, high))))

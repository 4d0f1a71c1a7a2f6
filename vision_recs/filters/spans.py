"""Between which numbers an attribute lies where a filter holds, so that two filters may be known to share no item."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

from vision_recs.filters.ast import And, Compare, Node, Or, Value
from vision_recs.filters.attribute_type import AttributeType

_INFINITY = float("inf")


class Span(NamedTuple):
    """The numbers from *low* to *high*; none where *low* is above *high*."""

    low: float
    high: float


def are_apart(*nodes: Node) -> bool:
    """Whether no item matches all of *nodes*, as far as comparisons with numbers say."""
    return any(span.low > span.high for span in _spans(And(nodes)).values())


def _spans(node: Node) -> Mapping[str, Span]:
    """Return the numbers that are left for attributes where *node* holds, by name; others may have any value."""
    match node:
        case And(parts):
            return reduce(_both, map(_spans, parts), {})
        case Or(parts):
            return reduce(_either, map(_spans, parts)) if parts else {}
        case Compare(name, operator, Value(AttributeType.NUMBER, int() | float() as number)):
            is_above, is_below = operator[0] == ">", operator[0] == "<"
            return {name.text: Span(-_INFINITY if is_below else number, _INFINITY if is_above else number)}
        case _:
            return {}


def _both(one: Mapping[str, Span], other: Mapping[str, Span]) -> Mapping[str, Span]:
    shared = {
        name: Span(max(one[name].low, other[name].low), min(one[name].high, other[name].high))
        for name in one.keys() & other.keys()
    }
    return {**one, **other, **shared}


def _either(one: Mapping[str, Span], other: Mapping[str, Span]) -> Mapping[str, Span]:
    """Return what is left where one of two nodes holds; a node for which nothing is left counts as any other."""
    return {
        name: Span(min(one[name].low, other[name].low), max(one[name].high, other[name].high))
        for name in one.keys() & other.keys()
    }

"""What a filter comes to for a part of the items: it may have fewer attributes, or fewer types of them, than all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from vision_recs.filters.ast import (
    And,
    Compare,
    Has,
    In,
    IsNull,
    IsTrue,
    Node,
    Not,
    Or,
    Predicate,
    TextMatch,
)
from vision_recs.filters.attribute_type import AttributeType
from vision_recs.filters.filter import ID, Filter

Folded: TypeAlias = Node | bool


def fold(where: Filter, schema: Mapping[str, AttributeType]) -> Filter | bool:
    """Return a filter that matches the same items as *where*, of those whose attributes have the types in *schema*.

    It passes `Filter.check` with *schema*. The result is True where all items match, and False where none does.
    """
    folded = _fold(where.tree, {ID: AttributeType.TEXT, **schema})
    if folded == where.tree:
        return where
    return folded if isinstance(folded, bool) else Filter(folded)


def _fold(node: Node, schema: Mapping[str, AttributeType]) -> Folded:
    match node:
        case Not(part):
            folded = _fold(part, schema)
            return not folded if isinstance(folded, bool) else Not(folded)
        case And(parts):
            return _joined(And, (_fold(part, schema) for part in parts), neutral=True)
        case Or(parts):
            return _joined(Or, (_fold(part, schema) for part in parts), neutral=False)
        case _:
            return _folded_predicate(node, schema.get(node.name.text, AttributeType(0)))


def _folded_predicate(predicate: Predicate, held: AttributeType) -> Folded:
    """Return *predicate* without what no value of the types *held* is equal to."""
    if isinstance(predicate, IsNull):
        return predicate if held else True
    if not held:
        return False
    match predicate:
        case IsTrue():
            can_match = AttributeType.BOOLEAN in held
        case Compare(_, _, value) | TextMatch(_, _, value):
            can_match = value.type in held
        case Has(_, value):  # a set is text
            can_match = bool(held & (value.type | AttributeType.TEXT))
        case In(name, values):
            kept = tuple(value for value in values if value.type in held)
            return In(name, kept) if kept else False
    return predicate if can_match else False


def _joined(kind: type[And | Or], parts: Iterable[Folded], *, neutral: bool) -> Folded:
    """Return *parts* joined by *kind*: a part that is *neutral* changes nothing, and its opposite decides."""
    kept: list[Node] = []
    for part in parts:
        if not isinstance(part, bool):
            kept.append(part)
        elif part is not neutral:
            return part
    if not kept:
        return neutral
    return kept[0] if len(kept) == 1 else kind(tuple(kept))

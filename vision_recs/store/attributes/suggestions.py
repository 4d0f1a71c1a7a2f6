"""Texts that a filter looks for and no item has: they may be spelled wrong, so the nearest known ones are named."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import Compare, Has, In, Name, Value, elements, predicates
from vision_recs.filters.filter import ID
from vision_recs.store.attributes.format import AttributeColumns

MOST_TEXTS = 20_000
"""Of an attribute: among more, the nearest one is not looked for."""


def unknown_values(where: Filter, columns: Sequence[AttributeColumns]) -> Iterator[str]:
    """Yield a sentence for each text that *where* looks for and no item has, with the nearest one that items have."""
    for name, value in sought_texts(where):
        texts = set(_texts(name.text, columns))
        if len(texts) > MOST_TEXTS or not texts:
            continue
        yield from unknown_value(name, value, texts)


def unknown_value(name: Name, value: str, texts: Collection[str]) -> Iterator[str]:
    """Yield a sentence if *value* is none of the *texts* that items have under *name*, and the nearest one of them."""
    known = {*texts, *(each for text in texts for each in elements(text) if isinstance(each, str))}
    if value not in known:
        nearest = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
        hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
        yield f"no item has {value!r} as {name}{hint}"


def sought_texts(where: Filter) -> Iterator[tuple[Name, str]]:
    """Yield each text that *where* wants items to have, with the name of the attribute, which a person wrote.

    A color that was named has no place in an expression: "blue" means navy and sky, too, and need not be all of them.
    """
    for predicate in predicates(where.tree):
        values: Iterable[Value] = ()
        match predicate:
            case Compare(_, "==", value) | Has(_, value):
                values = (value,)
            case In(_, several):
                values = several
        if predicate.name.position and predicate.name.text != ID:
            yield from ((predicate.name, str(value.value)) for value in values if value.type is AttributeType.TEXT)


def _texts(name: str, columns: Sequence[AttributeColumns]) -> Iterator[str]:
    """Yield the distinct texts of each group of items, until they are too many."""
    count = 0
    for each in columns:
        for group in each.groups:
            extents = group.attributes.get(name, {})
            if "dictionary" not in extents or count > MOST_TEXTS:
                continue
            ends = each.array(extents["dictionary_ends"]).tolist()
            texts = each.array(extents["dictionary"]).tobytes()
            count += len(ends)
            yield from (texts[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True))

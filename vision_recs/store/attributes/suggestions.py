"""Texts that a filter looks for and no item has: they may be spelled wrong, so the nearest known ones are named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import Compare, Has, In, Name, Value, elements, predicates
from vision_recs.filters.filter import ID
from vision_recs.store.attributes.format import AttributeColumns

_MOST_TEXTS = 20_000  # of an attribute: among more, the nearest one is not looked for


def unknown_values(where: Filter, columns: Sequence[AttributeColumns]) -> Iterator[str]:
    """Yield a sentence for each text that *where* looks for and no item has, with the nearest one that items have."""
    for name, value in _sought(where):
        texts = set(_texts(name.text, columns))
        if len(texts) > _MOST_TEXTS or not texts:
            continue
        known = texts | {each for text in texts for each in elements(text) if isinstance(each, str)}
        if value.value in known:
            continue
        nearest = difflib.get_close_matches(str(value.value), known, n=1, cutoff=0.5)
        hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
        yield f"no item has {value.value!r} as {name}{hint}"


def _sought(where: Filter) -> Iterator[tuple[Name, Value]]:
    for predicate in predicates(where.tree):
        values: Iterable[Value] = ()
        match predicate:
            case Compare(_, "==", value) | Has(_, value):
                values = (value,)
            case In(_, several):
                values = several
        if predicate.name.text != ID:
            yield from ((predicate.name, value) for value in values if value.type is AttributeType.TEXT)


def _texts(name: str, columns: Sequence[AttributeColumns]) -> Iterator[str]:
    """Yield the distinct texts of each group of items, until they are too many."""
    count = 0
    for each in columns:
        for group in each.groups:
            extents = group.attributes.get(name, {})
            if "dictionary" not in extents or count > _MOST_TEXTS:
                continue
            ends = each.array(extents["dictionary_ends"]).tolist()
            texts = each.array(extents["dictionary"]).tobytes()
            count += len(ends)
            yield from (texts[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True))

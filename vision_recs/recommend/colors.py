"""Items by the colors that their images show, as shoppers say them: "navy", "black or white", "dark crimson"."""

from __future__ import annotations

from collections.abc import Iterable

from vision_recs.errors import FilterError
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import And, Has, Name, Node, Or, Value
from vision_recs.images.named_colors import NAMES, named_in
from vision_recs.store.added import OF_ITEM


def shows_colors(texts: Iterable[str]) -> Filter | None:
    """Return what matches items that show, for each of *texts*, a color that it names; None where there is no text.

    Raises FilterError for a text that names no color.
    """
    nodes = [_shows(text) for text in texts]
    return None if not nodes else Filter(nodes[0] if len(nodes) == 1 else And(tuple(nodes)))


def _shows(text: str) -> Node:
    names = named_in(text)
    if not names:
        known = ", ".join(sorted(NAMES))
        raise FilterError(f"{text!r} names no color; the colors are {known}", expression=text, position=0)
    nodes = tuple(Has(Name(OF_ITEM), Value(AttributeType.TEXT, name)) for name in names)
    return nodes[0] if len(nodes) == 1 else Or(nodes)

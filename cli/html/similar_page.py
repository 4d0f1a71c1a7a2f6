"""The page of `visrec similar`: the query, its matches, their scores and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.store import Store
from vision_recs.types import ImageSource, Match

from ..output import QueryPart, effect_texts, explanation_lines
from .page import Card, data_url, images_of, render, title_of

_QUERY_IMAGES = 6
"""How many images of a query item the page shows."""


def write_page(path: Path, store: Store, parts: Sequence[QueryPart], matches: Sequence[Match]) -> None:
    """Write to *path* a page that shows the *parts* of the query and its *matches*."""
    images = images_of(store)
    query = [_query_card(store, images, part) for part in parts]
    render(
        path,
        "similar.html",
        name=", ".join(card.title for card in query),
        query=query,
        matches=[_match_card(images, match) for match in matches],
        manifest=store.manifest,
    )


def _query_card(store: Store, images: ImageSource, part: QueryPart) -> Card:
    notes = [part.note] if part.note else []
    if part.image is not None:
        return Card(part.image.name, "", [data_url(ImageFiles("."), str(part.image))], {}, notes=notes)
    if part.text:
        return Card(f"“{part.text}”", "", [], {}, notes=notes)
    sources = [data_url(images, image.image) for image in store.images(part.item)[:_QUERY_IMAGES]]
    title, attributes = title_of(part.item, store.attributes(part.item))
    return Card(title, part.item, sources, attributes, notes=notes)


def _match_card(images: ImageSource, match: Match) -> Card:
    title, attributes = title_of(match.id, match.attributes)
    return Card(
        title,
        match.id,
        [data_url(images, match.image)],
        attributes,
        match.score,
        notes=effect_texts(match.explanation),
        explanation=explanation_lines(match),
    )

"""The page of `visrec similar`: the query, its matches, their scores and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store import Store
from vision_recs.types import ImageSource, Match

from ..output import QueryPart, effect_texts, explanation_lines
from .page import Card, data_url, images_of, render, title_of

_QUERY_IMAGES = 6
"""How many images of a query item the page shows."""


def write_page(path: Path, store: Store | OpenedStores, parts: Sequence[QueryPart], matches: Sequence[Match]) -> None:
    """Write to *path* a page that shows the *parts* of the query and its *matches*."""
    stores = [store] if isinstance(store, Store) else store.stores
    sources = [(each, images_of(each)) for each in stores]
    query = [_query_card(*_with_item(sources, part.item), part) for part in parts]
    render(
        path,
        "similar.html",
        name=", ".join(card.title for card in query),
        query=query,
        matches=[_match_card(_with_item(sources, match.id)[1], match) for match in matches],
        items=sum(each.manifest.items for each in stores),
        manifest=stores[0].manifest,
    )


def _with_item(sources: Sequence[tuple[Store, ImageSource]], item: str) -> tuple[Store, ImageSource]:
    """Return the one of *sources* that has *item*, or the last one."""
    return next((each for each in sources[:-1] if each[0].attributes_of([item])), sources[-1])


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

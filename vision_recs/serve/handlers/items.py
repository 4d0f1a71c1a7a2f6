"""Handlers: items, facets and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from vision_recs.errors import RequestError
from vision_recs.serve.convert import cover_of, thumbnail_of, to_attributes, to_filter, to_image
from vision_recs.serve.facets import ItemFacets
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.listing import Page, list_items
from vision_recs.serve.routing import Context
from vision_recs.serve.schemas import (
    Facets,
    FacetsParameters,
    ItemDetails,
    ItemPage,
    ItemPath,
    ItemsParameters,
    ItemSummary,
    NoParameters,
    ThumbnailParameters,
    Updated,
)
from vision_recs.serve.served import Served, ServedItems
from vision_recs.serve.updates import LINES
from vision_recs.serve.uploads import media_type

UPDATE_TYPES = ("application/json", LINES)

_MAX_FOUND = 2_000  # items that a search by words finds
_A_YEAR = "max-age=31536000, immutable"


async def item(context: Context, parameters: ItemPath) -> ItemDetails:
    """Return an item with its attributes and images."""
    return await context.state.queries.run(context.snapshot, _item, context.snapshot, parameters.id)


async def item_by_id(context: Context, parameters: ItemPath) -> ItemDetails:
    """Return an item by its id in the query string, where every id comes through: `..`, say, does not in a path."""
    return await item(context, parameters)


async def items(context: Context, parameters: ItemsParameters) -> ItemPage:
    """List items by words, by a filter, or all of them.

    A search by words returns the best items first, at most 2,000 of them. All other lists are ordered by id, unless
    `sort` says otherwise.
    """
    state, snapshot = context.state, context.snapshot
    search = await state.item_search(snapshot) if parameters.q else None
    facets = await state.item_facets(snapshot)
    return await state.lists.run(snapshot, _items, snapshot, parameters, facets, search)


async def facets(context: Context, parameters: FacetsParameters) -> Facets:
    """List the attributes that items can be filtered by, with their values.

    The counts are those of the items with the words `q` that match `where`: of what is left.
    """
    state, snapshot = context.state, context.snapshot
    search = await state.item_search(snapshot) if parameters.q else None
    counted = await state.item_facets(snapshot)
    return await state.lists.run(snapshot, _facets, snapshot, parameters, counted, search)


async def update(context: Context, parameters: NoParameters) -> Updated:  # noqa: ARG001
    """Change items: attributes, images, new items, items that are gone.

    The answer comes when the changes are on the disk: all of them, or after an error none. A server without a token
    changes nothing.
    """
    state = context.state
    if state.options.engine is not None:
        raise RequestError("this server answers from an engine; change the store, and publish it", status=403)
    if not state.auth.is_required:
        raise RequestError("this server has no token, so it changes nothing; start it with --token-file", status=403)
    body = await state.bodies.changes(context.request, UPDATE_TYPES)
    updated = await state.updates.make(body, media_type(context.request))
    state.wake()
    return updated


async def thumbnail(context: Context, parameters: ThumbnailParameters) -> Response:
    """Return an image of the store as a small JPEG."""
    state = context.state
    data = await state.thumbnail(context.snapshot, parameters.digest, parameters.side)
    visibility = "private" if state.auth.is_required else "public"
    return Response(data, media_type="image/jpeg", headers={"cache-control": f"{visibility}, {_A_YEAR}"})


def _item(snapshot: Served, item: str) -> ItemDetails:
    items = snapshot.items
    images = [to_image(image) for image in items.images(item)]
    return ItemDetails(items.generation, item, to_attributes(items.attributes_of([item])[item]), images)


def _items(snapshot: Served, parameters: ItemsParameters, facets: ItemFacets, search: ItemSearch | None) -> ItemPage:
    items, start, limit = snapshot.items, parameters.offset, parameters.limit
    where, found = to_filter(parameters.where), _found(search, parameters.q)
    page = list_items(facets.table, where, Page(start, limit, parameters.sort), found=found)
    next_offset = start + limit if start + limit < page.total else None
    notes = [] if page.total or where is None else items.unknown_values(where)
    corrected = search.corrected(parameters.q or "") if search is not None and not found else None
    summaries = [_summary(items, item) for item in page.ids]
    return ItemPage(items.generation, page.total, summaries, next_offset, notes, corrected)


def _facets(snapshot: Served, parameters: FacetsParameters, facets: ItemFacets, search: ItemSearch | None) -> Facets:
    total, left = facets.left(to_filter(parameters.where), _found(search, parameters.q))
    return Facets(snapshot.items.generation, total, left)


def _found(search: ItemSearch | None, text: str | None) -> Sequence[str] | None:
    """Return the ids of the items with the words *text*, best first; None where no words are asked for."""
    return None if search is None else search.search(text or "", _MAX_FOUND)


def _summary(items: ServedItems, item: str) -> ItemSummary:
    cover = cover_of(items.images(item))
    return ItemSummary(item, thumbnail_of(cover), to_attributes(items.attributes_of([item])[item]))

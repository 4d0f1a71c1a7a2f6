"""Handlers: items, facets and thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from starlette.responses import Response

from vision_recs.errors import RequestError
from vision_recs.filters import Filter
from vision_recs.serve.convert import thumbnail_url, to_attributes, to_filter
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.routing import Context
from vision_recs.serve.schemas import (
    Facets,
    Image,
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


async def items(context: Context, parameters: ItemsParameters) -> ItemPage:
    """List items by words, by a filter, or all of them.

    A search by words returns the best items first, at most 2,000 of them. All other lists have an order that stays the
    same within a generation.
    """
    search = await context.state.item_search(context.snapshot) if parameters.q else None
    return await context.state.queries.run(context.snapshot, _items, context.snapshot, parameters, search)


async def facets(context: Context, parameters: NoParameters) -> Facets:  # noqa: ARG001
    """List the attributes that items can be filtered by, with their values."""
    search = await context.state.item_search(context.snapshot)
    return Facets(context.snapshot.search_generation, search.facets)


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
    images = [
        Image(image.image, image.digest, thumbnail_url(image.digest), to_attributes(image.attributes))
        for image in items.images(item)
    ]
    return ItemDetails(items.generation, item, to_attributes(items.attributes_of([item])[item]), images)


def _items(snapshot: Served, parameters: ItemsParameters, search: ItemSearch | None) -> ItemPage:
    items, start, limit = snapshot.items, parameters.offset, parameters.limit
    where = to_filter(parameters.where)
    if where is not None:
        where.check(items.attribute_types())
    found = list(islice(_ids(items, parameters, where, search), start, start + limit + 1))
    next_offset = start + limit if len(found) > limit else None
    notes = [] if found or start or where is None else items.unknown_values(where)
    return ItemPage(items.generation, [_summary(items, item) for item in found[:limit]], next_offset, notes)


def _ids(
    items: ServedItems, parameters: ItemsParameters, where: Filter | None, search: ItemSearch | None
) -> Iterator[str]:
    if search is not None:
        for found in search.search(parameters.q or "", _MAX_FOUND):
            attributes = items.attributes_of([found]).get(found)  # None: the search was that of another generation
            if attributes is not None and (where is None or where.matches(attributes, found)):
                yield found
    elif where is not None:
        yield from items.ids_where(where)
    else:
        yield from items.ids(limit=parameters.offset + parameters.limit + 1)


def _summary(items: ServedItems, item: str) -> ItemSummary:
    first = items.images(item)[0]
    return ItemSummary(item, thumbnail_url(first.digest), to_attributes(items.attributes_of([item])[item]))

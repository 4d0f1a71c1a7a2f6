"""Handlers: the items themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
from starlette.responses import Response

from vision_recs.filters import Filter
from vision_recs.serve.convert import attributes_of, filter_of, thumbnail_of
from vision_recs.serve.item_search import Lookup
from vision_recs.serve.routing import Call
from vision_recs.serve.schemas import (
    FacetAnswer,
    Facets,
    Image,
    ItemAnswer,
    ItemLine,
    ItemPath,
    Items,
    ItemsParameters,
    NoParameters,
    ThumbnailParameters,
)
from vision_recs.serve.snapshots import Edition
from vision_recs.store import Store
from vision_recs.store.items import StoredImage

_FOUND = 2_000  # items that a search by words finds at most
_AT_ONCE = 500  # positions whose rows are read together
_A_YEAR = "max-age=31536000, immutable"


async def item(call: Call, parameters: ItemPath) -> ItemAnswer:
    """Tell all of an item: its attributes and images."""
    return await call.service.answers.run(call.edition, _item, call.edition, parameters.id)


async def items(call: Call, parameters: ItemsParameters) -> Items:
    """List items by words, by a filter, or all of them.

    Those found by words come best first, up to 2,000 of them; all others in an order of their own that stays the same
    within a generation.
    """
    lookup = await call.service.lookup(call.edition) if parameters.q else None
    return await call.service.answers.run(call.edition, _items, call.edition, parameters, lookup)


async def facets(call: Call, parameters: NoParameters) -> Facets:  # noqa: ARG001
    """Tell what items can be filtered by: attributes with few values, and ranges of numbers."""
    lookup = await call.service.lookup(call.edition)
    found = [msgspec.convert(facet, FacetAnswer, from_attributes=True) for facet in lookup.facets]
    return Facets(call.edition.store.generation, found)


async def thumbnail(call: Call, parameters: ThumbnailParameters) -> Response:
    """Show an image of the index as a small JPEG, by the digest of its bytes."""
    service = call.service
    small = await service.small.run(
        call.edition, service.thumbnails.get, call.edition.store, parameters.digest, parameters.side
    )
    scope = "public" if service.options.token is None else "private"
    return Response(small, media_type="image/jpeg", headers={"cache-control": f"{scope}, {_A_YEAR}"})


def _item(edition: Edition, item: str) -> ItemAnswer:
    store = edition.store
    attributes = attributes_of(store.attributes(item))
    images = []
    for image in store.images(item):
        digest = _digest(store, image)
        images.append(Image(image.image, digest, thumbnail_of(digest), attributes_of(image.attributes)))
    return ItemAnswer(store.generation, item, attributes, images)


def _items(edition: Edition, asked: ItemsParameters, lookup: Lookup | None) -> Items:
    where = filter_of(asked.where)
    if where is not None:
        where.check(edition.store.attribute_types())
    ids = _ids(edition.store, asked, where, lookup)
    found = list(islice(ids, asked.offset, asked.offset + asked.limit + 1))
    more = asked.offset + asked.limit if len(found) > asked.limit else None
    return Items(edition.store.generation, [_line(edition.store, each) for each in found[: asked.limit]], more)


def _ids(store: Store, asked: ItemsParameters, where: Filter | None, lookup: Lookup | None) -> Iterator[str]:
    if lookup is not None:
        for found in lookup.search(asked.q or "", _FOUND):
            if where is None or where.matches(store.attributes(found)):
                yield found
    elif where is not None:
        yield from _matching(store, where)
    else:
        yield from store.items.ids(limit=asked.offset + asked.limit + 1)


def _matching(store: Store, where: Filter) -> Iterator[str]:
    """Yield each item that matches *where* once, in the order in which their images were embedded."""
    positions = store.select(where)
    seen: set[str] = set()
    for part in np.array_split(positions, range(_AT_ONCE, len(positions), _AT_ONCE)):
        rows = store.items.rows_where(part.tolist(), _AT_ONCE, where)
        for position in part.tolist():
            for row in rows.get(position, ()):
                if row.id not in seen:
                    seen.add(row.id)
                    yield row.id


def _line(store: Store, item: str) -> ItemLine:
    first = store.images(item)[0]
    return ItemLine(item, thumbnail_of(_digest(store, first)), attributes_of(store.attributes(item)))


def _digest(store: Store, image: StoredImage) -> str:
    return store.rows([image.position], limit=1)[image.position][0].digest

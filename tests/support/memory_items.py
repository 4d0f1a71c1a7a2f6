"""The items of a shop in memory, as an `ItemSource` and a `VectorSource`: no store, no files, no SQLite."""

import difflib
import hashlib

import numpy as np
from fake_shop import FakeEncoder

from vision_recs import images
from vision_recs.encoders.canary import embed_canary
from vision_recs.errors import UnknownItem
from vision_recs.filters import AttributeType
from vision_recs.types import ItemImage, Row
from vision_recs.vectors import normalize_rows


class MemoryItems:
    """All items of *shop*; every distinct image is at one position, in the order of the items."""

    fingerprint = FakeEncoder().spec.fingerprint
    generation = 7
    weights_file = None

    def __init__(self, shop, encoder=None):
        self.shop = shop
        encoder = encoder or FakeEncoder()
        self.encoder = encoder.spec
        self.dim = encoder.spec.dim
        self.canary = embed_canary(encoder)
        self.digest_of = {name: hashlib.sha256(data).hexdigest() for name, data in shop.files.items()}
        self.shown = [(item.id, name) for item in shop.items.values() for name in item.images]
        self.position_of = {}
        for _, name in self.shown:
            self.position_of.setdefault(self.digest_of[name], len(self.position_of))
        data_of = {self.digest_of[name]: data for name, data in shop.files.items()}
        pixels = [images.load(data_of[digest], encoder.spec.preprocess) for digest in self.position_of]
        self.every = normalize_rows(encoder.encode(np.stack(pixels)).astype(np.float16))[0]  # as precise as a store

    # ItemSource

    @property
    def item_count(self):
        return len(self.shop.items)

    @property
    def image_count(self):
        return len(self.shown)

    def attribute_types(self):
        types = {}
        for item in self.shop.items.values():
            for name, value in item.attributes.items():
                types[name] = types.get(name, AttributeType(0)) | AttributeType.of(value)
        return types

    def ids(self, *, after="", limit=None):
        return sorted(item for item in self.shop.items if item > after)[:limit]

    def attributes_of(self, items):
        return {item: self.shop.items[item].attributes for item in items if item in self.shop.items}

    def images(self, item):
        if item not in self.shop.items:
            nearest = tuple(difflib.get_close_matches(item, self.shop.items, cutoff=0))
            raise UnknownItem(f"no item has the id {item!r}", item=item, nearest=nearest)
        found = self.shop.items[item]
        own = found.image_attributes or [{}] * len(found.images)
        return [ItemImage(name, self.digest_of[name], each) for name, each in zip(found.images, own, strict=True)]

    def match_attributes(self, images):
        known = [item for item, _ in images if item in self.shop.items]
        own = {(item, image.image): image.attributes for item in known for image in self.images(item)}
        return [{**self.shop.items[pair[0]].attributes, **own[pair]} if pair in own else None for pair in images]

    def vectors_of(self, digests):
        return self.every[[self.position_of[digest] for digest in digests]]

    def sample_vectors(self, count):
        return self.every[:: max(1, -(-len(self.every) // count))]

    def project(self, vectors):
        return vectors

    # VectorSource

    def positions(self):
        return np.arange(len(self.every))

    def vectors(self, positions):
        return self.every[positions]

    def rows(self, positions, *, limit, where=None):
        rows = {position: [] for position in positions}
        for item, name in sorted(self.shown):
            position = self.position_of[self.digest_of[name]]
            if position in rows and (where is None or where.matches(self.shop.items[item].attributes)):
                rows[position].append(Row(item, name, self.digest_of[name]))
        return {position: found[:limit] for position, found in rows.items()}

    def filtered(self, where):
        where.check(self.attribute_types())
        return Filtered(self, where)


class Filtered:
    """What a filter leaves of the items."""

    def __init__(self, items, where):
        self._items, self._where = items, where

    def mask(self):
        rows = self.rows(self._items.positions().tolist(), limit=1)
        return np.array([bool(rows[position]) for position in rows])

    def positions(self):
        return np.flatnonzero(self.mask())

    def count(self):
        return int(self.mask().sum())

    def rows(self, positions, *, limit):
        return self._items.rows(positions, limit=limit, where=self._where)

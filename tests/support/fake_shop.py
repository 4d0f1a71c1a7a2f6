"""A shop in memory, an encoder of six lines, and what a store of that shop has to hold, found slowly and obviously."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vision_recs.errors import ImageError
from vision_recs.images import load
from vision_recs.jobs import IndexOptions
from vision_recs.jobs import index as run_index
from vision_recs.store import Store
from vision_recs.types import EncoderSpec, ImageData, Item, PreprocessConfig, Unchanged
from vision_recs.vectors import normalize_rows

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a dozen vectors are searched faster by one thread than by several

SIDE, GRID = 8, 2
PREPROCESS = PreprocessConfig((SIDE, SIDE), "stretch", SIDE, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class FakeEncoder:
    """The mean colors of the cells of a grid, rolled by *turn*; black has no direction. Counts what it encodes."""

    def __init__(self, name="fake", *, turn=0):
        self.spec = EncoderSpec(name, f"{turn:064x}", 3 * GRID * GRID, PREPROCESS, "mean")
        self.turn = turn
        self.encoded = 0

    def encode(self, pixels):
        self.encoded += len(pixels)
        cells = pixels.reshape(len(pixels), GRID, SIDE // GRID, GRID, SIDE // GRID, 3).mean(axis=(2, 4))
        return normalize_rows(np.roll(cells.reshape(len(pixels), -1), self.turn, axis=1))[0]


class Unused(FakeEncoder):
    """An encoder that must not be used."""

    def encode(self, pixels):
        raise AssertionError(f"{len(pixels)} images were to be embedded")


def png(pixels):
    """Return an image (height, width, 3) as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def image(seed):
    """Return an image of random pixels; another one for each *seed*."""
    return png(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)))


BLACK = png(np.zeros((SIDE, SIDE, 3)))
TRUNCATED = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)))[:2000]
NO_IMAGE = b"<html>404</html>"
PHOTOSHOP = b"8BPS\0\1" + bytes(40)


@dataclass
class Shop:
    """A catalog in memory: change *items* and *files* at will, and `touch` what keeps its bytes."""

    items: dict[str, Item] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    location: str = "/shop/catalog.csv"
    root: str = "/shop"
    touched: dict[str, int] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self.items.values()))

    @property
    def images(self):
        return self

    def read(self, reference, *, known=None):
        if known is not None and known == self.signature(reference):
            return Unchanged()
        self.reads.append(reference)
        if reference not in self.files:
            raise ImageError("missing", f"there is no file {reference!r}; check the path in the catalog")
        if not self.files[reference]:
            raise ImageError("empty", f"{reference!r} has no bytes; copy the image again")
        return ImageData(self.files[reference], self.signature(reference))

    def signature(self, reference):
        if reference not in self.files:
            return None
        return f"{hashlib.sha256(self.files[reference]).hexdigest()}-{self.touched.get(reference, 0)}"

    def put(self, item, *images, image_attributes=(), **attributes):
        """Sell *item* with *images*: names of files, to which numbers are short for `image(number)`."""
        names = tuple(name if isinstance(name, str) else f"{name}.png" for name in images)
        for name, given in zip(names, images, strict=True):
            if not isinstance(given, str):
                self.files[name] = image(given)
        self.items[item] = Item(item, names, attributes, tuple(image_attributes))


class BulkShop(Shop):
    """A shop that says for many images at a time which signatures they have, as one of files does."""

    def signatures(self, references):
        return [self.signature(reference) for reference in references]


def index(shop, store, encoder=None, *, shard_size=4, index_type=None):
    """Index *shop* with shards of *shard_size* images."""
    options = IndexOptions(shard_size=shard_size, batch_size=shard_size, workers=2, index_type=index_type)
    return run_index(shop, store, encoder=encoder or FakeEncoder(), options=options)


def shop_of(count, *, first=0, kind=Shop):
    """Return a shop of *count* items with an image each: item000 shows 0.png ..."""
    shop = kind()
    for number in range(first, first + count):
        shop.put(f"item{number:03}", number, price=number)
    return shop


@dataclass(frozen=True)
class Content:
    """All that a generation says of a shop: item -> (attributes, its images), and (item, image) -> reason."""

    items: dict
    skipped: dict

    @property
    def digests(self):
        return self.digests_of(self.items)

    def digests_of(self, items):
        """Return the digests of the images of *items*."""
        return {digest for item in items for _, digest, _, _ in self.items[item][1]}


def wanted(shop, encoder=None):
    """Return what a store of *shop* has to hold."""
    encoder = encoder or FakeEncoder()
    items, skipped = {}, {}
    for item in shop.items.values():
        shown = []
        for name in dict.fromkeys(item.images):
            number = item.images.index(name)
            own = dict(item.image_attributes[number]) if item.image_attributes else {}
            reason, vector = fate(shop.files.get(name), encoder)
            if reason:
                skipped[item.id, name] = reason
            else:
                shown.append((name, hashlib.sha256(shop.files[name]).hexdigest(), vector, own))
        if shown:
            items[item.id] = (dict(item.attributes), shown)
    return Content(items, skipped)


def fate(data, encoder):
    """Return why the image in *data* is skipped, or its vector as the store keeps it."""
    if data is None:
        return "missing", None
    try:
        pixels = load(data, encoder.spec.preprocess)
    except ImageError as error:
        return error.reason, None
    vector = type(encoder)(encoder.spec.name, turn=encoder.turn).encode(pixels[None])
    if not vector.any():
        return "zero-vector", None
    return None, tuple(normalize_rows(vector.astype(np.float16))[0][0].tolist())


def content(store):
    """Return what the published generation of the store in the folder *store*, or an open Store, holds."""
    opened = Store.open(store) if isinstance(store, str | Path) else store
    items = {}
    for item in opened.items.ids():
        shown = []
        for known in opened.images(item):
            vector = tuple(opened.vectors_of([known.digest])[0].tolist())
            shown.append((known.image, known.digest, vector, known.attributes))
        items[item] = (opened.attributes(item), shown)
    skipped = {(skip.id, skip.image): skip.reason for skip in opened.items.skipped()}
    return Content(items, skipped)


def ranking(held, query_items, k, *, images=(), filtered=False):
    """Return the ids and scores that the *query_items* and the bytes *images* bring, from *held*, a Content.

    Unless *filtered*, an image that several items show is in the answer once: with an item in stock, or else the first.
    """
    parts = [[vector for _, _, vector, _ in held.items[item][1]] for item in query_items]
    encoder = FakeEncoder()
    parts += [encoder.encode(load(data, encoder.spec.preprocess)[None]).tolist() for data in images]
    every = [
        (score(vector, parts), item, name, digest)
        for item, (_, shown) in held.items.items()
        for name, digest, vector, _ in shown
    ]
    every = sorted((row for row in every if row[1] not in query_items), key=lambda row: (-row[0], row[1], row[2]))
    if not filtered:
        first_of = {row[3]: row for row in reversed(every)}
        every.sort(key=lambda row: (-row[0], first_of[row[3]][1:3], not in_stock(held, row[1])))
    answer, seen = [], set()
    for value, item, name, digest in every:
        if item not in seen and (filtered or digest not in seen):
            seen |= {item, digest}
            answer.append((item, name, value))
    return answer[:k]


def in_stock(held, item):
    return held.items[item][0].get("in_stock") is True


def score(vector, parts):
    """Return the mean, over *parts*, of the best cosine of *vector* with a vector of the part."""
    best = [max(cosine(vector, other) for other in part) for part in parts]
    return float(np.float32(np.mean(best)))


def cosine(one, other):
    """Return the inner product of two unit vectors, rounded to 2^-24 as an index does: rounding decides ties."""
    return float(np.rint(np.clip(np.multiply(one, other).sum(), -1, 1) * 2**24) / 2**24)


def snapshot(store):
    """Return path -> SHA-256 of every file in the folder *store*, but for the lock."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(store).rglob("*"))
        if path.is_file() and path.name != "LOCK"
    }

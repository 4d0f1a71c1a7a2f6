"""The vectors of the images and texts of a query, by the encoder that made the vectors of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import ImageError, VisionRecsError, ZeroVector
from vision_recs.recommend.query import Query, weighted
from vision_recs.recommend.retrieve import QueryTerm, SubQuery
from vision_recs.types import ItemSource, Vectors
from vision_recs.vectors import normalize_or_raise

if TYPE_CHECKING:  # the encoder is imported when it is needed
    from vision_recs.encoders import StoreEncoder
    from vision_recs.images.crop import Crop

LoadImage: TypeAlias = Callable[..., NDArray[np.uint8]]
"""Bytes of an image and a Preprocess -> its pixels (height, width, 3), as `images.load`, which raises ImageError.

For a part of an image it is called with `crop=` as well.
"""

AskedImage: TypeAlias = "tuple[bytes, Crop | None]"
"""The bytes of an image file, and the part of it that is meant."""

KnownImages: TypeAlias = Mapping[AskedImage, Vectors | VisionRecsError]
"""The vector (dim,) that the encoder gives an image, or why there is none."""


class QueryEncoder:
    """Encodes images and texts; the encoder is loaded when it is first needed."""

    def __init__(
        self, items: ItemSource, *, weights: Path | None, device: str, load_image: LoadImage | None = None
    ) -> None:
        """Use the encoder of *items* on *device*, with *weights*, or without them with those of *items*.

        Images are decoded by *load_image*, or without it by `images.load`.
        """
        self._items = items
        self._weights = weights
        self._device = device
        self._load_image = load_image
        self._store_encoder: StoreEncoder | None = None

    def ahead(self, queries: Iterable[Query]) -> KnownImages:
        """Return the vectors of the images of all *queries*, each once, by one call of the encoder.

        In the place of the vector of an image that cannot be used is its error. There is none where the encoder cannot
        be used: `terms` then says why.
        """
        asked = dict.fromkeys((image.value, image.crop) for query in queries for image in weighted(query.images))
        found: dict[AskedImage, Vectors | VisionRecsError] = {}
        pixels: dict[AskedImage, NDArray[np.uint8]] = {}
        for image in asked:
            try:
                pixels[image] = self._pixels(*image)
            except VisionRecsError as error:
                found[image] = error
        try:
            vectors = self._vectors(list(pixels.values())) if pixels else ()
        except VisionRecsError:
            return {}
        return found | dict(zip(pixels, vectors, strict=True))

    def terms(self, query: Query, known: KnownImages = MappingProxyType({})) -> list[QueryTerm]:
        """Return a term for each image of *query*, then for each text; raises as `images` and `texts` do.

        The vectors of some images may be *known*, from `ahead`.
        """
        terms = []
        if query.images:
            images = list(weighted(query.images))
            asked = [(image.value, image.crop) for image in images]
            if all(image in known for image in asked):
                vectors = self._projected([_vector(known[image]) for image in asked])
            else:
                vectors = self.images(*zip(*asked, strict=True))
            for number, (image, vector) in enumerate(zip(images, vectors, strict=True), 1):
                name = (image.name or f"image {number}") + _part(image.crop)
                terms.append(QueryTerm("image", name, image.weight, vector[None], (None,)))
        if query.texts:
            texts = list(weighted(query.texts))
            vectors = self.texts([text.value for text in texts])
            for text, vector in zip(texts, vectors, strict=True):
                terms.append(QueryTerm("text", text.value, text.weight, vector[None], (None,)))
        return terms

    def images(self, images: Sequence[bytes], crops: Sequence[Crop | None] = ()) -> Vectors:
        """Return a unit vector for each of *images*, the bytes of image files, or its part in *crops* (n, dim).

        Raises ImageError, and EncoderError or SpaceMismatch where the encoder of the items cannot be used.
        """
        # before the encoder: a bad image costs no loading
        return self._projected(self._vectors([self._pixels(*image) for image in zip_longest(images, crops)]))

    def _pixels(self, image: bytes, crop: Crop | None) -> NDArray[np.uint8]:
        from vision_recs import images as decoding

        load, preprocess = self._load_image or decoding.load, self._items.encoder.preprocess
        return load(image, preprocess) if crop is None else load(image, preprocess, crop=crop)

    def _vectors(self, pixels: Sequence[NDArray[np.uint8]]) -> Vectors:
        """Return the vector of the encoder for each image, zeros for one without a direction (n, dim)."""
        return self.loaded().image_encoder().encode(np.stack(pixels))

    def _projected(self, vectors: Sequence[Vectors] | Vectors) -> Vectors:
        """Return *vectors* of the encoder (n, dim) as those of the items are; raises ImageError."""
        vectors = np.asarray(vectors)
        if not np.any(vectors, axis=1).all():
            raise ImageError("zero-vector", "the encoder gives the image no direction: it is blank; use another one")
        if self._is_projected:
            vectors = _as_known(vectors, self._items.encoder.name)
        return normalize_or_raise(self._items.project(vectors))

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector for each of *texts* (n, dim); raises EncoderError, as NoTextTower, and SpaceMismatch."""
        reader = self.loaded().text_encoder()
        vectors = reader.encode_known(list(texts)) if self._is_projected else reader.encode_text(list(texts))
        if not np.any(np.nan_to_num(vectors), axis=1).all():
            raise ZeroVector("the encoder gives the text no direction; write it in other words")
        return normalize_or_raise(self._items.project(vectors))

    @property
    def _is_projected(self) -> bool:
        return self._items.fingerprint != self._items.encoder.fingerprint

    def loaded(self) -> StoreEncoder:
        """Return the encoder of the items, which loads itself when it is first used."""
        from vision_recs.encoders import LoadOptions, StoreEncoder

        if self._store_encoder is None:
            weights = self._weights or (Path(self._items.weights_file) if self._items.weights_file else None)
            self._store_encoder = StoreEncoder(self._items.encoder, LoadOptions(weights=weights, device=self._device))
            self._store_encoder.expect_canary(self._items.canary)
        return self._store_encoder

    def share(self, other: QueryEncoder) -> None:
        """Use the encoder of *other* if both have items of the same encoder, with the same weights and canary."""
        mine, others = self._items, other._items
        if (mine.encoder, mine.weights_file) == (others.encoder, others.weights_file) and np.array_equal(
            mine.canary, others.canary
        ):
            self._store_encoder = other.loaded()


def apart(terms: Sequence[QueryTerm], negatives: tuple[QueryTerm, ...]) -> list[SubQuery]:
    """Return a sub-query for each image among *terms*, with all terms that are no image; its weight is its share."""
    images = [term for term in terms if term.kind == "image"]
    others = tuple(term for term in terms if term.kind != "image")
    if not images:
        return [SubQuery(others, negatives)]
    whole = sum(image.weight for image in images)
    return [SubQuery((*others, image), negatives, image.weight / whole) for image in images]


def _as_known(vectors: Vectors, encoder: str) -> NDArray[np.float32]:
    """Return *vectors* of images as a projection takes them: an image does not tell the words of an item."""
    from vision_recs.encoders.words import words_of

    words = words_of(encoder)
    return vectors if words is None else words.not_known(vectors)


def _vector(known: Vectors | VisionRecsError) -> Vectors:
    if isinstance(known, VisionRecsError):
        raise known
    return known


def _part(crop: Crop | None) -> str:
    return "" if crop is None else f" [{','.join(f'{each:g}' for each in crop)}]"

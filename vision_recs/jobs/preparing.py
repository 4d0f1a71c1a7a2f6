"""From the bytes of an image to what an encoder sees of it: the words, the product, the pixels and their colors.

A run on one machine and a worker of a cluster prepare images alike, so that both make the same vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs import images
from vision_recs.encoders import StoreEncoder, grounding
from vision_recs.encoders.store_encoder import attributes_in
from vision_recs.encoders.words import digest_with, words_of
from vision_recs.errors import ImageError
from vision_recs.images.named_colors import colors_in
from vision_recs.jobs.pipeline import Decoded, Read
from vision_recs.store import Staged
from vision_recs.types import CompositePreprocess, EncoderSpec, Preprocess

if TYPE_CHECKING:
    from PIL import Image

_DETECTED: Final = 1333
"""The longer side, in pixels, of an image that a detector sees, at most: it would scale a larger one itself."""


class Guard(Protocol):
    """Knows which images, by digest, may end the process that decodes them."""

    def __contains__(self, digest: object, /) -> bool:
        """Whether the image with *digest* is to be decoded apart, in another process."""
        ...

    def decoding(self, image: Staged, digest: bytes) -> AbstractContextManager[None]:
        """Note that *image* is decoded within the block."""
        ...


class Preparing:
    """Prepares images for one *encoder*; `decode` may be called by several threads, the rest by one."""

    def __init__(
        self, encoder: StoreEncoder, guard: Guard, apart: images.DecoderProcess, *, names_colors: bool
    ) -> None:
        """Prepare for *encoder*; what *guard* says is decoded by *apart*. With *names_colors* colors are named."""
        self._encoder = encoder
        self._guard = guard
        self._apart = apart
        self._names_colors = names_colors
        self._words = words_of(encoder.spec.name)

    def with_words(self, image: Read) -> Read:
        """Return *image* with the words of its item, and with the digest of both, if the encoder reads words."""
        if self._words is None:
            return image
        text = self._words.text_of(image.staged.attributes)
        return replace(image, digest=digest_with(image.digest, text), words=text)

    def with_products(self, images: Iterator[Read]) -> Iterator[Read]:
        """Yield *images*, each with the part that shows its item, if a detector finds these; some at a time."""
        finder = self._encoder.product_finder()
        if finder is None:
            yield from images
            return
        while some := list(islice(images, grounding.BATCH)):
            shown = [self._shown(read) for read in some]
            seen = [(read, image) for read, image in zip(some, shown, strict=True) if image is not None]
            items = [json.loads(read.staged.attributes) for read, _ in seen]
            crops = iter(finder.find([image for _, image in seen], items))
            yield from (
                read if image is None else replace(read, crop=next(crops))
                for read, image in zip(some, shown, strict=True)
            )

    def decode(self, read: Read, data: bytes) -> Decoded:
        """Return the pixels of the image *data*; decoded apart, which takes longer, where it may end a process.

        Raises ImageError.
        """
        preprocess = self._encoder.spec.preprocess
        if read.digest in self._guard:
            pixels = self._apart.load(data, preprocess, crop=read.crop)
        else:
            with self._guard.decoding(read.staged, read.digest):
                pixels = images.load(data, preprocess, crop=read.crop)
        colors = _colors_of(pixels, preprocess) if self._names_colors else ()
        needs_size = self._encoder.looks_closer and read.digest not in self._guard
        return Decoded(pixels, colors, read.crop, images.size_of(data) if needs_size else None)

    def _shown(self, read: Read) -> Image.Image | None:
        """Return the image that a detector is to see; None for one that cannot be decoded, or not in this process."""
        if read.digest in self._guard or read.data is None:
            return None
        try:
            with self._guard.decoding(read.staged, read.digest):
                image = images.decode(read.data)
        except ImageError:
            return None  # which is said when it is prepared
        image.thumbnail((_DETECTED, _DETECTED))
        return image


def reads_attributes(spec: EncoderSpec) -> bool:
    """Return whether the encoder of *spec* reads attributes of items, as words or as what its detector is asked for."""
    return words_of(spec.name) is not None or spec.focus != ""


def text_read(spec: EncoderSpec, attributes: str) -> str:
    """Return what the encoder of *spec* reads of an item with *attributes*, which are JSON text."""
    words, known = words_of(spec.name), json.loads(attributes)
    asked = grounding.words_of(known, attributes_in(spec.focus)) if spec.focus else ""
    return json.dumps([words.text_of(known) if words else "", asked])


def _colors_of(pixels: NDArray[np.uint8], preprocess: Preprocess) -> Sequence[str]:
    """Return the names of the colors in *pixels*, of a composite encoder those in the pixels of its first part."""
    first = preprocess.recipes[0] if isinstance(preprocess, CompositePreprocess) else preprocess
    height, width = first.size
    return colors_in(pixels[:height, :width])

"""Bytes -> pixels, as fast as the machine allows: every runtime of an encoder takes its pixels from here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from vision_recs.images.crop import WHOLE, Crop
from vision_recs.images.decoding import MAX_PIXELS, finished, opened
from vision_recs.images.geometry import Size, Turn, orientation_of, place, turn_of
from vision_recs.images.jpeg import SMALLEST_SIDE, decode_smaller, is_ordinary
from vision_recs.images.mending import read_mended
from vision_recs.images.preprocess import lay, prepare, resample, side_by_side
from vision_recs.types import CompositePreprocess, Preprocess, PreprocessConfig

# A JPEG that is decoded smaller keeps this many pixels for one. At 1.5, vectors of photos that are sharp to the pixel
# move as far as they do when JPEG quality 88 becomes 75 (cosine .997); at 1.0 they move three times as far (.990).
_SPARE = 1.5

# Resampling copies the image; 50 MB are the most that it copies.
_LARGEST_COPIED = 2**24


def load(data: bytes, config: Preprocess, *, max_pixels: int = MAX_PIXELS, crop: Crop = WHOLE) -> NDArray[np.uint8]:
    """Return the part *crop* of the image in *data* as pixels (height, width, 3) by *config*.

    They are those of `prepare(decode(data), config)`, faster. For several encoders, the image is decoded once.

    The geometry is exactly the same and the levels nearly: in photos a mean of 0.2 levels away, and of 1 where a JPEG
    has many more pixels than *config* needs, which is then decoded at a half, a quarter or an eighth of its size.
    Raises what `decode` raises, where it does. Safe to call from several threads, which run beside it.
    """

    def read(data: bytes) -> _Pixels | Image.Image:
        with opened(data, max_pixels) as image:
            return _decode_jpeg(image, data, config, crop) or finished(image, data)

    decoded = read_mended(read, data)
    if not isinstance(decoded, _Pixels):
        if decoded.width * decoded.height > _LARGEST_COPIED:
            return prepare(decoded if crop == WHOLE else decoded.crop(crop.box(decoded.size)), config)
        decoded = _Pixels(np.asarray(decoded), decoded.size)
    return side_by_side(partial(decoded.placed, crop=crop), config)


@dataclass(frozen=True, slots=True)
class _Pixels:
    """An image of *size* (upright) as a file stores it: before *turn*, and *by* times smaller."""

    stored: NDArray[np.uint8]
    size: Size
    turn: Turn = Turn()  # noqa: RUF009 - frozen
    by: int = 1

    def placed(self, config: PreprocessConfig, *, crop: Crop) -> NDArray[np.uint8]:
        x, y, *_ = window = crop.box(self.size)
        size = _size_of(window)
        placement = place(size, config)
        left, top, right, bottom = placement.box(size)
        left, top, right, bottom = self.turn.stored_box((left + x, top + y, right + x, bottom + y), self.size)
        box = left / self.by, top / self.by, right / self.by, bottom / self.by
        part = resample(self.stored, box, self.turn.size(placement.size), config.interpolation)
        return lay(self.turn.upright(part), placement, config)


def _size_of(box: tuple[int, int, int, int]) -> Size:
    left, top, right, bottom = box
    return right - left, bottom - top


def _decode_jpeg(image: ImageFile, data: bytes, config: Preprocess, crop: Crop) -> _Pixels | None:
    """Return the pixels of an ordinary JPEG, or None for any other image."""
    if not is_ordinary(image, data):
        return None
    turn = turn_of(orientation_of(image))
    size = turn.size(image.size)
    recipes = config.recipes if isinstance(config, CompositePreprocess) else (config,)
    by = min(_times_smaller(_size_of(crop.box(size)), recipe) for recipe in recipes)
    if image.width * image.height > _LARGEST_COPIED * by**2:
        return None
    stored = decode_smaller(data, image.size, by)
    return None if stored is None else _Pixels(stored, size, turn, by)


def _times_smaller(size: Size, config: PreprocessConfig) -> int:
    """Return how many times smaller a JPEG of *size* may be decoded."""
    if min(size) < SMALLEST_SIDE:
        return 1
    most = min(place(size, config).scale(size)) / _SPARE
    return next((by for by in (8, 4, 2) if by <= most), 1)

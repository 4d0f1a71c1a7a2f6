"""Vectors, and the parts of the images that the encoder looked at more closely.

An encoder that does has `look` beside `encode`. A region is a square in the pixels: x and y of its middle, and how far
it reaches to each side, in units in which the pixels reach from -1 to 1.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.images.crop import WHOLE, Crop
from vision_recs.types import Encoder, Pixels, Vectors
from vision_recs.vectors import normalize_rows

Regions: TypeAlias = NDArray[np.float32]
"""Of n images r regions each: (n, r, 3). Where an encoder looks at all of an image only, r is 0."""

REGION_COLUMNS: Final = 3


def look(encoder: Encoder, pixels: Pixels) -> tuple[Vectors, Regions]:
    """Return the vectors that *encoder* gives *pixels* (n, height, width, 3), and the regions that it looked at."""
    method = getattr(encoder, "look", None)
    if method is None:
        return encoder.encode(pixels), no_regions(len(pixels))
    found: tuple[Vectors, Regions] = method(pixels)
    return found


def no_regions(images: int) -> Regions:
    """Return the regions of so many *images* that were seen whole."""
    return np.zeros((images, 0, REGION_COLUMNS), np.float32)


def split(rows: NDArray[np.float32], dim: int) -> tuple[Vectors, Regions]:
    """Return unit vectors of the first *dim* columns of *rows*, and the regions in the columns after them."""
    count = (rows.shape[1] - dim) // REGION_COLUMNS
    return normalize_rows(rows[:, :dim])[0], rows[:, dim:].reshape(len(rows), count, REGION_COLUMNS)


def boxes_of(regions: NDArray[np.float32], size: tuple[int, int]) -> list[Crop]:
    """Return where *regions* (r, 3) lie in an image of *size* (width, height) that was padded to a square of pixels.

    They are cut at the edges of the image. A region beside the image, or one that covers it, is all of it.
    """
    shares = np.array(size) / max(size)  # what the image is of the square
    found = []
    for x, y, reach in regions.astype(np.float64):
        start, stop = (np.clip([x + side, y + side] / shares, -1, 1) / 2 + 0.5 for side in (-reach, reach))
        is_part = bool((stop > start).all())
        found.append(Crop(*start.tolist(), *(stop - start).tolist()) if is_part else WHOLE)
    return found

"""Ordinary JPEGs -> RGB, smaller by a power of two where that is enough: decoded while still cosines, by libjpeg-turbo.

Whatever is not ordinary, or makes libjpeg-turbo so much as warn, is left to Pillow, so that both ways refuse the same
files for the same reasons.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from vision_recs.images.geometry import Size
from vision_recs.images.profiles import is_srgb

# Baseline, extended and progressive. Lossless frames cannot be scaled.
_SCALABLE_FRAMES = {0xC0, 0xC1, 0xC2}

# Tables, restart interval, comment and applications' data: all that stands before the frame of an ordinary JPEG.
_BEFORE_FRAME = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}

SMALLEST_SIDE = 8
"""Below this, sides that are scaled differently may be rounded to the same number of pixels."""


def is_ordinary(image: ImageFile, data: bytes) -> bool:
    """Return whether *image*, opened from *data*, is a JPEG for `decode_smaller` that is sRGB as it stands."""
    return (
        image.format == "JPEG"
        and image.mode in {"L", "RGB"}
        and is_srgb(image.mode, image.info.get("icc_profile"))
        and _frame(data) in _SCALABLE_FRAMES
    )


def decode_smaller(data: bytes, size: Size, by: int) -> NDArray[np.uint8] | None:
    """Return the JPEG *data*, which has *size*, as RGB (height, width, 3), *by* times smaller (1, 2, 4 or 8).

    *by* is 1 for an image with a side below SMALLEST_SIDE. A pixel stands for *by* x *by* of the original, counted
    from its left upper corner, so the last row and column may reach over the edge. Returns None where the data are
    damaged in any way. Lets other threads run.
    """
    width, height = (-(-side // by) for side in size)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return pixels if pixels.shape == (height, width, 3) else None


def _frame(data: bytes) -> int | None:
    """Return the marker that starts the frame (ITU-T T.81, B.1.1.3), or None behind anything unusual."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker not in _BEFORE_FRAME or length < 2:  # noqa: PLR2004 - a length counts itself
            return marker
        at += 2 + length
    return None

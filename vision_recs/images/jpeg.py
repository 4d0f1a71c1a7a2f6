"""Ordinary JPEGs -> RGB, smaller by a power of two where that is enough: decoded while still cosines, by libjpeg-turbo.

Pillow decodes whatever is not ordinary or makes libjpeg-turbo warn, so that both refuse the same files for the same
reasons.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from vision_recs.images.color import is_srgb
from vision_recs.images.geometry import Size

MAX_SCANS: Final = 100
"""Encoders write up to 20 scans. Each one is a pass over the whole image, and may be a few bytes of the file."""

SMALLEST_SIDE: Final = 8
"""Below this, sides that are scaled differently may be rounded to the same number of pixels."""

# Baseline and extended; and progressive. Lossless frames cannot be scaled.
_SEQUENTIAL_FRAMES: Final = {0xC0, 0xC1}
_SCALABLE_FRAMES: Final = {*_SEQUENTIAL_FRAMES, 0xC2}

# Tables, restart interval, comment and applications' data: all that stands around the frame of an ordinary JPEG.
_TABLES: Final = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}

_SCAN: Final = b"\xff\xda"
_END: Final = 0xD9
_MARKER: Final = re.compile(
    rb"\xff([\x02-\xcf\xd9-\xfe])"
)  # not those without a length: stuffed bytes, restarts, start


class _Header(NamedTuple):
    """The marker that starts the frame, or None behind anything unusual, and whether one scan holds the whole image."""

    frame: int | None = None
    has_one_scan: bool = False


def is_ordinary(image: ImageFile, data: bytes) -> bool:
    """Return whether *image*, opened from *data*, is a JPEG for `decode_smaller` that is sRGB as it stands."""
    return (
        image.format == "JPEG"
        and image.mode in {"L", "RGB"}
        and is_srgb(image.mode, image.info.get("icc_profile"))
        and _header(data).frame in _SCALABLE_FRAMES
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


def has_one_scan(data: bytes) -> bool:
    """Return whether one scan of the JPEG *data* holds the whole image; False where the header is unusual."""
    return _header(data).has_one_scan


def has_more_scans(data: bytes, most: int) -> bool:
    """Return whether the JPEG *data* has more than *most* scans up to its end, without decoding any of them.

    What stands behind the end, as the film of a live photo does, is not looked at.
    """
    if data.count(_SCAN) <= most:  # fast, but counts also what only looks like a scan
        return False
    at, scans = 2, 0
    while scans <= most and (found := _MARKER.search(data, at)):
        marker = found[1][0]
        if marker == _END:
            return False
        scans += marker == _SCAN[1]
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return scans > most


def _header(data: bytes) -> _Header:
    """Return what the segments before the first scan say (ITU-T T.81, B.1.1.3, B.2.2 and B.2.3)."""
    at, frame, channels = 2, None, 0
    while data[at : at + 1] == b"\xff" and at + 10 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN[1]:
            return _Header(frame, frame in _SEQUENTIAL_FRAMES and 0 < channels <= data[at + 4])
        if marker not in _TABLES or length < 2:  # noqa: PLR2004 - a length counts itself
            if frame is not None:
                break
            frame, channels = marker, data[at + 9]
        at += 2 + length
    return _Header(frame)

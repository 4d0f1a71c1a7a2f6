"""How a camera was held, and how pixels are turned upright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags
from PIL.ImageFile import ImageFile

from vision_recs.images.geometry import Box, Size


@dataclass(frozen=True, slots=True)
class Turn:
    """What makes stored pixels upright: rows and columns change places, then left and right, then top and bottom."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def size(self, stored: Size) -> Size:
        """Return the upright size of an image; also the way back."""
        return (stored[1], stored[0]) if self.transposed else stored

    def stored_box(self, box: Box, size: Size) -> Box:
        """Return where *box* of the upright image, which has *size*, lies among the stored pixels."""
        (left, top, right, bottom), (width, height) = box, size
        if self.mirrored:
            left, right = width - right, width - left
        if self.upside_down:
            top, bottom = height - bottom, height - top
        return (top, left, bottom, right) if self.transposed else (left, top, right, bottom)

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a view of stored *pixels* (height, width, 3) that is upright."""
        turned = pixels.swapaxes(0, 1) if self.transposed else pixels
        return turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


_TURNS = {
    2: Turn(mirrored=True),
    3: Turn(mirrored=True, upside_down=True),
    4: Turn(upside_down=True),
    5: Turn(transposed=True),
    6: Turn(transposed=True, mirrored=True),
    7: Turn(transposed=True, mirrored=True, upside_down=True),
    8: Turn(transposed=True, upside_down=True),
}


def orientation_of(image: ImageFile) -> int:
    """Return how the camera was held (EXIF, 1 to 8); broken metadata are no reason to lose an image."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - the bytes of strangers, as in decoding
        return 1
    return value if isinstance(value, int) else 1


def turn_of(orientation: int) -> Turn:
    """Return the turn that *orientation* asks for: none where it is none of 2 to 8."""
    return _TURNS.get(orientation, Turn())

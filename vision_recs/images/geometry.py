"""Which part of an image is scaled to which part of the pixels, and which way is up: numbers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags
from PIL.ImageFile import ImageFile

from vision_recs.types import PreprocessConfig

Size: TypeAlias = tuple[int, int]
"""Width and height, as in Pillow."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_BLACK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Placement:
    """The whole image is scaled to the size *scaled*; its part *seen* lies in the pixels at *at* (left, top)."""

    scaled: Size
    seen: tuple[int, int, int, int]
    at: tuple[int, int]

    @property
    def size(self) -> Size:
        """The size of the part that is seen."""
        left, top, right, bottom = self.seen
        return right - left, bottom - top

    def scale(self, size: Size) -> tuple[float, float]:
        """Return how many pixels of an image of *size* become one, across and down."""
        return size[0] / self.scaled[0], size[1] / self.scaled[1]

    def box(self, size: Size) -> Box:
        """Return where the part that is seen lies in an image of *size*."""
        across, down = self.scale(size)
        left, top, right, bottom = self.seen
        return left * across, top * down, right * across, bottom * down


def place(size: Size, config: PreprocessConfig) -> Placement:
    """Return where *config* places an image of *size*; it rounds as torchvision ("crop") and open_clip ("pad") do."""
    height, width = config.size
    if config.resize_mode == "stretch":
        return Placement((width, height), (0, 0, width, height), (0, 0))
    if config.resize_mode == "pad":
        inner = _inside(size, (width, height))
        return Placement(inner, (0, 0, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    scaled = _with_shorter_side(size, config.resize)
    (left, right), (top, bottom) = _center(scaled[0], width), _center(scaled[1], height)
    seen = max(left, 0), max(top, 0), min(right, scaled[0]), min(bottom, scaled[1])
    return Placement(scaled, seen, (seen[0] - left, seen[1] - top))


def background(config: PreprocessConfig) -> tuple[int, int, int]:
    """Return the color of pixels that no part of the image covers; torchvision's crop leaves them black."""
    return config.background if config.resize_mode == "pad" else _BLACK


def _with_shorter_side(size: Size, shorter: int) -> Size:
    """Return *size* scaled as torchvision does: the longer side is cut off, not rounded."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _inside(size: Size, frame: Size) -> Size:
    """Return *size* scaled to touch *frame* from inside, rounded as open_clip does, yet never to nothing."""
    ratio = max(size[0] / frame[0], size[1] / frame[1])
    return max(1, round(size[0] / ratio)), max(1, round(size[1] / ratio))


def _center(whole: int, part: int) -> tuple[int, int]:
    """Return where the middle *part* of *whole* starts and ends, with torchvision's two kinds of rounding."""
    start = -((part - whole) // 2) if part > whole else round((whole - part) / 2)
    return start, start + part


@dataclass(frozen=True, slots=True)
class Turn:
    """What makes stored pixels upright: rows and columns change places, then left and right, then top and bottom."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def size(self, stored: Size) -> Size:
        """Return the upright size of an image of the size *stored*, or its stored size for an upright one."""
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
        """Return a view of the stored *pixels* (height, width, 3) that is upright."""
        turned = pixels.swapaxes(0, 1) if self.transposed else pixels
        return turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


_TURNS: Final = {
    2: Turn(mirrored=True),
    3: Turn(mirrored=True, upside_down=True),
    4: Turn(upside_down=True),
    5: Turn(transposed=True),
    6: Turn(transposed=True, mirrored=True),
    7: Turn(transposed=True, mirrored=True, upside_down=True),
    8: Turn(transposed=True, upside_down=True),
}


def orientation_of(image: ImageFile) -> int:
    """Return how the camera was held (EXIF, 1 to 8); broken metadata are not a reason to lose an image."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - the bytes of strangers, as in decoding
        return 1
    return value if isinstance(value, int) else 1


def turn_of(orientation: int) -> Turn:
    """Return the turn that *orientation* needs: none where it is not one of 2 to 8."""
    return _TURNS.get(orientation, Turn())

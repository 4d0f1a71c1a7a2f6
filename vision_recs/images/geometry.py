"""Which part of an image is scaled to which part of the pixels: the geometry of a config, in numbers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from vision_recs.types import PreprocessConfig

Size: TypeAlias = tuple[int, int]
"""Width and height, as in Pillow."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_BLACK = (0, 0, 0)


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
    """Return how *config* places an image of *size*; it rounds as torchvision ("crop") and open_clip ("pad") do."""
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

"""`Crop`: which part of an image a query means."""

from __future__ import annotations

from typing import NamedTuple, Self

_NUMBERS = 4
_ROUNDING = 0.002  # a share of an image: less than a pixel of most


class Crop(NamedTuple):
    """A part of an image, upright: its left upper corner, its width and its height, as shares (0 to 1) of the image's.

    Make one with `of` or `parse`, which check the numbers.
    """

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, x: float, y: float, width: float, height: float) -> Self:
        """Return the part; raises ValueError where it is empty or reaches over the edge by more than a rounding."""
        right, bottom = min(x + width, 1.0), min(y + height, 1.0)
        left, top = max(x, 0.0), max(y, 0.0)
        why = ""
        if not (width > 0 and height > 0 and right > left and bottom > top):  # also where one is not a number
            why = "holds nothing of the image"
        elif min(x, y) < -_ROUNDING or max(x + width, y + height) > 1 + _ROUNDING:
            why = "reaches over the edge of the image"
        if why:
            raise ValueError(
                f"the crop {x:g},{y:g},{width:g},{height:g} {why}; give x,y,width,height as shares of its width and "
                "height, such as 0.25,0.1,0.5,0.6"
            )
        return cls(left, top, right - left, bottom - top)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the part that *text* names, as "0.25,0.1,0.5,0.6"; raises ValueError."""
        try:
            numbers = [float(each) for each in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != _NUMBERS:
            raise ValueError(f"{text!r} is not a crop; write x,y,width,height, as 0.25,0.1,0.5,0.6")
        return cls.of(*numbers)

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in an image of *size* (width, height), one pixel at least."""
        (left, right), (top, bottom) = _edges(self.x, self.width, size[0]), _edges(self.y, self.height, size[1])
        return left, top, right, bottom


WHOLE = Crop(0.0, 0.0, 1.0, 1.0)
"""All of an image."""


def _edges(start: float, length: float, whole: int) -> tuple[int, int]:
    first = min(round(start * whole), whole - 1)
    return first, max(first + 1, min(round((start + length) * whole), whole))

"""An image that every installation has, bit for bit."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WIDTH, _HEIGHT = 320, 240


def canary_image() -> Image.Image:
    """Return the built-in image, 320 x 240, mode RGB: two runtimes of an encoder must give it the same vector.

    Gradients that differ by channel, shapes off the center, a corner that a crop loses, a chequerboard of single
    pixels and grain: a wrong resize mode, filter, antialiasing or order of channels moves the vector. Integers only.
    """
    return Image.fromarray(_pixels())


@functools.cache
def _pixels() -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3): drawn once, since drawing takes longer than a small encoder does."""
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH].astype(np.int64)
    red, green, blue = 40 + 180 * x // _WIDTH, 200 - 150 * y // _HEIGHT, 60 + 120 * (x + y) // (_WIDTH + _HEIGHT)
    pixels = np.stack([red, green, blue], axis=-1)
    _draw_shapes(pixels, (x - 96) ** 2 + (y - 92) ** 2 < 62**2)
    drawn: NDArray[np.uint8] = (pixels + _grain(x, y)[..., None]).clip(0, 255).astype(np.uint8)
    return drawn


def _draw_shapes(pixels: NDArray[np.int64], disc: NDArray[np.bool_]) -> None:
    pixels[disc] = 214, 48, 38
    pixels[58:126, 76:116] = 250, 244, 222  # a door in the disc
    for row in range(90):  # a triangle
        pixels[112 + row, 246 - row * 2 // 3 : 247 + row * 2 // 3] = 24, 58, 140
    pixels[:44, 264:] = 252, 204, 12  # the corner
    pixels[188::2, 0:72:2] = pixels[189::2, 1:72:2] = 8, 8, 8  # the chequerboard
    for stripe in range(120, 184, 6):
        pixels[184:, stripe : stripe + 3] = 238, 238, 238


def _grain(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return noise from -6 to 6 by a hash of the position."""
    mixed = (x * 73_856_093 ^ y * 19_349_663) % 1_000_003
    grain: NDArray[np.int64] = mixed * mixed % 1_000_003 % 13 - 6
    return grain

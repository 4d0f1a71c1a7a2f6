"""`color`: what colors an object has, without a network; texts name colors.

An image becomes a histogram of CIELAB colors with 384 cells, 6 of lightness and 8 x 8 of hue: each pixel is shared by
the cells around its color, and counts by how unlike the edge of the image it is, where the background is seen, and by
how near to the middle. A text becomes the histogram of the colors that it names.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders.text import TextEncoder
from vision_recs.images.named_colors import lab_of
from vision_recs.types import EncoderSpec, Pixels, PreprocessConfig, Vectors
from vision_recs.vectors import normalize_rows

_SIDE: Final = 48
_PREPROCESS: Final = PreprocessConfig((_SIDE, _SIDE), "stretch", _SIDE, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_LIGHTNESS: Final = np.linspace(0.0, 100.0, 6)
_HUE: Final = np.linspace(-70.0, 70.0, 8)
_AXES: Final = (_LIGHTNESS, _HUE, _HUE)
_DIM: Final = len(_LIGHTNESS) * len(_HUE) ** 2

_UNLIKE: Final = 25.0
"""The distance (CIE 1976) from the colors of the edge at which a pixel counts fully."""

_LEAST: Final = 0.05
"""What a pixel counts that looks like the edge: an object of the color of its background has a color, too."""

_SPREAD: Final = 8.0
"""How far, in CIELAB, shades reach that have the same name."""

COLORS: Final = {
    "black": "161616", "white": "f8f8f8", "grey": "808080", "gray": "808080", "silver": "c0c0c4", "charcoal": "3a3d42",
    "red": "d01c24", "crimson": "a8142e", "burgundy": "5e1224", "maroon": "6a1420", "coral": "f2705c",
    "pink": "f4a6bf", "rose": "e08a9c", "fuchsia": "d6267e", "magenta": "c81e8c", "purple": "6e2a8e",
    "violet": "7a4fc0", "lavender": "b9a7dd", "lilac": "c3a2cf", "plum": "6b2f5b", "indigo": "383a8c",
    "navy": "1c2a4f", "blue": "2458b8", "cobalt": "1c48a8", "denim": "46648c", "sky": "8cbfe6",
    "turquoise": "34b8b4", "teal": "12706e", "cyan": "28b8d8", "aqua": "5cd0d0", "mint": "a6dcc0",
    "green": "2e8a46", "emerald": "0f7a52", "olive": "6c6e34", "khaki": "a89a6c", "lime": "9ccc34", "sage": "9caf8c",
    "yellow": "f2cc2c", "mustard": "cc9a24", "gold": "c8a03c", "orange": "ec7c1c", "apricot": "f4b482",
    "brown": "6e4428", "chocolate": "4a2c1c", "tan": "b88e64", "camel": "b6864c", "beige": "dcc8a4",
    "cream": "f2e8cc", "ivory": "f4efde", "terracotta": "bc5a3c", "rust": "a2421c", "copper": "b06c44",
}  # fmt: skip
"""The colors that a text may name, in sRGB."""


class ColorEncoder:
    """An Encoder that counts colors, on one thread."""

    device, runtime, batch_size = "cpu", "numpy", 32

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        return SPEC

    def encode(self, pixels: Pixels) -> Vectors:
        """Return one unit vector an image; *pixels* are (n, height, width, 3), or ValueError is raised."""
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (_SIDE, _SIDE, 3):
            raise ValueError(f"pixels are uint8 (n, {_SIDE}, {_SIDE}, 3), not {pixels.dtype} {pixels.shape}")
        rows = [_histogram(lab := lab_of(image), weights_of(lab)) for image in pixels]
        return normalize_rows(np.array(rows, np.float32).reshape(len(pixels), _DIM))[0]


def load(_name: str) -> ColorEncoder:
    """Return the encoder; it has no weights."""
    return ColorEncoder()


def load_text(_name: str) -> TextEncoder:
    """Return what turns names of colors into vectors; a text that names none gets zeros."""
    return TextEncoder(SPEC, lambda texts: normalize_rows(np.array([_of_text(text) for text in texts], np.float32))[0])


def named_in(text: str) -> list[str]:
    """Return the colors that *text* names, in its order."""
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word in COLORS]


def weights_of(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much each pixel of *lab* (height, width, 3) belongs to the object, (height, width)."""
    height, width, _ = lab.shape
    edge = np.concatenate([lab[:2].reshape(-1, 3), lab[-2:].reshape(-1, 3), lab[:, :2].reshape(-1, 3)])
    edge = np.concatenate([edge, lab[:, -2:].reshape(-1, 3)])
    unlike = np.linalg.norm(lab - np.median(edge, axis=0), axis=-1) / _UNLIKE
    down = np.exp(-2.0 * np.linspace(-1, 1, height) ** 2)
    across = np.exp(-2.0 * np.linspace(-1, 1, width) ** 2)
    found: NDArray[np.float64] = (_LEAST + np.minimum(unlike, 1.0)) * down[:, None] * across
    return found


def _histogram(lab: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square roots of the cells: their cosine is that of the distributions, not that of the largest cell.

    A pixel is shared by eight cells, two of each axis: the nearer one of two gets more.
    """
    cells, shares = np.zeros((1, weights.size), np.intp), weights.reshape(1, -1)
    for values, centers in zip(lab.reshape(-1, 3).T, _AXES, strict=True):
        lower, nearer_upper = _between(values, centers)
        cells = np.concatenate([cells * len(centers) + lower, cells * len(centers) + lower + 1])
        shares = np.concatenate([shares * (1.0 - nearer_upper), shares * nearer_upper])
    found: NDArray[np.float64] = np.sqrt(np.bincount(cells.ravel(), shares.ravel(), _DIM))
    return found


def _between(values: NDArray[np.float64], centers: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which of *centers*, equally apart, is the one below each of *values*, and how far it is to the next."""
    places = (np.clip(values, centers[0], centers[-1]) - centers[0]) / (centers[1] - centers[0])
    lower = np.minimum(places.astype(np.intp), len(centers) - 2)
    return lower, places - lower


def _of_text(text: str) -> NDArray[np.float64]:
    found = [_of_name(name) for name in named_in(text)]
    return np.sqrt(np.mean(np.square(found), axis=0)) if found else np.zeros(_DIM)


def _of_name(name: str) -> NDArray[np.float64]:
    """Return the histogram of the shades of the color *name*: a grid around it, less of what is farther away."""
    level = np.frombuffer(bytes.fromhex(COLORS[name]), np.uint8).reshape(1, 1, 3)
    offsets = np.linspace(-2.0, 2.0, 9)
    grid = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.exp(-0.5 * np.sum(grid**2, axis=1))
    shades = lab_of(level).reshape(1, 3) + grid * _SPREAD * np.array([1.5, 1.0, 1.0])  # shades differ most in lightness
    return _histogram(shades[None], weights[None])


SPEC: Final = EncoderSpec(
    name="color",
    weights=hashlib.sha256(
        repr((_LIGHTNESS.tolist(), _HUE.tolist(), _UNLIKE, _LEAST, "sqrt, 48 pixels, soft cells")).encode()
    ).hexdigest(),
    dim=_DIM,
    preprocess=_PREPROCESS,
    pooling="histogram",
)

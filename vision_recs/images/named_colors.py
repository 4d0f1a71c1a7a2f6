"""The colors of an object, by the names that shoppers say: from the pixels that an encoder gets.

`lab_of`      sRGB -> CIELAB
`colors_in`   pixels -> at most three names, the most frequent first
`named_in`    the colors of `NAMES` that a text means: "navy blue" is navy, "crimson" is red

The names are the basic terms of English (Berlin and Kay, 1969) and those that shops have beside them. Each is a part of
CIELAB, in the manner of the ISCC-NBS system (Kelly and Judd, 1976): some hues, as dark and as strong as the name says.
Where the parts end was drawn on packshots of `sample_images/`; what they bring is in benchmarks/quality.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_RGB_TO_XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE: Final = _RGB_TO_XYZ.sum(axis=1)  # D65

# the first row that holds a color names it: hue from and to in degrees, which may pass 360, lightness, and chroma
_PARTS: Final = (
    ("white", (0, 360), (84, 101), (0, 6)),
    ("black", (0, 360), (0, 32), (0, 6)),
    ("grey", (0, 360), (0, 101), (0, 6)),
    ("black", (0, 360), (0, 13), (0, 14)),
    ("white", (0, 360), (93, 101), (0, 9)),
    ("navy", (222, 318), (0, 34), (6, 40)),
    ("grey", (160, 300), (24, 101), (0, 10)),
    ("black", (0, 360), (0, 26), (0, 9)),
    ("cream", (60, 115), (84, 101), (6, 24)),
    ("beige", (40, 105), (72, 101), (6, 26)),
    ("burgundy", (330, 395), (0, 36), (6, 48)),
    ("coral", (22, 46), (56, 76), (44, 200)),
    ("red", (360, 398), (20, 66), (36, 200)),
    ("pink", (325, 400), (58, 101), (6, 70)),
    ("red", (352, 398), (20, 101), (36, 200)),
    ("pink", (318, 398), (0, 101), (6, 200)),
    ("terracotta", (34, 56), (28, 66), (30, 58)),
    ("red", (38, 48), (20, 60), (58, 200)),
    ("orange", (40, 72), (50, 101), (50, 200)),
    ("brown", (18, 92), (0, 48), (6, 60)),
    ("tan", (38, 92), (48, 84), (10, 42)),
    ("mustard", (68, 94), (48, 78), (42, 200)),
    ("yellow", (72, 112), (70, 101), (26, 200)),
    ("grey", (38, 112), (40, 101), (6, 10)),
    ("olive", (88, 128), (20, 66), (8, 70)),
    ("mint", (110, 185), (72, 101), (8, 40)),
    ("green", (108, 174), (0, 101), (8, 200)),
    ("turquoise", (174, 222), (60, 101), (8, 200)),
    ("teal", (174, 222), (0, 60), (8, 200)),
    ("sky", (222, 285), (66, 101), (8, 200)),
    ("blue", (222, 304), (0, 101), (10, 200)),
    ("lavender", (285, 330), (62, 101), (6, 60)),
    ("purple", (285, 345), (0, 80), (6, 200)),
    ("brown", (0, 60), (0, 50), (6, 200)),
    ("grey", (0, 360), (0, 101), (0, 200)),
)

NAMES: Final = tuple(dict.fromkeys(name for name, *_ in _PARTS))
"""The names that an image may get."""

_WIDER: Final[Mapping[str, tuple[str, ...]]] = {
    "blue": ("blue", "navy", "sky"), "green": ("green", "olive", "mint"), "red": ("red", "burgundy"),
    "yellow": ("yellow", "mustard"), "brown": ("brown", "tan"), "purple": ("purple", "lavender"),
    "orange": ("orange", "terracotta", "coral"), "white": ("white", "cream"),
}  # fmt: skip
_OTHER_WORDS: Final[Mapping[str, str]] = {
    "gray": "grey", "silver": "grey", "charcoal": "black", "anthracite": "black", "crimson": "red", "scarlet": "red",
    "maroon": "burgundy", "wine": "burgundy", "rose": "pink", "fuchsia": "pink", "magenta": "pink", "violet": "purple",
    "plum": "purple", "indigo": "blue", "lilac": "lavender", "cobalt": "blue", "denim": "blue", "aqua": "turquoise",
    "cyan": "turquoise", "emerald": "green", "lime": "green", "sage": "mint", "khaki": "olive", "gold": "mustard",
    "amber": "mustard", "apricot": "orange", "rust": "terracotta", "copper": "terracotta", "chocolate": "brown",
    "camel": "tan", "sand": "beige", "ivory": "cream", "ecru": "cream",
}  # fmt: skip

_MOST: Final = 3
_SHARE: Final = 0.15
"""What a color is of the object, at least, to be named beside the first one."""

_SIDE: Final = 28
_LIKE, _UNLIKE = 6.0, 15.0
"""Distances from the background at which a pixel belongs to it, and at which it belongs to the object."""

_SHADOW: Final = 0.4
"""What a difference in lightness counts beside one in hue: a shadow on the background is background."""

_OBJECT: Final = 0.02
"""Where less than this share stands out from the background, all of the image is the object."""

_LEVELS: Final = 32


def lab_of(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the CIELAB colors (height, width, 3) of *image*, which is sRGB."""
    levels = image / 255.0
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - IEC 61966
    scaled = linear @ _RGB_TO_XYZ.T / _WHITE
    bent = np.where(scaled > 216 / 24389, np.cbrt(scaled), (24389 / 27 * scaled + 16) / 116)
    x, y, z = bent[..., 0], bent[..., 1], bent[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def name_of(lab: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the place in `NAMES` of each color of *lab* (n, 3)."""
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360
    found = np.full(len(lab), -1)
    for name, (first, last), (darkest, lightest), (weakest, strongest) in _PARTS:
        inside = ((hue >= first) & (hue < last)) | (hue + 360 < last)
        inside &= (lab[:, 0] >= darkest) & (lab[:, 0] < lightest) & (chroma >= weakest) & (chroma < strongest)
        found[inside & (found < 0)] = NAMES.index(name)
    return found


def colors_in(pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return the names of the colors of the object in *pixels* (height, width, 3), the most frequent first.

    There is one at least, and at most three: those that are 15 % of the object. The background is what is like the edge
    of the image, on the same row or column.
    """
    colors, name_of_color = _tables()
    rows, columns = (_evenly(length) for length in pixels.shape[:2])
    small = (pixels[rows[:, None], columns] >> 3).astype(np.intp)
    levels = (small[..., 0] * _LEVELS + small[..., 1]) * _LEVELS + small[..., 2]
    weights = _object(colors[levels])
    counts = np.bincount(name_of_color[levels].ravel(), weights.ravel(), len(NAMES))
    order = np.argsort(-counts, kind="stable")[:_MOST].tolist()
    return tuple(NAMES[each] for each in order if each == order[0] or counts[each] >= _SHARE * counts.sum())


def named_in(text: str) -> tuple[str, ...]:
    """Return the names of `NAMES` that *text* means: "blue" also means navy and sky, and "navy blue" means navy."""
    words = [_OTHER_WORDS.get(word, word) for word in re.findall(r"[a-z]+", text.lower())]
    named = [word for word in words if word in NAMES]
    kinds = {word: _WIDER.get(word, (word,)) for word in named}
    meant = [kinds[word] for word in named if not any(other != word and other in kinds[word] for other in named)]
    return tuple(dict.fromkeys(name for each in meant for name in each))


@cache
def _tables() -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return each color of which every channel has one of 32 levels, in CIELAB as `_object` takes it; and its name."""
    level = (np.arange(_LEVELS) * 8 + 4).astype(np.uint8)
    lab = lab_of(np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 1, 3)).reshape(-1, 3)
    return (lab * [_SHADOW, 1, 1]).astype(np.float32), name_of(lab)


@cache
def _evenly(length: int) -> NDArray[np.intp]:
    """Return the places of 28 pixels, or of all where there are fewer, evenly spread."""
    count = min(_SIDE, length)
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)


@cache
def _middle(height: int, width: int) -> NDArray[np.float32]:
    down, across = (np.exp(-(np.linspace(-1, 1, length, dtype=np.float32) ** 2)) for length in (height, width))
    found: NDArray[np.float32] = down[:, None] * across
    return found


def _object(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each pixel of *lab* (height, width, 3) belongs to the object, (height, width)."""
    middle = _middle(*lab.shape[:2])
    nearest = np.full(lab.shape[:2], np.inf, np.float32)
    for edge in (lab[:, :1], lab[:, -1:], lab[:1], lab[-1:]):
        apart = lab - edge
        np.minimum(nearest, np.einsum("ijk,ijk->ij", apart, apart), out=nearest)
    unlike = np.clip((np.sqrt(nearest) - _LIKE) / (_UNLIKE - _LIKE), 0, 1)
    found: NDArray[np.float32] = (unlike * middle).astype(np.float32, copy=False)
    return found if found.sum() > _OBJECT * middle.sum() else middle

"""RGB -> pixels: the one way in which a picture is prepared for every encoder and runtime."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_recs.types import PixelRecipe

_Size: TypeAlias = tuple[int, int]  # (width, height), as in Pillow
_Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# A thread of 1 x 2000 scaled to a shorter side of 256 is 131 megapixels, of which the crop keeps 0.05.
_LARGEST_SCALED = 2**26


def prepare(image: Image.Image, recipe: PixelRecipe) -> NDArray[np.uint8]:
    """Return *image* (mode RGB) as pixels (height, width, 3) by *recipe*, neither scaled to [0, 1] nor normalised.

    Equal, byte for byte, to the transforms of the encoders' own libraries: "crop" to torchvision's Resize and
    CenterCrop (black where the picture is smaller than the crop), "squash" to its Resize, "pad" to open_clip's
    "longest". Where their scaled picture would exceed 67 megapixels (a crop from a thread), only the part that is
    kept is scaled, which rounds differently. Raises ValueError for another mode.
    """
    if image.mode != "RGB":
        raise ValueError(f"a picture in mode {image.mode} was to be prepared; pictures from decode are RGB")
    how = _FILTERS[recipe.interpolation]
    height, width = recipe.size
    if recipe.fit == "crop":
        result = _crop(image, _with_shorter_side(image.size, recipe.resize), (width, height), how)
    elif recipe.fit == "squash":
        result = image.resize((width, height), how)
    else:
        result = _pad(image.resize(_inside(image.size, (width, height)), how), (width, height), recipe.background)
    return np.array(result)


def _with_shorter_side(size: _Size, shorter: int) -> _Size:
    """Return *size* scaled as torchvision does: the longer side is cut off, not rounded."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _inside(size: _Size, frame: _Size) -> _Size:
    """Return *size* scaled to touch *frame* from inside, rounded as open_clip does, yet never to nothing."""
    ratio = max(size[0] / frame[0], size[1] / frame[1])
    return max(1, round(size[0] / ratio)), max(1, round(size[1] / ratio))


def _crop(image: Image.Image, scaled: _Size, size: _Size, how: Image.Resampling) -> Image.Image:
    """Return the centre of *image* scaled to *scaled*; Pillow fills with black what lies outside."""
    (left, right), (top, bottom) = (_centre(whole, part) for whole, part in zip(scaled, size, strict=True))
    if scaled[0] * scaled[1] <= _LARGEST_SCALED:
        return image.resize(scaled, how).crop((left, top, right, bottom))
    seen = max(left, 0), max(top, 0), min(right, scaled[0]), min(bottom, scaled[1])
    part = _resize_part(image, scaled, seen, how)
    return part.crop((left - seen[0], top - seen[1], right - seen[0], bottom - seen[1]))


def _centre(whole: int, part: int) -> tuple[int, int]:
    """Return where the middle *part* of *whole* starts and ends, with torchvision's two kinds of rounding."""
    start = -((part - whole) // 2) if part > whole else round((whole - part) / 2)
    return start, start + part


def _resize_part(image: Image.Image, scaled: _Size, seen: _Box, how: Image.Resampling) -> Image.Image:
    """Return the part *seen* of *image* scaled to *scaled*, without the rest."""
    across, down = image.width / scaled[0], image.height / scaled[1]
    source = seen[0] * across, seen[1] * down, seen[2] * across, seen[3] * down
    return image.resize((seen[2] - seen[0], seen[3] - seen[1]), how, box=source)


def _pad(image: Image.Image, size: _Size, background: tuple[int, int, int]) -> Image.Image:
    paper = Image.new("RGB", size, background)
    paper.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return paper

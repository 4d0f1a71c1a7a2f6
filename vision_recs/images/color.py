"""An image in any mode that Pillow reads -> RGB over white."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_recs.images.profiles import to_srgb

_WHITE = (255, 255, 255)

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF


def to_rgb(image: Image.Image) -> Image.Image:
    """Return *image*, loaded, in mode RGB: what shows when it lies on white paper, in sRGB."""
    colors, alpha = _split(image)
    rgb = to_srgb(colors, image.info.get("icc_profile"))
    if alpha is None:
        return rgb
    paper = Image.new("RGB", rgb.size, _WHITE)
    paper.paste(rgb, mask=alpha)
    return paper


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return colors (L, RGB or CMYK) and, where the image has it, alpha (L)."""
    if image.mode.startswith(("I", "F")):
        return _split_deep_grey(image)
    if image.has_transparency_data:
        grey = image.mode in {"1", "L", "LA", "La"}
        layers = image if image.mode in {"LA", "RGBA"} else image.convert("LA" if grey else "RGBA")
        return layers.convert("L" if grey else "RGB"), layers.getchannel("A")
    if image.mode in {"L", "RGB", "CMYK"}:
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _split_deep_grey(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return a grey image of more than 8 bits as L, and alpha where PNG names one value transparent."""
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT) == (1,):
        values = values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    share = np.nan_to_num(values.astype(np.float32)) / _white_level(values, tags)
    levels = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:
        levels = 255 - levels  # Pillow inverts "zero is white" only up to 8 bits
    return Image.fromarray(levels), alpha


def _white_level(values: NDArray[Any], tags: dict[int, Any]) -> float:
    """Return the value that stands for white.

    Integers are 16 bits unless the file says 12 or a value is larger. Nothing says what floats mean: white is the
    first of 1, 255 and 65535 that no value is twice as large as (resampling overshoots), else the largest value.
    """
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        return 4095.0
    largest = float(np.nan_to_num(values, posinf=0.0).max())
    if values.dtype.kind in "iu":
        return max(65535.0, largest)
    return next((white for white in (1.0, 255.0, 65535.0) if largest <= 2 * white), largest)

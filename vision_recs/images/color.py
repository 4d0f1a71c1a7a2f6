"""An image in any mode that Pillow reads -> RGB over white, in sRGB by its ICC profile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Box: TypeAlias = tuple[int, int, int, int]

_WHITE: Final = (255, 255, 255)

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF

# An image of more pixels is converted tile by tile. Then the steps in between take little memory; for the whole image
# they take up to 16 bytes a pixel.
_TILE_PIXELS: Final = 2**20

# Profiles of presses take up to 3 MB; what is larger is not a profile that a shop needs, and would fill the cache.
_LARGEST_PROFILE: Final = 4 * 2**20

# The profiles called sRGB differ from each other by rounding only; the next neighbor, gamma 2.2, is 9 levels away.
_SAME_LEVELS: Final = 2


def to_rgb(image: Image.Image) -> Image.Image:
    """Return *image*, loaded, in mode RGB: what shows when the image lies on white paper, in sRGB.

    This is *image* itself where it is all that already.
    """
    if image.mode == "RGB" and not image.has_transparency_data and is_srgb("RGB", image.info.get("icc_profile")):
        return image
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    white = _white_level(image, tags) if _is_deep_gray(image) else 0.0
    if image.width * image.height <= _TILE_PIXELS:
        return _flattened(image, tags, white)
    rgb = Image.new("RGB", image.size)
    for box in _tiles(image):
        rgb.paste(_flattened(image.crop(box), tags, white), box)
    return rgb


def _tiles(image: Image.Image) -> Iterator[Box]:
    """Yield boxes of at most _TILE_PIXELS that cover *image*: whole rows, or parts of a row that is longer."""
    width = min(image.width, _TILE_PIXELS)
    rows = _TILE_PIXELS // width
    for top in range(0, image.height, rows):
        for left in range(0, image.width, width):
            yield left, top, min(left + width, image.width), min(top + rows, image.height)


def _flattened(image: Image.Image, tags: dict[int, Any], white: float) -> Image.Image:
    """Return *image*, or a part of it, in mode RGB; *tags* and *white* are those of the whole image."""
    colors, alpha = _split_deep_gray(image, tags, white) if _is_deep_gray(image) else _split(image)
    rgb = to_srgb(colors, image.info.get("icc_profile"))
    if alpha is None:
        return rgb
    paper = Image.new("RGB", rgb.size, _WHITE)
    paper.paste(rgb, mask=alpha)
    return paper


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return colors (L, RGB or CMYK) and, where the image has it, alpha (L)."""
    if image.has_transparency_data:
        gray = image.mode in {"1", "L", "LA", "La"}
        layers = image if image.mode in {"LA", "RGBA"} else image.convert("LA" if gray else "RGBA")
        return layers.convert("L" if gray else "RGB"), layers.getchannel("A")
    if image.mode in {"L", "RGB", "CMYK"}:
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _is_deep_gray(image: Image.Image) -> bool:
    """Return whether *image* is gray with more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def _split_deep_gray(image: Image.Image, tags: dict[int, Any], white: float) -> tuple[Image.Image, Image.Image | None]:
    """Return a gray image of more than 8 bits as L, and alpha where PNG names one value transparent."""
    values = _values(image, tags)
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    share = np.nan_to_num(values.astype(np.float32)) / white
    levels = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:
        levels = 255 - levels  # Pillow inverts "zero is white" only up to 8 bits
    return Image.fromarray(levels), alpha


def _values(image: Image.Image, tags: dict[int, Any]) -> NDArray[Any]:
    values = np.asarray(image)
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT) == (1,):
        return values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    return values


def _white_level(image: Image.Image, tags: dict[int, Any]) -> float:
    """Return the value that stands for white in a gray *image* of more than 8 bits.

    Integers are 16 bits unless the file says 12 or a value is larger. Nothing says what floats mean: white is the
    first of 1, 255 and 65535 that no value is twice as large as (resampling overshoots), else the largest value.
    """
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        return 4095.0
    tiles = (_values(image.crop(box), tags) for box in _tiles(image))
    largest = max(float(np.nan_to_num(values, posinf=0.0).max()) for values in tiles)
    if image.mode.startswith("I"):
        return max(65535.0, largest)
    return next((white for white in (1.0, 255.0, 65535.0) if largest <= 2 * white), largest)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return *image* (L, RGB or CMYK) as sRGB, mode RGB, with the perceptual intent.

    A profile that is broken, or that is not for images of that kind, is ignored. A gray image may carry an RGB
    profile. Transforms are kept by the bytes of their profile; LittleCMS allows one transform in several threads.
    """
    found = _transform_of(image.mode, profile)
    if found is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    mode, transform = found
    return transform.apply(image.convert(mode) if image.mode != mode else image)


def is_srgb(mode: str, profile: bytes | None) -> bool:
    """Return whether the colors of an image in *mode* (L or RGB) with *profile* are those of sRGB as they stand."""
    return _transform_of(mode, profile) is None


def _transform_of(mode: str, profile: bytes | None) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return a mode and the transform from that mode to sRGB, or None where there is nothing to do."""
    if not profile or len(profile) > _LARGEST_PROFILE:
        return None
    for source in (mode, "RGB") if mode == "L" else (mode,):
        transform = _transform(profile, source)
        if transform is not None:
            return source, transform
    return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from *profile* to sRGB, or None if it changes nothing or LittleCMS has none for *mode*."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        fine = ImageCms.Flags.HIGHRESPRECALC  # without it, dark grays are up to 10 levels off
        transform = ImageCms.ImageCmsTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags=fine)
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether every color of a grid comes out as it went in: names of profiles lie, their effect does not."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    before = Image.fromarray(grid) if mode == "RGB" else Image.fromarray(grid[..., 0])
    change = np.asarray(transform.apply(before), np.int16) - np.asarray(before.convert("RGB"), np.int16)
    return bool(np.abs(change).max() <= _SAME_LEVELS)

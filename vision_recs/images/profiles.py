"""ICC profiles: colors as the camera or the printer meant them -> sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

# Profiles of presses take up to 3 MB; what is larger is no profile that a shop needs, and would fill the cache.
_LARGEST_PROFILE = 4 * 2**20

# The profiles called sRGB differ from each other by rounding only; the next neighbor, gamma 2.2, is 9 levels away.
_SAME_LEVELS = 2


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return *image* (L, RGB or CMYK) as sRGB, mode RGB, with the perceptual intent.

    A profile that is broken, or that is not for images of that kind, is ignored. A grey image may carry an RGB
    profile. Transforms are kept by the bytes of their profile; LittleCMS allows one transform in several threads.
    """
    way = _way(image.mode, profile)
    if way is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    mode, transform = way
    return transform.apply(image.convert(mode) if image.mode != mode else image)


def is_srgb(mode: str, profile: bytes | None) -> bool:
    """Return whether the colors of an image in *mode* (L or RGB) with *profile* are those of sRGB as they stand."""
    return _way(mode, profile) is None


def _way(mode: str, profile: bytes | None) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return the mode to bring an image to, and the way from there to sRGB, or None where there is nothing to do."""
    if not profile or len(profile) > _LARGEST_PROFILE:
        return None
    for source in (mode, "RGB") if mode == "L" else (mode,):
        transform = _transform(profile, source)
        if transform is not None:
            return source, transform
    return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from *profile* to sRGB, or None where it changes nothing or LittleCMS finds none for *mode*."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        fine = ImageCms.Flags.HIGHRESPRECALC  # without it, dark greys are up to 10 levels off
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

"""RGB -> pixels: what a config means, to the last level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_recs.images.geometry import Placement, background, place
from vision_recs.types import PreprocessConfig

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# A thread of 1 x 2000 scaled to a shorter side of 256 is 131 megapixels, of which the crop keeps 0.05.
_LARGEST_SCALED = 2**26


def prepare(image: Image.Image, config: PreprocessConfig) -> NDArray[np.uint8]:
    """Return *image* (mode RGB) as pixels (height, width, 3) by *config*, neither scaled to [0, 1] nor normalized.

    Equal, byte for byte, to the transforms of the encoders' own libraries: "crop" to torchvision's Resize and
    CenterCrop (black where the image is smaller than the crop), "stretch" to its Resize, "pad" to open_clip's
    "longest". Where their scaled image would exceed 67 megapixels (a crop from a thread), only the part that is
    kept is scaled, which rounds differently. Raises ValueError for another mode.
    """
    if image.mode != "RGB":
        raise ValueError(f"an image in mode {image.mode} was to be prepared; images from decode are RGB")
    placement = place(image.size, config)
    return lay(np.asarray(_scaled(image, placement, FILTERS[config.interpolation])), placement, config)


def lay(part: NDArray[np.uint8], placement: Placement, config: PreprocessConfig) -> NDArray[np.uint8]:
    """Return pixels of their own memory, on which *part* (what is seen of the image, scaled) lies in its place."""
    pixels = np.empty((*config.size, 3), np.uint8)
    (left, top), (width, height) = placement.at, placement.size
    if (height, width) != config.size:
        pixels[:] = background(config)
    pixels[top : top + height, left : left + width] = part
    return pixels


def _scaled(image: Image.Image, placement: Placement, how: Image.Resampling) -> Image.Image:
    """Return what is seen of *image*, scaled."""
    if placement.scaled[0] * placement.scaled[1] > _LARGEST_SCALED:
        return image.resize(placement.size, how, box=placement.box(image.size))
    return image.resize(placement.scaled, how).crop(placement.seen)

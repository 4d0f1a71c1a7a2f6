"""RGB -> pixels: exactly as a PreprocessConfig says (`prepare`), and the same scaling in a sixth of the time."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_recs.images.geometry import Box, Placement, Size, background, place
from vision_recs.types import CompositePreprocess, Preprocess, PreprocessConfig

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

_FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_HAS_SIMD: Final = find_spec("cykooz_resizer") is not None

# A thread of 1 x 2000 scaled to a shorter side of 256 is 131 megapixels, of which the crop keeps 0.05.
_LARGEST_SCALED: Final = 2**26


def prepare(image: Image.Image, config: Preprocess) -> NDArray[np.uint8]:
    """Return *image* (mode RGB) as pixels (height, width, 3) by *config*, neither scaled to [0, 1] nor normalized.

    Equal, byte for byte, to the transforms of the encoders' own libraries: "crop" to torchvision's Resize and
    CenterCrop (black where the image is smaller than the crop), "stretch" to its Resize, "pad" to open_clip's
    "longest". Where their scaled image would exceed 67 megapixels (a crop from a thread), only the part that is
    kept is scaled, which rounds differently. Raises ValueError for another mode.
    """
    if image.mode != "RGB":
        raise ValueError(f"an image in mode {image.mode} was to be prepared; images from decode are RGB")

    def prepared(recipe: PreprocessConfig) -> NDArray[np.uint8]:
        placement = place(image.size, recipe)
        return lay(np.asarray(_scaled(image, placement, _FILTERS[recipe.interpolation])), placement, recipe)

    return side_by_side(prepared, config)


def side_by_side(prepared: Callable[[PreprocessConfig], NDArray[np.uint8]], config: Preprocess) -> NDArray[np.uint8]:
    """Return the pixels that `prepared` returns for *config*, or for each recipe of a composite, side by side."""
    if not isinstance(config, CompositePreprocess):
        return prepared(config)
    pixels = np.zeros((*config.size, 3), np.uint8)
    left = 0
    for recipe in config.recipes:
        height, width = recipe.size
        pixels[:height, left : left + width] = prepared(recipe)
        left += width
    return pixels


def lay(part: NDArray[np.uint8], placement: Placement, config: PreprocessConfig) -> NDArray[np.uint8]:
    """Return pixels (height, width, 3) by *config* with *part*, what is seen of the image, in its place."""
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


def resample(pixels: NDArray[np.uint8], box: Box, size: Size, interpolation: Interpolation) -> NDArray[np.uint8]:
    """Return the part *box* of *pixels* (height, width, 3) scaled to *size*; pixels beside the box count at its edge.

    Within a level or two of Pillow's `resize` with the same box, and much faster where cykooz-resizer has a wheel.
    Pillow does what enlarges: there cykooz-resizer 4.0.1 reads beyond its buffer, which ended the program for one small
    image in a thousand. Lets other threads run.
    """
    height, width, _ = pixels.shape
    left, top, right, bottom = box  # divisions may have been rounded to beyond the edge
    inside = left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    reduces = right - left >= size[0] and bottom - top >= size[1]
    return (_with_simd if _HAS_SIMD and reduces else _with_pillow)(pixels, inside, size, interpolation)


def _with_simd(pixels: NDArray[np.uint8], box: Box, size: Size, interpolation: Interpolation) -> NDArray[np.uint8]:
    from cykooz_resizer import CropBox, FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    kernel = FilterType.catmull_rom if interpolation == "bicubic" else FilterType.bilinear  # Pillow's bicubic is that
    height, width, _ = pixels.shape
    source = ImageData(width, height, PixelType.U8x3, pixels.tobytes())
    scaled = ImageData(*size, PixelType.U8x3)
    left, top, right, bottom = box
    options = ResizeOptions(ResizeAlg.convolution(kernel), crop_box=CropBox(left, top, right - left, bottom - top))
    Resizer().resize(source, scaled, options)
    return np.frombuffer(scaled.get_buffer(), np.uint8).reshape(size[1], size[0], 3)


def _with_pillow(pixels: NDArray[np.uint8], box: Box, size: Size, interpolation: Interpolation) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize(size, _FILTERS[interpolation], box=box))

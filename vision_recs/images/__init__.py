"""Images: bytes -> RGB -> pixels.

`decoding`    bytes of strangers -> an RGB image (`decode`): formats, limits, errors
`color`       any mode and any ICC profile -> RGB over white, in sRGB
`jpeg`        ordinary JPEGs, decoded at a fraction of their size; how many scans a JPEG has
`mending`     valid files that Pillow refuses, brought to a form that it takes
`tiff`        layouts of TIFF that are refused, because Pillow would decode them wrongly
`jxl`         the size of a JPEG XL image by its header
`geometry`    which part of an image becomes which pixels, and which way is up
`preprocess`  RGB -> the pixels that a PreprocessConfig describes (`prepare`), exactly and fast
`crop`        which part of an image a query means (`Crop`)
`loading`     bytes -> pixels (`load`): all of the above at once, as every runtime of an encoder takes them
`named_colors`  the colors of an object, by the names that shoppers say
`thumbnails`  small JPEGs for pages
`isolation`   the same in a process of its own, which may crash, hang or fill the memory (`DecoderProcess`)
`canary`      the built-in image by whose vector two runtimes are compared

Pillow is imported when a name is first used, not with this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.images.canary import canary_image
    from vision_recs.images.decoding import MAX_DECODED_BYTES, MAX_PIXELS, decode, size_of
    from vision_recs.images.isolation import DecoderProcess
    from vision_recs.images.loading import load
    from vision_recs.images.preprocess import prepare
    from vision_recs.images.thumbnails import thumbnail

__all__ = [
    "MAX_DECODED_BYTES",
    "MAX_PIXELS",
    "DecoderProcess",
    "canary_image",
    "decode",
    "load",
    "prepare",
    "size_of",
    "thumbnail",
]

_HOMES = {
    "DecoderProcess": "isolation",
    "MAX_DECODED_BYTES": "decoding",
    "MAX_PIXELS": "decoding",
    "canary_image": "canary",
    "decode": "decoding",
    "load": "loading",
    "prepare": "preprocess",
    "size_of": "decoding",
    "thumbnail": "thumbnails",
}

__getattr__ = lazy_names(__name__, _HOMES)

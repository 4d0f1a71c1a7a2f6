"""Images: bytes -> RGB -> pixels.

`decode` is the one place where bytes of strangers become an image, and `prepare` says what a config makes of it.
`load` does both at once, as fast as the machine allows: every runtime takes the pixels of a file from it. Pillow is
imported with the first name that is asked for, not with this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.images.canary import canary_image
    from vision_recs.images.decoding import MAX_PIXELS, decode
    from vision_recs.images.loading import load
    from vision_recs.images.preprocess import prepare
    from vision_recs.images.thumbnails import thumbnail

__all__ = ["MAX_PIXELS", "decode", "load", "prepare", "canary_image", "thumbnail"]

_HOMES = {
    "MAX_PIXELS": "decoding",
    "decode": "decoding",
    "load": "loading",
    "prepare": "preprocess",
    "canary_image": "canary",
    "thumbnail": "thumbnails",
}

__getattr__ = lazy_names(__name__, _HOMES)

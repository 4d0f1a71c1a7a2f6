"""Bytes -> RGB: the boundary at which the bytes of strangers become images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image
from PIL.ImageFile import ImageFile

from vision_recs.errors import ImageError
from vision_recs.images.color import to_rgb
from vision_recs.images.formats import ImageFormat, identify
from vision_recs.images.orientation import orientation_of
from vision_recs.images.quiet import pillow_is_quiet

MAX_PIXELS = 178_956_970
"""More than any camera takes (150 megapixels), 0.7 GB once decoded, and where Pillow itself refuses by default."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow raises the same classes for files that are damaged and for kinds of files that it does not know.
_UNKNOWN_KIND = re.compile(r"unsupported|not supported|unknown pixel mode|cannot handle|not available", re.IGNORECASE)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the image in *data*, upright, in sRGB, over white, in mode RGB, without metadata.

    JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF; of an animation or of several pages the first. Raises ImageError with
    the reason empty, not-an-image, unsupported, truncated, or too-large: more than *max_pixels* by its header,
    before any pixel is decoded. Nothing else is raised, and nothing is warned of. Safe from several threads.
    """
    with opened(data, max_pixels) as image:
        return finished(image, data)


@contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[ImageFile]:
    """Give the image in *data* with its header read and no pixel decoded; what goes wrong inside is an ImageError."""
    kind = identify(data)
    try:
        with pillow_is_quiet():
            yield _open(data, kind, max_pixels)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            "too-large", f"Pillow refuses the image ({error}); raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except MemoryError as error:
        raise ImageError("too-large", "the memory is too small to decode the image; lower max_pixels") from error
    except Exception as error:
        raise _explained(error, kind) from error


def finished(image: ImageFile, data: bytes) -> Image.Image:
    """Return *image*, opened from *data*, as `decode` promises."""
    image.load()
    _correct_transparency(image, data)
    return _upright(to_rgb(image), orientation_of(image))


def _open(data: bytes, kind: ImageFormat, max_pixels: int) -> ImageFile:
    if kind.name == "WebP":  # its decoder allocates the canvas when it is created
        _check_size(_webp_size(data), max_pixels)
    image = kind.reader()(BytesIO(data))
    _check_size(image.size, max_pixels)
    return image


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            "too-large",
            f"the image has {width} x {height} = {width * height} pixels, over the limit of {max_pixels}; "
            "make it smaller or raise the limit",
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height by the first chunk (RFC 9649, 2.5 to 2.7)."""
    chunk, header = data[12:16], data[20:30].ljust(10, b"\0")
    if chunk == b"VP8X":
        return int.from_bytes(header[4:7], "little") + 1, int.from_bytes(header[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(header[6:8], "little") & 0x3FFF, int.from_bytes(header[8:10], "little") & 0x3FFF


def _correct_transparency(image: ImageFile, data: bytes) -> None:
    """Bring the transparent value of a PNG to the 8 bits that Pillow has brought its pixels to."""
    value = image.info.get("transparency")
    if image.format != "PNG" or value is None:
        return
    bits = data[24]  # IHDR is always the first chunk
    if image.mode == "L" and isinstance(value, int):
        image.info["transparency"] = value * 255 // (2**bits - 1)
    elif image.mode == "RGB" and bits == 16:  # noqa: PLR2004
        image.info["transparency"] = tuple(part >> 8 for part in value)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return a plain image: turned, and without the metadata that would turn or color it a second time."""
    method = _UPRIGHT.get(orientation)
    if method is not None:
        image = image.transpose(method)
    elif isinstance(image, ImageFile):
        image = image.copy()
    image.info = {}
    return image


def _explained(error: Exception, kind: ImageFormat) -> ImageError:
    text = f"{error}".rstrip(".") or type(error).__name__
    if _UNKNOWN_KIND.search(text):
        return ImageError("unsupported", f"a {kind.name} image of this kind is not decoded ({text}); save it anew")
    return ImageError("truncated", f"the {kind.name} image ends too early or is damaged ({text}); replace the file")

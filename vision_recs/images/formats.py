"""Which format bytes are in, from their first bytes.

The formats are a fixed list, each opened by its own class of Pillow. `Image.open` would try every plugin (those for
PostScript and metafiles start other programs), and its limit on pixels is a global that belongs to the application.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from vision_recs.errors import ImageError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A format that is decoded: its name, how its bytes start, and the class of Pillow that reads it."""

    name: str
    start: re.Pattern[bytes]
    module: str
    class_name: str

    def reader(self) -> type[ImageFile]:
        """Return the class that opens it; raises ImageError "unsupported" where Pillow was built without its codec."""
        module = import_module(self.module)
        if not getattr(module, "SUPPORTED", True):
            raise ImageError("unsupported", f"Pillow was built without {self.name} on this machine; install its wheel")
        reader: type[ImageFile] = getattr(module, self.class_name)
        return reader


def _start(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


# JpegImageFile, not Pillow's factory: the first image of an MPO is an ordinary JPEG, and only that one is wanted.
_DECODED = (
    ImageFormat("JPEG", _start(rb"\xff\xd8\xff"), "PIL.JpegImagePlugin", "JpegImageFile"),
    ImageFormat("PNG", _start(rb"\x89PNG\r\n\x1a\n"), "PIL.PngImagePlugin", "PngImageFile"),
    ImageFormat("WebP", _start(rb"RIFF.{4}WEBPVP8[ LX]"), "PIL.WebPImagePlugin", "WebPImageFile"),
    ImageFormat("GIF", _start(rb"GIF8[79]a"), "PIL.GifImagePlugin", "GifImageFile"),
    ImageFormat("BMP", _start(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"), "PIL.BmpImagePlugin", "BmpImageFile"),
    ImageFormat("TIFF", _start(rb"II[*+]\0|MM\0[*+]"), "PIL.TiffImagePlugin", "TiffImageFile"),
)
_AVIF = ImageFormat("AVIF", _start(rb".{4}ftyp"), "PIL.AvifImagePlugin", "AvifImageFile")
_NAMES = ", ".join(known.name for known in (*_DECODED, _AVIF))

# Looked for so that a shop reads "HEIC", not "no image": what to do differs.
_KNOWN = (
    ("JPEG 2000", _start(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")),
    ("JPEG XL", _start(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("Photoshop", _start(rb"8BPS")),
    ("PDF", _start(rb"%PDF")),
    ("PostScript", _start(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("OpenEXR", _start(rb"v/1\x01")),
    ("icon", _start(rb"\0\0\x01\0")),
    ("SVG", _start(rb"(?:\xef\xbb\xbf)?\s*<(?:svg|[?!][^\0]{0,2000}?<svg)[\s>]")),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def identify(data: bytes) -> ImageFormat:
    """Return the format of *data*; raises ImageError: empty, not-an-image or unsupported."""
    if not data:
        raise ImageError("empty", "the image has no bytes; upload it again")
    for known in _DECODED:
        if known.start.match(data):
            return known
    brands = _brands(data)
    if brands & {b"avif", b"avis"}:
        return _AVIF
    other = "HEIC" if brands & _HEIC_BRANDS else next((name for name, start in _KNOWN if start.match(data)), None)
    if other is not None:
        raise ImageError("unsupported", f"an image in the format {other} is not decoded; convert it to one of {_NAMES}")
    raise ImageError("not-an-image", f"the bytes start with {data[:12]!r}, which is none of {_NAMES}; replace the file")


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file (ISO 14496-12, 4.3), to which HEIC and AVIF belong."""
    if not _AVIF.start.match(data):
        return set()
    end = min(int.from_bytes(data[:4], "big"), 512)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}

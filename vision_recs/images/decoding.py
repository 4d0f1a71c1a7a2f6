"""Bytes -> RGB: the boundary at which the bytes of strangers become images.

The formats are a fixed list, and each is opened by its own class of Pillow. `Image.open` would try every plugin (those
for PostScript and metafiles start other programs), and its limit on pixels is a global that belongs to the application.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any, Final, cast

from PIL import Image
from PIL.ImageFile import ImageFile

from vision_recs.errors import ImageError
from vision_recs.images.color import to_rgb
from vision_recs.images.geometry import Size, orientation_of, turn_of
from vision_recs.images.jpeg import MAX_SCANS, has_more_scans, has_one_scan
from vision_recs.images.jxl import jxl_size
from vision_recs.images.mending import read_mended
from vision_recs.images.tiff import require_known_layout

MAX_PIXELS: Final = 178_956_970
"""More than any camera takes (150 megapixels), 0.7 GB once decoded, and where Pillow itself refuses by default."""

MAX_DECODED_BYTES: Final = 1_500_000_000
"""The most memory that decoding one image may take. Plain images of MAX_PIXELS take 1.43 GB."""

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow raises the same classes for files that are damaged and for kinds of files that it does not know.
_UNKNOWN_KIND: Final = re.compile(
    r"unsupported|not supported|unknown (?:pixel|raw) mode|cannot handle|not available|string index out of range",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A format that is decoded: its name, how its bytes start, and the class of Pillow that reads it.

    *extra* is how many bytes a pixel its decoder takes beside the image of Pillow, at most. Where the class is that of
    an optional package, *package* names it.
    """

    name: str
    start: re.Pattern[bytes]
    module: str
    class_name: str
    extra: int = 0
    package: str | None = None

    def reader(self) -> type[ImageFile]:
        """Return the class that opens it; raises ImageError "unsupported" where there is no codec for it."""
        try:
            module = import_module(self.module)
        except ImportError as error:
            raise ImageError(
                "unsupported",
                f"{self.name} is decoded by {self.package}, which is not installed: pip install 'visrec[formats]'",
            ) from error
        if not getattr(module, "SUPPORTED", True):
            raise ImageError("unsupported", f"Pillow was built without {self.name} on this machine; install its wheel")
        reader: type[ImageFile] = getattr(module, self.class_name)
        return reader


def _start(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


# JpegImageFile, not Pillow's factory: the first image of an MPO is an ordinary JPEG, and only that one is wanted.
_FORMATS: Final = (
    ImageFormat("JPEG", _start(rb"\xff\xd8\xff"), "PIL.JpegImagePlugin", "JpegImageFile"),
    ImageFormat("PNG", _start(rb"\x89PNG\r\n\x1a\n"), "PIL.PngImagePlugin", "PngImageFile"),
    ImageFormat("WebP", _start(rb"RIFF.{4}WEBPVP8[ LX]"), "PIL.WebPImagePlugin", "WebPImageFile", extra=8),
    ImageFormat("GIF", _start(rb"GIF8[79]a"), "PIL.GifImagePlugin", "GifImageFile"),
    ImageFormat("BMP", _start(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"), "PIL.BmpImagePlugin", "BmpImageFile"),
    ImageFormat("TIFF", _start(rb"II[*+]\0|MM\0[*+]"), "PIL.TiffImagePlugin", "TiffImageFile"),
)
_AVIF: Final = ImageFormat("AVIF", _start(rb".{4}ftyp"), "PIL.AvifImagePlugin", "AvifImageFile", extra=8)
_HEIC: Final = ImageFormat("HEIC", _AVIF.start, "pillow_heif.as_plugin", "HeifImageFile", 8, "pillow-heif")
_JXL: Final = ImageFormat(
    name="JPEG XL",
    start=_start(rb"\xff\x0a|\0\0\0\x0cJXL "),
    module="pillow_jxl.JpegXLImagePlugin",
    class_name="JXLImageFile",
    extra=8,
    package="pillow-jxl-plugin",
)
_NAMES: Final = ", ".join(known.name for known in (*_FORMATS, _AVIF))

# Looked for so that a person reads "HEIC" and not "not an image": what to do differs.
_NOT_DECODED: Final = (
    ("JPEG 2000", _start(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")),
    ("Photoshop", _start(rb"8BPS")),
    ("PDF", _start(rb"%PDF")),
    ("PostScript", _start(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("OpenEXR", _start(rb"v/1\x01")),
    ("icon", _start(rb"\0\0\x01\0")),
    ("SVG", _start(rb"(?:\xef\xbb\xbf)?\s*<(?:svg|[?!][^\0]{0,2000}?<svg)[\s>]")),
)
_HEIC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the image in *data*, upright, in sRGB, over white, in mode RGB, without metadata.

    JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF are decoded, and HEIC and JPEG XL with the extra "formats"; of an animation
    or of several pages, the first. Raises ImageError with the reason empty, not-an-image, unsupported, truncated or
    too-large. An image is too large if its header names more than *max_pixels*, or if decoding it would take more than
    MAX_DECODED_BYTES of memory or more than MAX_SCANS scans; this is found before any pixel is decoded. Nothing else is
    raised, and no warning is shown. Safe to call from several threads.
    """

    def read(data: bytes) -> Image.Image:
        with opened(data, max_pixels) as image:
            return finished(image, data)

    return read_mended(read, data)


@contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[ImageFile]:
    """Yield the image in *data*: its header is read, its size is allowed, and no pixel is decoded yet.

    Whatever goes wrong inside the `with` block is raised as an ImageError.
    """
    known = identify(data)
    try:
        with pillow_is_quiet():
            yield _open(data, known, max_pixels)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            "too-large", f"Pillow refuses the image ({error}); raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except MemoryError as error:
        raise ImageError("too-large", "the memory is too small to decode the image; lower max_pixels") from error
    except Exception as error:
        raise _explained(error, known) from error


def finished(image: ImageFile, data: bytes) -> Image.Image:
    """Return *image*, which `opened` gave for *data*, as `decode` promises it; *image* cannot be used afterwards."""
    image.load()
    _correct_transparency(image, data)
    orientation = _orientation_left(image)
    rgb = to_rgb(image)
    if rgb is not image:
        image.close()  # frees its memory before the image is turned, which copies it
    return _upright(rgb, orientation)


def size_of(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Size:
    """Return the width and the height that `decode` gives the image in *data*; no pixel is decoded.

    Raises ImageError for what has no header that can be read.
    """

    def read(data: bytes) -> Size:
        with opened(data, max_pixels) as image:
            return turn_of(_orientation_left(image)).size(image.size)

    return read_mended(read, data)


def _orientation_left(image: ImageFile) -> int:
    """Return how *image* has to be turned; the decoder of JPEG XL does it itself, unless it is a packed JPEG."""
    return 1 if getattr(image, "jpeg", None) is False else orientation_of(image)


def identify(data: bytes) -> ImageFormat:
    """Return the format of *data* by its first bytes; raises ImageError: empty, not-an-image or unsupported."""
    if not data:
        raise ImageError("empty", "the image has no bytes; upload it again")
    for known in _FORMATS:
        if known.start.match(data):
            return known
    brands = _brands(data)
    if brands & {b"avif", b"avis"}:
        return _AVIF
    if brands & _HEIC_BRANDS:
        return _HEIC
    if _JXL.start.match(data):
        return _JXL
    other = next((name for name, start in _NOT_DECODED if start.match(data)), None)
    if other is not None:
        raise ImageError("unsupported", f"an image in the format {other} is not decoded; convert it to one of {_NAMES}")
    # no byte of it is quoted: a catalog or a URL may name any file, and the message may be for somebody else
    raise ImageError("not-an-image", f"the file is none of {_NAMES}; replace it")


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file (ISO 14496-12, 4.3), to which HEIC and AVIF belong."""
    if not _AVIF.start.match(data):
        return set()
    end = min(int.from_bytes(data[:4], "big"), 512)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def _open(data: bytes, known: ImageFormat, max_pixels: int) -> ImageFile:
    if known.name == "WebP":  # its decoder allocates the canvas when it is created
        _check_size(_webp_size(data), known.extra, max_pixels)
    if known is _JXL:  # its decoder decodes when it is created
        known.reader()
        _check_size(jxl_size(data), known.extra, max_pixels)
    has_several_scans = known.name == "JPEG" and not has_one_scan(data)
    if has_several_scans and has_more_scans(data, MAX_SCANS):
        raise ImageError("too-large", f"the JPEG image has more than {MAX_SCANS} scans; save it anew")
    image = known.reader()(BytesIO(data))
    # From several scans libjpeg collects coefficients, 2 bytes for each channel, before it makes pixels of them.
    extra = max(0, 2 * len(image.getbands()) - 4) if has_several_scans else known.extra
    _check_size(image.size, extra, max_pixels)
    if known.name == "TIFF":
        require_known_layout(image)
    return image


def _check_size(size: tuple[int, int], extra: int, max_pixels: int) -> None:
    """Raise ImageError for an image that has more than *max_pixels* or takes more than MAX_DECODED_BYTES.

    Pillow takes up to 4 bytes a pixel for the image as it is stored, and 4 for the image in RGB; see `color.to_rgb`.
    *extra* comes to these.
    """
    width, height = size
    pixels = width * height
    if pixels > max_pixels:
        raise ImageError(
            "too-large",
            f"the image has {width} x {height} = {pixels} pixels, over the limit of {max_pixels}; "
            "make it smaller or raise the limit",
        )
    if pixels * (8 + extra) > MAX_DECODED_BYTES:
        raise ImageError(
            "too-large",
            f"decoding the image of {width} x {height} pixels takes {pixels * (8 + extra)} bytes of memory, over the "
            f"limit of {MAX_DECODED_BYTES}; make it smaller",
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
    """Bring the transparent value of a PNG to the 8 bits that Pillow has brought its pixels to.

    A BMP whose alpha is 0 everywhere has none: programs leave these bytes empty.
    """
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image.putalpha(255)
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


def _explained(error: Exception, known: ImageFormat) -> ImageError:
    """Return what to say of *error*, without the words of Pillow: they may quote the file, which may be a secret."""
    if _UNKNOWN_KIND.search(str(error)):
        return ImageError("unsupported", f"a {known.name} image of this kind is not decoded; save it anew")
    return ImageError("truncated", f"the {known.name} image ends too early or is damaged; replace the file")


_IGNORE_PILLOW: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_inside = 0


@contextmanager
def pillow_is_quiet() -> Iterator[None]:
    """Ignore the warnings of Pillow (corrupt EXIF, sizes over its own limit) while any thread is in here.

    `warnings.catch_warnings` would do for one thread. From several it restores the wrong filters, and each time it
    makes Python forget which warnings it has shown, so that those of other libraries come again. One filter that the
    first thread puts in and the last one takes out has neither fault.
    """
    global _inside  # noqa: PLW0603 - Python's filters are one list for the process, and so is this count
    with _lock:
        _inside += 1
        if _IGNORE_PILLOW not in _filters():
            _filters().insert(0, _IGNORE_PILLOW)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _IGNORE_PILLOW in _filters():
                _filters().remove(_IGNORE_PILLOW)


def _filters() -> list[Any]:
    return cast("list[Any]", warnings.filters)

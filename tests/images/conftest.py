"""Images made in memory, also of kinds that Pillow reads but does not write."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image


def encode_image(image, form, **options):
    buffer = BytesIO()
    # a copy: Pillow leaves the settings of its JPEG encoder on the image, and its BMP encoder chokes on them
    image.copy().save(buffer, form, **options)
    return buffer.getvalue()


def write_png(rows, width, *, bits, color_type, chunks=()):
    """PNG of *rows* of bytes, already packed and big-endian; *chunks* (name, body) go before the pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *(chunk(*extra) for extra in chunks), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_tiff(strip, size, *, bits, photometric, extra=None):
    """Little-endian TIFF with one uncompressed strip of unsigned samples, *bits* (a list) each."""
    width, height = size
    longs = {256: width, 257: height, 273: 8, 278: height, 279: len(strip)}
    shorts = {258: bits, 259: [1], 262: [photometric], 277: [len(bits)], 339: [1] * len(bits)}
    shorts |= {} if extra is None else {338: [extra]}
    entries = {tag: (4, [value], "I") for tag, value in longs.items()}
    entries |= {tag: (3, values, "H") for tag, values in shorts.items()}
    at = 8 + len(strip)
    directory, overflow, overflow_at = struct.pack("<H", len(entries)), b"", at + 2 + 12 * len(entries) + 4
    for tag, (kind, values, code) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            packed, overflow = struct.pack("<I", overflow_at + len(overflow)), overflow + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", at) + strip + directory + struct.pack("<I", 0) + overflow


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return encode_image


@pytest.fixture
def png() -> Callable[..., bytes]:
    return write_png


@pytest.fixture
def tiff() -> Callable[..., bytes]:
    return write_tiff


@pytest.fixture
def quadrants() -> Image.Image:
    """48 x 32: red and green above blue and white."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = 255, 0, 0
    pixels[:16, 24:] = 0, 255, 0
    pixels[16:, :24] = 0, 0, 255
    pixels[16:, 24:] = 255, 255, 255
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def every_kind() -> dict[str, bytes]:
    """A small image of every kind: formats, modes, compressions, metadata."""
    noise = np.random.default_rng(3).integers(0, 256, (16, 24, 4), dtype=np.uint8)
    rgba, rgb = Image.fromarray(noise), Image.fromarray(noise[..., :3].copy())
    grey, deep = rgb.convert("L"), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description that does not fit four bytes"
    two = {"save_all": True, "append_images": [rgb.rotate(180)]}
    kinds = {
        "jpeg": (rgb, "JPEG", {"exif": exif}),
        "jpeg-progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg-grey": (grey, "JPEG", {}),
        "jpeg-cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "mpo": (rgb, "MPO", {"save_all": True, "append_images": [rgb.rotate(180)]}),
        "png": (rgb, "PNG", {"exif": exif}),
        "png-alpha": (rgba, "PNG", {}),
        "png-palette": (rgb.quantize(16), "PNG", {"transparency": 3}),
        "png-deep": (deep, "PNG", {}),
        "apng": (rgb, "PNG", two),
        "webp": (rgb, "WEBP", {"exif": exif}),
        "webp-lossless": (rgba, "WEBP", {"lossless": True}),
        "webp-animated": (rgb, "WEBP", two),
        "gif": (rgb, "GIF", {"transparency": 3}),
        "gif-animated": (rgb, "GIF", two),
        "bmp": (rgb, "BMP", {}),
        "bmp-palette": (rgb.quantize(16), "BMP", {}),
        "tiff": (rgb, "TIFF", {"exif": exif}),
        "tiff-lzw": (rgba, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-jpeg": (rgb, "TIFF", {"compression": "jpeg"}),
        "tiff-fax": (grey.convert("1"), "TIFF", {"compression": "group4"}),
        "tiff-deep": (deep, "TIFF", {}),
        "tiff-float": (grey.convert("F"), "TIFF", {}),
        "tiff-lab": (rgb.convert("LAB"), "TIFF", {}),
        "tiff-pages": (rgb, "TIFF", two),
        "avif": (rgb, "AVIF", {"exif": exif}),
        "avif-alpha": (rgba, "AVIF", {}),
    }
    return {name: encode_image(image, form, **options) for name, (image, form, options) in kinds.items()}

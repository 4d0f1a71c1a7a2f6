"""Valid files that Pillow refuses, files that lack only their end, and formats that an extra decodes."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from vision_recs.errors import ImageError
from vision_recs.images import decode, load
from vision_recs.images.decoding import MAX_PIXELS
from vision_recs.images.jxl import jxl_size
from vision_recs.types import PreprocessConfig

CONFIG = PreprocessConfig((16, 16), "stretch", 16, "bilinear", (0.5,) * 3, (0.5,) * 3)
PHOTO = Image.fromarray(np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def reason_of(data):
    with pytest.raises(ImageError) as caught:
        decode(data)
    return caught.value.reason, str(caught.value)


def same(data, other):
    """Whether two files decode to the same image, and to the same pixels for an encoder."""
    return np.array_equal(decode(data), decode(other)) and np.array_equal(load(data, CONFIG), load(other, CONFIG))


def with_chunk(data, name, body, *, crc=None):
    """Return the PNG *data* with one more chunk after its header."""
    found = zlib.crc32(name + body) if crc is None else crc
    return data[:33] + len(body).to_bytes(4, "big") + name + body + found.to_bytes(4, "big") + data[33:]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 2_000_000)),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 2_000_000)),
        (b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 2_000_000)),
    ],
)
def test_a_png_with_much_text_or_a_large_profile_decodes(encode, name, body):
    plain = encode(PHOTO, "PNG")
    assert same(with_chunk(plain, name, body), plain)


@pytest.mark.parametrize("name", [b"tEXt", b"tIME", b"pHYs", b"abCd"])
def test_a_wrong_checksum_of_an_ancillary_chunk_costs_only_that_chunk(encode, name):
    plain = encode(PHOTO, "PNG")
    assert same(with_chunk(plain, name, b"Comment\0x" if name == b"tEXt" else b"\0" * 9, crc=1), plain)


def test_a_wrong_checksum_of_the_pixels_is_still_damage(encode):
    data = bytearray(encode(PHOTO, "PNG"))
    data[data.index(b"IDAT") + 200] ^= 255
    assert reason_of(bytes(data))[0] == "truncated"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_without_its_last_marker_decodes_and_one_that_lacks_pixels_does_not(encode, mode, options):
    whole = encode(PHOTO.convert(mode), "JPEG", quality=90, **options)
    assert whole.endswith(b"\xff\xd9")
    for lacking in (1, 2):
        assert same(whole[:-lacking], whole)
    assert reason_of(whole[:-12])[0] == reason_of(whole[: len(whole) // 2])[0] == "truncated"


def bmp(pixels):
    """Return *pixels* (height, width, 4) as a BMP with masks of its four channels, as BITMAPV4HEADER has them."""
    height, width, _ = pixels.shape
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, pixels.size, 0, 0, 0, 0) + masks + bytes(52)
    body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    return struct.pack("<2sIHHI", b"BM", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


def test_a_bmp_of_32_bits_whose_alpha_is_zero_everywhere_is_opaque():
    pixels = np.dstack([np.asarray(PHOTO), np.zeros((48, 64), np.uint8)])
    transparent = bmp(pixels)
    assert Image.open(io.BytesIO(transparent)).mode == "RGBA"
    assert np.array_equal(decode(transparent), PHOTO)
    pixels[0, 0, 3] = 255
    assert np.array_equal(np.asarray(decode(bmp(pixels)))[1:], np.full((47, 64, 3), 255))


@pytest.mark.parametrize(
    ("form", "package", "data"),
    [
        ("HEIC", "pillow-heif", b"\0\0\0\x14ftypheic\0\0\0\0heic" + b"\0" * 40),
        ("HEIC", "pillow-heif", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 40),
        ("JPEG XL", "pillow-jxl-plugin", b"\xff\x0a\0\0"),
    ],
)
def test_without_the_extra_the_reason_names_it(monkeypatch, form, package, data):
    for module in ("pillow_heif.as_plugin", "pillow_jxl.JpegXLImagePlugin"):
        monkeypatch.setitem(sys.modules, module, None)
    message = f"{form} is decoded by {package}, which is not installed: pip install 'visrec[formats]'"
    assert reason_of(data) == ("unsupported", message)


def test_heic_decodes_and_its_damage_is_found():
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    smooth = PHOTO.resize((4, 3)).resize(PHOTO.size, Image.Resampling.BICUBIC)
    heif.from_pillow(smooth).save(buffer, quality=95)
    data = buffer.getvalue()
    assert np.abs(np.asarray(decode(data), int) - np.asarray(smooth, int)).mean() < 3
    assert load(data, CONFIG).shape == (16, 16, 3)
    assert {reason_of(data[:end])[0] for end in (40, len(data) // 2, len(data) - 9)} == {"truncated"}
    with pytest.raises(ImageError, match="64 x 48 = 3072 pixels"):
        decode(data, max_pixels=3000)


@pytest.fixture
def jxl(encode):
    pytest.importorskip("pillow_jxl.JpegXLImagePlugin")
    return lambda image, **options: encode(image, "JXL", lossless=True, **options)


def test_jpeg_xl_decodes_and_its_size_is_known_before(jxl):
    for container in (False, True):
        data = jxl(PHOTO, use_container=container)
        assert np.array_equal(decode(data), PHOTO)
        assert {reason_of(data[:end])[0] for end in (40, len(data) // 2, len(data) - 9)} == {"truncated"}
        with pytest.raises(ImageError, match="64 x 48 = 3072 pixels"):
            decode(data, max_pixels=3000)


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (1, 1), (317, 1000), (1280, 720), (513, 8193), (256, 256)])
def test_the_header_of_jpeg_xl_tells_its_size(jxl, size):
    assert jxl_size(jxl(Image.new("RGB", size))) == size


def test_a_jpeg_xl_that_says_it_is_huge_is_not_decoded(monkeypatch):
    pytest.importorskip("pillow_jxl.JpegXLImagePlugin")
    monkeypatch.setattr("pillow_jxl.JpegXLImagePlugin.JXLImageFile", None)
    bits = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33
    side = 2**30
    assert side * side > MAX_PIXELS
    reason, message = reason_of(b"\xff\x0a" + bits.to_bytes(12, "little"))
    assert (reason, f"{side} x {side}" in message) == ("too-large", True)

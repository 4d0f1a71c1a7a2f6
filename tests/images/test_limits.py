"""What an image may cost: pixels, memory and scans are counted before anything is decoded."""

import re
import subprocess
import sys

import pytest
from PIL import Image, ImageFile

from vision_recs.errors import ImageError
from vision_recs.images import MAX_DECODED_BYTES, MAX_PIXELS, canary_image, decode, decoding, jpeg

PIXELS = 320 * 240


@pytest.fixture
def nothing_decodes(monkeypatch):
    def load(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


def too_large(data):
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.reason == "too-large"
    return str(caught.value)


# Memory


def kinds(encode):
    rgb = canary_image()
    return {
        "jpeg": (encode(rgb, "JPEG"), 8),
        "progressive": (encode(rgb, "JPEG", progressive=True), 10),
        "progressive-cmyk": (encode(rgb.convert("CMYK"), "JPEG", progressive=True), 12),
        "progressive-gray": (encode(rgb.convert("L"), "JPEG", progressive=True), 8),
        "png": (encode(rgb.convert("RGBA"), "PNG"), 8),
        "tiff": (encode(rgb.convert("F"), "TIFF"), 8),
        "webp": (encode(rgb, "WEBP"), 16),
        "webp-lossless": (encode(rgb, "WEBP", lossless=True), 16),
        "avif": (encode(rgb, "AVIF"), 16),
    }


KINDS = ["jpeg", "progressive", "progressive-cmyk", "progressive-gray", "png", "tiff", "webp", "webp-lossless", "avif"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_on_memory_is_exact_for_every_kind(encode, monkeypatch, kind):
    data, per_pixel = kinds(encode)[kind]
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", per_pixel * PIXELS)
    assert decode(data).size == (320, 240)
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", per_pixel * PIXELS - 1)
    assert f"takes {per_pixel * PIXELS} bytes of memory, over the limit" in too_large(data)


@pytest.mark.usefixtures("nothing_decodes")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_checked_before_any_pixel_is_decoded(encode, monkeypatch, kind):
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", PIXELS)
    too_large(kinds(encode)[kind][0])


def test_plain_images_may_have_as_many_pixels_as_pillow_allows():
    assert 8 * MAX_PIXELS <= MAX_DECODED_BYTES < 8.5 * MAX_PIXELS


@pytest.mark.usefixtures("nothing_decodes")
def test_38_bytes_of_webp_do_not_take_gigabytes(encode):
    data = bytearray(encode(Image.new("RGB", (8, 8), "red"), "WEBP", lossless=True))
    assert len(data) < 60
    data[21:25] = (13_000 - 1 | (13_000 - 1) << 14).to_bytes(4, "little")  # width and height of VP8L
    assert "13000 x 13000 pixels takes 2704000000 bytes" in too_large(bytes(data))


MEASURE = """
import os, sys
from vision_recs.images import decode

def used(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) * 1024

for large, small in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if child == 0:
        data = open(large, "rb").read()
        decode(open(small, "rb").read())  # whatever the decoder allocates once
        before = used("VmRSS")
        image = decode(data)
        print((used("VmHWM") - before) / (image.width * image.height), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""

CASES = [
    ("RGB", "JPEG", 8, {}),
    ("RGB", "JPEG", 10, {"progressive": True, "subsampling": 0}),
    ("CMYK", "JPEG", 12, {"progressive": True}),
    ("RGBA", "PNG", 8, {"compress_level": 1}),
    ("LA", "PNG", 8, {"compress_level": 1}),
    ("F", "TIFF", 8, {}),
    ("RGB", "TIFF", 8, {"compression": "tiff_lzw"}),
    ("RGBA", "WEBP", 16, {"lossless": True, "method": 0}),
    ("RGBA", "AVIF", 16, {"speed": 10, "subsampling": "4:4:4"}),
]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_decoding_takes_no_more_memory_than_was_counted(encode, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turning copies
    files = []
    for number, (mode, form, _, options) in enumerate(CASES):
        files += [tmp_path / f"{number} large", tmp_path / f"{number} small"]
        files[-2].write_bytes(encode(Image.new(mode, (4000, 4000)), form, **options, exif=exif))
        files[-1].write_bytes(encode(Image.new(mode, (16, 16)), form, **options))
    done = subprocess.run([sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True)
    for case, found in zip(CASES, map(float, done.stdout.split()), strict=True):
        assert found < case[2] + 2, case  # tiles, and what threads of the decoder take


# Scans


def scans_of(count, *, sequential=False, comment=b""):
    """A gray JPEG of 16 x 16 pixels with *count* scans, each a few bytes: progressive, or sequential and damaged."""
    tables = b"\xff\xdb\0\x43\0" + bytes([1] * 64)
    tables += b"\xff\xc4\0\x14\0" + bytes([1] + [0] * 15) + b"\0"  # one code for DC: no difference
    tables += b"\xff\xc4\0\x14\x10" + bytes([1] + [0] * 15) + b"\xe0"  # and one for AC: a run without coefficients
    channels = 2 if sequential else 1
    frame = (b"\xff\xc0" if sequential else b"\xff\xc2") + (8 + 3 * channels).to_bytes(2, "big")
    frame += b"\x08\0\x10\0\x10" + bytes(
        [channels, *b"".join(bytes([each, 0x11, 0]) for each in range(1, channels + 1))]
    )
    first = b"\xff\xda\0\x08\x01\x01\0\0\0\0\0"
    later = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0\x7f\xfe"
    return b"\xff\xd8" + comment + tables + frame + first + later * (count - 1) + b"\xff\xd9"


def test_a_hundred_scans_are_decoded_and_one_more_is_not():
    assert decode(scans_of(100)).size == (16, 16)
    assert too_large(scans_of(101)) == "the JPEG image has more than 100 scans; save it anew"


@pytest.mark.usefixtures("nothing_decodes")
def test_40_000_scans_cost_nothing():
    too_large(scans_of(40_000))


@pytest.mark.usefixtures("nothing_decodes")
def test_scans_of_one_channel_each_are_counted_too():
    too_large(scans_of(101, sequential=True))


@pytest.mark.usefixtures("nothing_decodes")
@pytest.mark.parametrize(
    "disguise",
    [
        lambda data: data[:2] + b"\xff" + data[2:],  # a byte that fills
        lambda data: data[:2] + b"\xff\x01" + data[2:],  # a marker without a length
        lambda data: data.replace(b"\xff\xda", b"\xff\xff\xda"),
    ],
)
def test_an_unusual_header_does_not_hide_scans(disguise):
    too_large(disguise(scans_of(101)))


@pytest.mark.parametrize("count", [1, 99])
def test_what_only_looks_like_scans_is_not_counted(count):
    scans = b"\xff\xda\0\x02" * 500
    comment = b"\xff\xfe" + (2 + len(scans)).to_bytes(2, "big") + scans
    assert decode(scans_of(count, comment=comment) + b"\0\0" + scans).size == (16, 16)  # a thumbnail; a film behind


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_encoders_write_few_scans(encode, options):
    data = encode(canary_image(), "JPEG", subsampling=0, **options)
    assert jpeg.has_one_scan(data) == (not options)
    found = len(re.findall(rb"\xff\xda", data))
    assert jpeg.has_more_scans(data, found - 1)
    assert not jpeg.has_more_scans(data, found)
    assert found == (10 if options else 1)

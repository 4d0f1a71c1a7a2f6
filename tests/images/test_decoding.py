import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image, ImageFile, WebPImagePlugin
from PIL import __version__ as pillow_version

from vision_recs.errors import ImageError
from vision_recs.images import MAX_PIXELS, canary_image, decode, size_of

PILLOW = int(pillow_version.split(".")[0])

LOSSLESS = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "packbits"}),
    ("TIFF", {"big_tiff": True}),
]
LOSSY = [
    ("JPEG", {"quality": 95, "subsampling": 0}),
    ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    ("WEBP", {"quality": 99}),
    ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ("TIFF", {"compression": "jpeg"}),
    ("GIF", {}),
]


SAFE = np.s_[2:-2:6, 2:-2:6]  # away from edges, where halved chroma bleeds


def colors(image):
    return np.asarray(image).astype(int)


def reason_of(data, **options):
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    return caught.value.reason


@pytest.mark.parametrize(("form", "options"), LOSSLESS)
def test_a_lossless_image_comes_back_exactly(encode, form, options):
    image = decode(encode(canary_image(), form, **options))
    assert image.mode == "RGB"
    assert image.tobytes() == canary_image().tobytes()


@pytest.mark.parametrize(("form", "options"), LOSSY)
def test_a_lossy_image_comes_back_nearly(encode, quadrants, form, options):
    image = decode(encode(quadrants, form, **options))
    assert image.size == quadrants.size
    assert np.abs(colors(image) - colors(quadrants))[SAFE].max() <= 12


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_size_is_known_before_a_pixel_is_decoded(encode, quadrants, orientation):
    for kind in ("JPEG", "PNG"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(quadrants.resize((40, 20)), kind, exif=exif)
        assert size_of(data) == decode(data).size == ((20, 40) if orientation == 6 else (40, 20))


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_result_is_a_plain_image_without_metadata(encode, quadrants, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encode(quadrants, "JPEG", exif=exif, comment=b"hello", dpi=(72, 72)))
    assert type(image) is Image.Image
    assert image.info == {}
    assert dict(image.getexif()) == {}


# What row 0 and column 0 of the stored pixels show, by the EXIF standard (CIPA DC-008, Orientation).
STORED = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_as(upright, orientation):
    pixels = np.asarray(upright)
    first_row, first_column = STORED[orientation]
    if "right" in (first_row, first_column):
        pixels = pixels[:, ::-1]
    if "bottom" in (first_row, first_column):
        pixels = pixels[::-1]
    if first_row in ("left", "right"):
        pixels = pixels.swapaxes(0, 1)
    return Image.fromarray(np.ascontiguousarray(pixels))


@pytest.mark.parametrize("form", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_turned_upright(encode, quadrants, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encode(stored_as(quadrants, orientation), form, exif=exif, quality=95))
    assert image.size == quadrants.size
    assert np.abs(colors(image) - colors(quadrants))[SAFE].max() <= 12


def test_a_compressed_tiff_is_turned_upright(encode, quadrants):
    data = encode(stored_as(quadrants, 6), "TIFF", tiffinfo={274: 6}, compression="tiff_lzw")
    assert decode(data).tobytes() == quadrants.tobytes()


def test_the_orientation_in_xmp_counts_where_exif_has_none(encode, quadrants):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(encode(stored_as(quadrants, 6), "PNG", exif=b"")).size == (32, 48)
    image = decode(encode(stored_as(quadrants, 6), "JPEG", xmp=xmp, quality=95))
    assert image.size == (48, 32)
    assert image.getpixel((4, 4))[0] > 240


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0", b"\0" * 40])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_is_ignored(encode, quadrants, form, exif):
    assert decode(encode(quadrants, form, exif=exif)).size == quadrants.size


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_the_first_image_of_several_is_taken(encode, form):
    red, blue = (Image.new("RGB", (24, 16), color) for color in ("red", "blue"))
    image = decode(encode(red, form, save_all=True, append_images=[blue, blue]))
    assert image.size == (24, 16)
    assert np.abs(colors(image) - (255, 0, 0)).max() <= 3


def test_no_bytes_are_empty():
    assert reason_of(b"") == "empty"


@pytest.mark.parametrize("data", [b"\0", b"<html><body>404</body></html>", b"BMW is a car", b"P6 1 1 255 abc", b"GIF"])
def test_bytes_of_no_known_format_are_not_an_image(data):
    assert reason_of(data) == "not-an-image"


SECRET = b"Zq7x"


@pytest.mark.parametrize(
    "data",
    [
        SECRET * 40,
        *(
            start + SECRET * 40
            for start in (b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"8BPS", b"\xff\x0a")
        ),
        b"RIFF" + SECRET + b"WEBPVP8 " + SECRET * 40,
        b"BM" + SECRET * 3 + b"\x28\0\0\0" + SECRET * 40,
        SECRET + b"ftypavif" + SECRET * 40,
        SECRET + b"ftypheic" + SECRET * 40,
        b"\x89PNG\r\n\x1a\n\0\0\0\x04" + SECRET * 40,  # Pillow names the chunk
    ],
)
def test_no_message_quotes_a_byte_of_the_file(data):
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert "Z" not in str(caught.value)
    assert "q7" not in str(caught.value)


def test_the_message_names_the_formats():
    with pytest.raises(ImageError, match=r"^the file is none of JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF; replace it$"):
        decode(b"<html><body>404 not found</body></html>")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("SVG", b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("SVG", b"<svg width='1'/>"),
        ("PDF", b"%PDF-1.7 "),
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
        ("Photoshop", b"8BPS\0\1" + b"\0" * 40),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("icon", b"\0\0\1\0\1\0"),
    ],
)
def test_a_format_that_is_not_decoded_is_named(name, data):
    with pytest.raises(ImageError, match=f"in the format {name} is not decoded") as caught:
        decode(data)
    assert caught.value.reason == "unsupported"


def test_a_kind_of_tiff_that_pillow_does_not_know_is_unsupported(tiff):
    assert reason_of(tiff(b"\0" * 64, (4, 4), bits=[32], photometric=2)) == "unsupported"


SIGNED = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize(("form", "options"), LOSSLESS + LOSSY)
def test_an_image_that_ends_too_early_is_truncated(encode, form, options, share):
    data = encode(canary_image(), form, **options)
    assert reason_of(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("form", SIGNED)
def test_the_limit_on_pixels_is_exact(encode, form):
    data = encode(canary_image(), form)
    assert decode(data, max_pixels=320 * 240).size == (320, 240)
    with pytest.raises(ImageError, match="320 x 240 = 76800 pixels, over the limit of 76799") as caught:
        decode(data, max_pixels=320 * 240 - 1)
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize("form", SIGNED)
def test_the_limit_is_checked_before_any_pixel_is_decoded(encode, form, monkeypatch):
    data = encode(canary_image(), form)

    def load(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert reason_of(data, max_pixels=1000) == "too-large"


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0"}])
def test_the_limit_is_checked_before_webp_allocates_its_canvas(encode, options, monkeypatch):
    data = encode(canary_image(), "WEBP", **options)
    monkeypatch.setattr(WebPImagePlugin, "WebPImageFile", None)
    assert reason_of(data, max_pixels=320 * 240 - 1) == "too-large"


def test_the_default_limit_stops_a_bomb_of_a_few_bytes(png):
    assert reason_of(png([b""] * 20_000, 20_000, bits=8, color_type=2)) == "too-large"
    assert MAX_PIXELS < 20_000**2


@pytest.mark.parametrize("form", SIGNED)
def test_our_limit_holds_where_pillow_has_none(encode, form, monkeypatch):
    data = encode(canary_image(), form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason_of(data, max_pixels=1000) == "too-large"


@pytest.mark.parametrize("form", SIGNED)
def test_a_lower_limit_of_pillow_warns_of_nothing(encode, form, monkeypatch):
    data = encode(canary_image(), form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 320 * 240 - 1)
    assert decode(data).size == (320, 240)


@pytest.mark.parametrize("form", SIGNED)
def test_where_pillow_itself_refuses_the_image_is_too_large(encode, form, monkeypatch):
    data = encode(canary_image(), form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with ExitStack() as stack:
        if form == "TIFF" or (form == "WEBP" and PILLOW >= 13):  # whose classes ask Pillow's limit by themselves
            stack.enter_context(pytest.raises(ImageError, match=r"PIL\.Image\.MAX_IMAGE_PIXELS"))
        assert decode(data).size == (320, 240)


def test_running_out_of_memory_is_too_large(encode, monkeypatch):
    def load(*_):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert reason_of(encode(canary_image(), "JPEG")) == "too-large"


def test_several_threads_decode_the_same_images_as_one(every_kind):
    before = list(warnings.filters)
    alone = {name: decode(data).tobytes() for name, data in every_kind.items()}
    with ThreadPoolExecutor(8) as pool:
        names = list(every_kind) * 4
        together = list(pool.map(lambda name: decode(every_kind[name]).tobytes(), names))
    assert together == [alone[name] for name in names]
    assert warnings.filters == before

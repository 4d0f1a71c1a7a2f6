"""`load` against `prepare(decode(...))`, which is slow and exact."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image, ImageCms
from property_examples import examples_of

from vision_recs.errors import ImageError
from vision_recs.images import canary_image, decode, jpeg, load, loading, prepare
from vision_recs.types import PreprocessConfig

RESIZE_MODES = ["crop", "stretch", "pad"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def config(resize_mode="crop", size=(224, 224), resize=256, interpolation="bicubic", background=(10, 200, 90)):
    return PreprocessConfig(size, resize_mode, resize, interpolation, (0.5,) * 3, (0.5,) * 3, background)


def photo(width, height, seed=0):
    """A smooth image whose parts all differ."""
    coarse = np.random.default_rng(seed).integers(40, 216, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def difference(data, how):
    ours, exact = load(data, how), prepare(decode(data), how)
    assert ours.shape == exact.shape == (*how.size, 3)
    assert ours.dtype == np.uint8
    return np.abs(ours.astype(int) - exact)


def close(levels):
    """The two ways scale rows and columns in another order: at hard edges they cut off other overshoots."""
    return levels.mean() < 0.25 and levels.max() <= 12


def outcome(way, data, **options):
    try:
        way(data, **options)
    except ImageError as error:
        return error.reason
    return "pixels"


@pytest.fixture
def fast(monkeypatch):
    """How many times smaller each JPEG was decoded by libjpeg-turbo; None where it gave up."""
    taken = []

    def decode_smaller(data, size, by):
        pixels = original(data, size, by)
        taken.append(None if pixels is None else by)
        return pixels

    original = loading.decode_smaller
    monkeypatch.setattr(loading, "decode_smaller", decode_smaller)
    return taken


# Levels


@pytest.mark.parametrize(
    ("resize", "by", "most"), [(300, 1, 0.2), (129, 1, 0.2), (128, 2, 1), (64, 4, 1.5), (32, 8, 2)]
)
def test_photos_are_decoded_no_larger_than_needed_and_keep_their_levels(sample_images, fast, resize, by, most):
    paths = sorted(sample_images.glob("*.jpg"))[::16]
    differences = [difference(path.read_bytes(), config(size=(resize, resize), resize=resize)) for path in paths]
    assert max(each.mean() for each in differences) < most
    assert fast == [by] * len(paths)  # they are 384 x 384


@pytest.mark.parametrize("side", [224, 256, 384])
@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(640, 427), (333, 501), (1201, 803)])
def test_every_config_is_followed(encode, size, interpolation, resize_mode, side):
    how = config(resize_mode, (side, side), side * 8 // 7, interpolation)
    levels = difference(encode(photo(*size), "JPEG", quality=90), how)
    assert levels.mean() < 0.5
    assert levels.max() <= 6


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_have_the_same_pixels_too(encode, form):
    assert close(difference(encode(canary_image(), form), config()))


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 400), (7, 9), (17, 11), (8, 4000)])
@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
def test_the_smallest_and_the_thinnest_images_have_pixels(encode, size, resize_mode):
    data = encode(photo(*size), "JPEG", quality=95, subsampling=0)
    assert difference(data, config(resize_mode)).mean() < 1
    assert difference(data, config(resize_mode, size=(2, 2), resize=2)).mean() < 2


configs = st.builds(
    config,
    st.sampled_from(RESIZE_MODES),
    st.tuples(st.integers(8, 90), st.integers(8, 90)),
    st.integers(8, 90),
    st.sampled_from(["bilinear", "bicubic"]),
)


@settings(
    max_examples=examples_of(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(st.tuples(st.integers(1, 400), st.integers(1, 400)), configs, st.integers(1, 8))
def test_any_jpeg_has_nearly_its_exact_pixels(encode, size, how, orientation):
    data = encode(photo(*size), "JPEG", quality=95, subsampling=0, exif=turned(orientation))
    assert difference(data, how).mean() < 2


# Geometry


def lines(width, height, columns, rows, thick):
    """White lines on black; *columns* and *rows* say where each starts."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for column in columns:
        pixels[:, column : column + thick] = 255
    for row in rows:
        pixels[row : row + thick] = 255
    return Image.fromarray(pixels)


def centers(profile):
    """Where the lines that cross *profile* lie, in pixels from its edge."""
    light = profile.astype(float) * (profile > 24)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], light > 0])) == 1)
    groups = np.split(np.arange(len(light)), starts)[1:]
    return [float((group + 0.5) @ light[group] / light[group].sum()) for group in groups]


@pytest.mark.parametrize("size", [(500, 333), (1001, 667), (2003, 1335), (4001, 2667), (1335, 2003)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_line_lands_where_the_recipe_says_to_a_tenth_of_a_pixel(encode, fast, size, interpolation):
    width, height = size
    shorter, scale = min(size), 256 / min(size)
    thick = round(3 / scale)
    # the last ones that the crop keeps, and one in the middle
    inset = [round((side - shorter) / 2 + shorter * share) for side in size for share in (0.08, 0.53, 0.9)]
    columns, rows = inset[:3], inset[3:]
    pixels = load(
        encode(lines(width, height, columns, rows, thick), "JPEG", quality=95), config(interpolation=interpolation)
    )
    clear_row, clear_column = (int(np.argmin(pixels[..., 1].sum(axis=axis))) for axis in (1, 0))
    for starts, side, profile in (
        (columns, width, pixels[clear_row, :, 1]),
        (rows, height, pixels[:, clear_column, 1]),
    ):
        scaled = int(256 * side / shorter)
        expected = [(start + thick / 2) * scaled / side - round((scaled - 224) / 2) for start in starts]
        assert centers(profile) == pytest.approx(expected, abs=0.1)
    assert fast == [{333: 1, 667: 1, 1335: 2, 2667: 4}[shorter]]


@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
@pytest.mark.parametrize("size", [(479, 331), (331, 479), (958, 661)])
def test_quadrants_meet_where_they_do_in_the_exact_pixels(encode, size, resize_mode):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, width // 3 :], pixels[height // 2 :, : width // 3] = (255, 90, 0), (0, 160, 255)
    levels = difference(encode(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0), config(resize_mode))
    assert levels.mean() < 0.5
    assert levels.max() < 60  # a shift by half a pixel is 127


# How the camera was held


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(517, 389), (1025, 771), (389, 517)])
@pytest.mark.parametrize("how", [config(), config("crop", (111, 90), 125), config("pad"), config("stretch", (96, 150))])
def test_an_image_is_turned_as_decode_turns_it(encode, fast, orientation, size, how):
    data = encode(photo(*size), "JPEG", quality=92, exif=turned(orientation))
    levels = difference(data, how)
    assert levels.mean() < 0.5
    assert levels.max() <= 6
    assert len(fast) == 1


def test_the_orientation_in_xmp_counts_where_exif_has_none(encode, fast):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    assert difference(encode(photo(300, 200), "JPEG", xmp=xmp), config()).mean() < 0.5
    assert fast == [1]


# Colors, and who decodes


def swapped_colors():
    """The profile of a device whose red is the green of sRGB, and the other way round."""
    return SRGB.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")


@pytest.mark.parametrize(
    ("mode", "options", "by"),
    [
        ("RGB", {}, [1]),
        ("RGB", {"progressive": True}, [1]),
        ("RGB", {"subsampling": "4:4:4"}, [1]),
        ("RGB", {"subsampling": "4:2:2"}, [1]),
        ("RGB", {"restart_marker_blocks": 3}, [1]),
        ("RGB", {"keep_rgb": True}, [1]),
        ("RGB", {"icc_profile": SRGB}, [1]),
        ("RGB", {"icc_profile": b"no profile"}, [1]),
        ("RGB", {"icc_profile": swapped_colors()}, []),
        ("RGB", {"comment": b"\xff\xd8\xff\xc3" * 9}, [1]),
        ("L", {}, [1]),
        ("L", {"progressive": True, "icc_profile": SRGB}, [1]),
        ("L", {"icc_profile": swapped_colors()}, []),
        ("CMYK", {}, []),
    ],
)
def test_ordinary_jpegs_are_decoded_fast_and_all_have_their_colors(encode, fast, mode, options, by):
    data = encode(canary_image().convert(mode), "JPEG", quality=90, **options)
    assert close(difference(data, config()))
    assert fast == by


def test_a_profile_is_applied(encode):
    data = encode(Image.new("RGB", (64, 64), (220, 40, 40)), "JPEG", icc_profile=swapped_colors())
    red, green, blue = load(data, config())[100, 100].astype(int)
    assert green > red + 100
    assert abs(blue - 40) < 30


def test_without_need_of_scaling_the_levels_are_those_of_pillow(encode, fast):
    for mode in ("RGB", "L"):
        data = encode(canary_image().convert(mode), "JPEG", quality=85)
        assert difference(data, config("stretch", size=(240, 320))).max() == 0
    assert fast == [1, 1]


def test_behind_an_unusual_header_pillow_decodes(encode, fast):
    data = encode(canary_image(), "JPEG")
    filled = data[:2] + b"\xff" + data[2:]  # any number of bytes 255 may stand before a marker
    assert close(difference(filled, config()))
    assert fast == []


@pytest.mark.parametrize(
    ("segments", "frame"),
    [
        (b"\xff\xe0\0\x03A\xff\xdb\0\x02\xff\xc2\0\x0b", 0xC2),
        (b"\xff\xe0\0\x01\xff\xc0\0\x0b", 0xE0),  # too short to count itself
        (b"\xff\xe1\xff\xff\xff\xc0\0\x0b", None),
        (b"\xff\xd0\xff\xc0\0\x0b", 0xD0),
        (b"\0\xff\xc0\0\x0b", None),
        (b"", None),
    ],
)
def test_the_frame_is_looked_for_in_well_formed_headers_only(segments, frame):
    assert jpeg._header(b"\xff\xd8" + segments + bytes(8)).frame == frame


def test_pixels_of_another_size_than_the_header_says_are_not_used(encode, fast, monkeypatch):
    monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", lambda *_, **__: np.zeros((240, 319, 3), np.uint8))
    assert close(difference(encode(canary_image(), "JPEG"), config()))
    assert fast == [None]


def test_a_lossless_frame_is_not_scaled_while_it_is_decoded(encode, fast):
    data = encode(canary_image(), "JPEG")
    at = data.index(b"\xff\xc0") + 1
    assert outcome(load, data[:at] + b"\xc3" + data[at + 1 :], config=config()) != "empty"
    assert fast == []


def test_very_large_images_are_not_copied(encode, fast, monkeypatch):
    monkeypatch.setattr(loading, "_LARGEST_COPIED", 320 * 240 - 1)
    for form in ("JPEG", "PNG"):
        data = encode(canary_image(), form)
        assert np.array_equal(load(data, config()), prepare(decode(data), config()))
    assert fast == []
    load(encode(canary_image(), "JPEG"), config(size=(64, 64), resize=64))
    assert fast == [2]


# Damage


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_truncated_jpeg_is_refused_as_decode_refuses_it(encode, mode, options):
    data = encode(canary_image().convert(mode), "JPEG", exif=turned(6), **options)
    for how in (config(), config(size=(40, 40), resize=40)):
        outcomes = [
            (outcome(load, data[: len(data) * part // 20], config=how), outcome(decode, data[: len(data) * part // 20]))
            for part in range(21)
        ]
        assert outcomes == [("empty", "empty"), *[("truncated", "truncated")] * 19, ("pixels", "pixels")]


def test_a_truncated_jpeg_of_which_the_end_was_patched_gives_what_decode_gives(encode, fast):
    data = encode(canary_image(), "JPEG")
    patched = data[: len(data) // 2] + b"\xff\xd9"
    assert outcome(load, patched, config=config()) == outcome(decode, patched)
    assert fast == [None]


@pytest.mark.parametrize("tail", [b"\0" * 1000, b"garbage", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\xff\xd9"])
def test_what_follows_the_image_does_not_matter(encode, fast, tail):
    data = encode(canary_image(), "JPEG")
    assert np.array_equal(load(data + tail, config()), load(data, config()))
    assert fast == [1, 1]


def test_of_several_images_the_first_is_taken(encode, fast):
    data = encode(canary_image(), "MPO", save_all=True, append_images=[photo(50, 50)])
    assert difference(data, config()).mean() < 0.5
    assert fast == [1]


def test_a_thumbnail_in_the_metadata_is_not_the_image(encode, fast):
    exif = turned(3).tobytes() + encode(Image.new("RGB", (40, 30), "red"), "JPEG")
    assert difference(encode(photo(320, 200), "JPEG", exif=exif), config()).mean() < 0.5
    assert fast == [1]


def test_the_limit_on_pixels_is_exact_and_checked_before_any_is_decoded(encode, monkeypatch):
    data = encode(canary_image(), "JPEG")
    assert load(data, config(), max_pixels=320 * 240).shape == (224, 224, 3)
    monkeypatch.setattr(loading, "decode_smaller", None)
    with pytest.raises(ImageError, match="320 x 240 = 76800 pixels, over the limit of 76799") as caught:
        load(data, config(), max_pixels=320 * 240 - 1)
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff", b"8BPS\0\1" + b"\0" * 40])
def test_what_decode_refuses_load_refuses(data):
    with pytest.raises(ImageError) as theirs:
        decode(data)
    with pytest.raises(ImageError) as ours:
        load(data, config())
    assert (ours.value.reason, str(ours.value)) == (theirs.value.reason, str(theirs.value))


# Use


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_pixels_belong_to_the_caller(encode, form, orientation):
    pixels = load(encode(canary_image(), form, exif=turned(orientation)), config())
    assert pixels.flags.c_contiguous
    assert pixels.flags.owndata
    pixels[:] = 0


def test_several_threads_load_the_same_pixels_as_one(every_kind):
    names = [name for name in every_kind for _ in range(6)]
    alone = {name: load(data, config()).tobytes() for name, data in every_kind.items()}
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda name: load(every_kind[name], config()).tobytes(), names))
    assert together == [alone[name] for name in names]

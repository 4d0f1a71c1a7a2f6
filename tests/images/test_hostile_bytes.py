"""Whatever the bytes are, `decode` and `load` give an image or raise the same ImageError, and warn of nothing."""

import warnings
from io import BytesIO

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image
from property_examples import examples_of

from vision_recs.errors import ImageError
from vision_recs.images import decode, load
from vision_recs.images.decoding import pillow_is_quiet
from vision_recs.types import PreprocessConfig

MANY = settings(
    max_examples=examples_of(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
SMALL = 100_000
CONFIGS = [  # for the second, JPEGs are decoded at a fraction of their size
    PreprocessConfig((20, 20), "crop", 22, "bicubic", (0.5,) * 3, (0.5,) * 3),
    PreprocessConfig((4, 3), "stretch", 3, "bilinear", (0.5,) * 3, (0.5,) * 3),
]


def attempt(way, *arguments):
    try:
        return way(*arguments, max_pixels=SMALL), None
    except ImageError as error:
        return None, error.reason


def survives(data):
    image, reason = attempt(decode, data)
    if image is not None:
        assert image.mode == "RGB"
        assert image.width * image.height <= SMALL
        assert len(image.tobytes()) == image.width * image.height * 3
    for config in CONFIGS:
        pixels, reason_of_load = attempt(load, data, config)
        assert reason_of_load == reason
        assert pixels is None or pixels.shape == (*config.size, 3)


def test_every_cut_of_every_kind_is_survived(every_kind):
    for data in every_kind.values():
        for end in range(0, len(data), max(1, len(data) // 100)):
            survives(data[:end])


def test_every_byte_of_every_header_may_be_wrong(every_kind):
    for data in every_kind.values():
        for at in range(min(len(data), 100)):
            for value in (255, data[at] ^ 1):
                survives(data[:at] + bytes([value]) + data[at + 1 :])


edits = st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6)


@MANY
@given(data=st.data(), changes=edits, cut=st.none() | st.integers(0, 2**16))
def test_any_damage_is_survived(every_kind, data, changes, cut):
    image = bytearray(every_kind[data.draw(st.sampled_from(sorted(every_kind)))])
    for at, value in changes:
        start = at % len(image)
        image[start : start + len(value)] = value
    survives(bytes(image[: None if cut is None else cut % len(image)]))


@MANY
@given(data=st.data(), first=st.integers(0, 2**16), second=st.integers(0, 2**16))
def test_any_two_images_glued_together_are_survived(every_kind, data, first, second):
    head, tail = (every_kind[data.draw(st.sampled_from(sorted(every_kind)))] for _ in range(2))
    survives(head[: first % len(head)] + tail[second % len(tail) :])


@MANY
@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0\x08\0\0\0"]), rest=st.binary()
)
def test_any_bytes_are_survived(start, rest):
    survives(start + rest)


def test_the_images_themselves_are_read(every_kind):
    for name, data in every_kind.items():
        assert set(decode(data).size) == {16, 24}, name


def test_the_settings_of_pillow_are_left_alone(every_kind):
    before = Image.MAX_IMAGE_PIXELS
    for data in every_kind.values():
        survives(data)
    assert before == Image.MAX_IMAGE_PIXELS


def test_an_exif_that_makes_pillow_warn_makes_no_noise(encode):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02\0\0\xff\xff\0\0\0\x1a\0\0\0\0"
    data = encode(Image.new("RGB", (8, 8)), "JPEG", exif=exif)
    with pytest.warns(UserWarning, match="Tag data larger|corrupt EXIF|Truncated File Read"):
        Image.open(BytesIO(data)).getexif()
    assert decode(data).size == (8, 8)


def test_pillow_stays_quiet_until_the_last_thread_is_done():
    def warn():
        warnings.warn_explicit("corrupt", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")

    with pillow_is_quiet():
        with pillow_is_quiet():
            warn()
        warn()
        with pytest.raises(UserWarning):
            warnings.warn_explicit("ours", UserWarning, "app.py", 1, module="app")
    with pytest.raises(UserWarning):
        warn()

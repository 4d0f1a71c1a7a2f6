import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from open_clip.transform import CenterCropOrPad, image_transform
from PIL import Image
from property_examples import examples_of
from timm.data import create_transform
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from vision_recs.images import canary_image, prepare, preprocess
from vision_recs.types import PreprocessConfig

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
# wide, tall, square, odd, as asked for, smaller than the crop, a thread
SIZES = [(320, 240), (240, 320), (200, 200), (333, 257), (257, 333), (224, 224), (256, 256), (17, 11), (3, 120), (1, 1)]


def config(resize_mode="crop", size=(224, 224), resize=256, interpolation="bicubic", background=(255, 255, 255)):
    return PreprocessConfig(size, resize_mode, resize, interpolation, (0.5,) * 3, (0.5,) * 3, background)


def noise(size, seed=0):
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def as_pixels(tensor):
    """What a transform without normalization gives, in [0, 1], back as levels."""
    return (tensor.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize(("resize", "crop"), [(256, (224, 224)), (232, (224, 224)), (61, (61, 61)), (64, (50, 61))])
def test_crop_equals_torchvision(size, interpolation, resize, crop):
    theirs = Compose([Resize(resize, MODES[interpolation]), CenterCrop(crop)])(noise(size))
    ours = prepare(noise(size), config(size=crop, resize=resize, interpolation=interpolation))
    assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize(("resize", "crop"), [(50, (64, 64)), (50, (65, 49)), (51, (64, 64))])
@pytest.mark.parametrize("size", SIZES)
def test_a_crop_larger_than_the_image_is_padded_as_torchvision_does(size, resize, crop):
    theirs = Compose([Resize(resize, MODES["bicubic"]), CenterCrop(crop)])(noise(size))
    assert np.array_equal(prepare(noise(size), config(size=crop, resize=resize)), np.asarray(theirs))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("side", "share", "resize"), [(224, 0.875, 256), (288, 0.95, 303), (224, 1.0, 224)])
def test_crop_equals_timm(size, side, share, resize):
    theirs = create_transform(
        (3, side, side), crop_pct=share, interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3, is_training=False
    )
    assert np.array_equal(
        prepare(noise(size), config(size=(side, side), resize=resize)), as_pixels(theirs(noise(size)))
    )


RESIZE_MODES = {"crop": "shortest", "stretch": "squash", "pad": "longest"}


@pytest.mark.parametrize("size", [size for size in SIZES if max(size) < 250 * min(size)])
@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
def test_every_resize_mode_equals_open_clip(size, resize_mode, interpolation):
    theirs = image_transform(
        224,
        is_train=False,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resize_mode=RESIZE_MODES[resize_mode],
        interpolation=interpolation,
        fill_color=127,
    )
    ours = prepare(noise(size), config(resize_mode, resize=224, interpolation=interpolation, background=(127,) * 3))
    assert np.array_equal(ours, as_pixels(theirs(noise(size))))


@pytest.mark.parametrize("resize_mode", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(320, 240), (240, 320), (31, 77)])
def test_pixels_need_not_be_square(size, resize_mode):
    mode = RESIZE_MODES[resize_mode]
    theirs = image_transform((96, 150), is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode=mode, fill_color=9)
    ours = prepare(noise(size), config(resize_mode, size=(96, 150), background=(9,) * 3))
    assert ours.shape == (96, 150, 3)
    assert np.array_equal(ours, as_pixels(theirs(noise(size))))


def test_the_background_has_three_channels():
    result = prepare(Image.new("RGB", (40, 20)), config("pad", size=(40, 40), background=(10, 20, 30)))
    assert result[[0, 9, 30, 39], 7].tolist() == [[10, 20, 30]] * 4
    assert not result[10:30].any()


def test_an_odd_row_of_padding_goes_below():
    ours = prepare(noise((40, 21)), config("pad", size=(40, 40)))
    assert np.array_equal(ours, np.asarray(CenterCropOrPad(40, fill=255)(noise((40, 21)))))
    assert [int((ours == 255).all(axis=(1, 2))[part].sum()) for part in (np.s_[:20], np.s_[20:])] == [9, 10]


@settings(max_examples=examples_of(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.integers(1, 120), st.integers(1, 120))
def test_crop_equals_torchvision_for_any_size(width, height, resize, crop_height, crop_width):
    image = noise((width, height))
    theirs = Compose([Resize(resize, MODES["bicubic"]), CenterCrop((crop_height, crop_width))])(image)
    assert np.array_equal(prepare(image, config(size=(crop_height, crop_width), resize=resize)), np.asarray(theirs))


@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
@pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 60_000), (60_000, 1)])
def test_a_thread_has_pixels_too(resize_mode, size):
    image = Image.new("RGB", size, (200, 100, 50))
    result = prepare(image, config(resize_mode, background=(200, 100, 50)))
    assert result.shape == (224, 224, 3)
    assert (result == (200, 100, 50)).all()


@pytest.mark.parametrize("size", [(7, 900), (900, 7), (40, 41)])
@pytest.mark.parametrize("crop", [(224, 224), (300, 224), (224, 300)])
def test_the_part_of_a_thread_that_is_scaled_alone_equals_the_whole(size, crop, monkeypatch):
    calm = noise(size).point(lambda level: 96 + level // 4)  # bicubic overshoots nowhere, so only rounding differs
    whole = prepare(calm, config(size=crop)).astype(int)
    monkeypatch.setattr(preprocess, "_LARGEST_SCALED", 0)
    part = prepare(calm, config(size=crop)).astype(int)
    assert np.abs(whole - part).max() <= 2  # one for each of the two passes


def test_the_image_is_not_changed_and_the_pixels_may_be():
    image = canary_image()
    before = image.tobytes()
    result = prepare(image, config("stretch", size=(240, 320)))
    assert np.array_equal(result, np.asarray(image))
    result[:] = 0
    assert image.tobytes() == before


def test_channels_stay_in_order():
    assert prepare(Image.new("RGB", (50, 30), (1, 2, 3)), config())[100, 100].tolist() == [1, 2, 3]


def test_an_image_in_another_mode_is_refused():
    with pytest.raises(ValueError, match="mode RGBA"):
        prepare(Image.new("RGBA", (4, 4)), config())

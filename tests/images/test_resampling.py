"""Both ways of scaling against a slow one, written out."""

import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image
from property_examples import examples_of

from vision_recs.images import preprocess


def catmull_rom(x):
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


KERNELS = {"bilinear": (lambda x: np.maximum(0, 1 - x), 1), "bicubic": (catmull_rom, 2)}


@pytest.fixture(params=[True, False], ids=["simd", "pillow"])
def resample(request, monkeypatch):
    if request.param:
        pytest.importorskip("cykooz_resizer")
    monkeypatch.setattr(preprocess, "_HAS_SIMD", request.param)
    return preprocess.resample


def weights(start, end, count, length, interpolation):
    """(count, length): how much each of *length* pixels counts for each of *count* between *start* and *end*."""
    kernel, reach = KERNELS[interpolation]
    step = (end - start) / count
    stretch = max(step, 1)
    centers = start + (np.arange(count) + 0.5) * step
    first = np.maximum(0, np.floor(centers - reach * stretch + 0.5))[:, None]
    last = np.minimum(length, np.floor(centers + reach * stretch + 0.5))[:, None]
    at = np.arange(length)
    shares = kernel(np.abs((at + 0.5 - centers[:, None]) / stretch)) * ((at >= first) & (at < last))
    return shares / shares.sum(axis=1, keepdims=True)


def by_hand(pixels, box, size, interpolation):
    left, top, right, bottom = box
    down = weights(top, bottom, size[1], pixels.shape[0], interpolation)
    across = weights(left, right, size[0], pixels.shape[1], interpolation)
    return np.einsum("yi,xj,ijc->yxc", down, across, pixels.astype(float), optimize=True)


def calm(width, height, seed=0):
    """Noise between 64 and 192: no kernel overshoots what a byte holds."""
    return np.random.default_rng(seed).integers(64, 192, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize(
    ("source", "box", "size"),
    [
        ((50, 40), (0, 0, 50, 40), (20, 30)),
        ((50, 40), (3.25, 4.5, 41.75, 33), (17, 19)),
        ((50, 40), (10, 10, 12.5, 11), (20, 20)),  # enlarged
        ((1, 1), (0, 0, 1, 1), (9, 7)),
        ((1, 90), (0, 20, 1, 70), (30, 5)),
        ((400, 3), (100.5, 0, 300.5, 3), (8, 8)),
        ((37, 31), (-1e-13, -1e-14, 37 + 1e-13, 31 + 1e-13), (5, 5)),  # as divisions round
    ],
)
def test_it_equals_the_kernel_written_out(resample, source, box, size, interpolation):
    pixels = calm(*source)
    ours = resample(pixels, box, size, interpolation)
    assert ours.shape == (size[1], size[0], 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours - by_hand(pixels, box, size, interpolation)).max() <= 1.6  # half a level a pass, and weights


boxes = st.tuples(*[st.floats(0, 1)] * 4).map(lambda ends: (*sorted(ends[:2]), *sorted(ends[2:])))
sides = st.integers(1, 60)


@settings(max_examples=examples_of(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(sides, sides), boxes, st.tuples(sides, sides), st.sampled_from(list(KERNELS)))
def test_any_part_of_any_image_equals_the_kernel_written_out(resample, source, shares, size, interpolation):
    (width, height), (left, right, top, bottom) = source, shares
    box = (left * width, top * height, max(right, left + 0.01) * width, max(bottom, top + 0.01) * height)
    box = (min(box[0], width - 0.01), min(box[1], height - 0.01), min(box[2], width), min(box[3], height))
    pixels = calm(width, height)
    difference = resample(pixels, box, size, interpolation) - by_hand(pixels, box, size, interpolation)
    assert np.abs(difference).max() <= 1.6


def test_what_overshoots_is_cut_off(resample):
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 6:] = 255
    scaled = resample(pixels, (0, 0, 12, 4), (36, 4), "bicubic")
    assert np.abs(scaled - by_hand(pixels, (0, 0, 12, 4), (36, 4), "bicubic").clip(0, 255)).max() <= 1.6
    assert (scaled[0, :15] == 0).all()
    assert (scaled[0, -15:] == 255).all()


def test_pixels_in_any_order_of_memory_will_do(resample):
    pixels = calm(64, 48)
    for view in (pixels[::-1], pixels[:, ::2], pixels.swapaxes(0, 1), pixels[..., ::-1]):
        box = (0, 0, view.shape[1], view.shape[0])
        expected = resample(view.copy(), box, (10, 10), "bicubic")
        assert np.array_equal(resample(view, box, (10, 10), "bicubic"), expected)


def test_the_pixels_are_left_as_they_were(resample):
    pixels = calm(64, 48)
    before = pixels.copy()
    resample(pixels, (0, 0, 64, 48), (64, 48), "bilinear")
    assert np.array_equal(pixels, before)


def test_where_there_is_no_wheel_pillow_does_it(monkeypatch):
    monkeypatch.setattr(preprocess, "_HAS_SIMD", False)
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    pixels = calm(50, 40)
    expected = Image.fromarray(pixels).resize((9, 9), Image.Resampling.BICUBIC, box=(1, 2, 30, 40))
    assert np.array_equal(preprocess.resample(pixels, (1, 2, 30, 40), (9, 9), "bicubic"), expected)

"""Colors by name: a patch on a background has its own color, whatever the background is."""

import numpy as np
import pytest

from vision_recs.images.named_colors import NAMES, colors_in, lab_of, name_of, named_in

PATCHES = {
    "black": "161616", "white": "f8f8f8", "grey": "808080", "navy": "1c2a4f", "blue": "2458b8", "sky": "8cbfe6",
    "teal": "12706e", "turquoise": "34b8b4", "green": "2e8a46", "olive": "6c6e34", "mint": "a6dcc0",
    "yellow": "f2cc2c", "mustard": "cc9a24", "orange": "ec7c1c", "terracotta": "bc5a3c", "red": "d01c24",
    "burgundy": "5e1224", "pink": "f4a6bf", "purple": "6e2a8e", "lavender": "b9a7dd", "brown": "6e4428",
    "tan": "b88e64", "beige": "dcc8a4", "cream": "f2e8cc", "coral": "f2705c",
}  # fmt: skip


def patch(color, background, *, size=(64, 48)):
    pixels = np.empty((*size, 3), np.uint8)
    pixels[:] = list(bytes.fromhex(background))
    height, width = size
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = list(bytes.fromhex(color))
    return pixels


def test_every_name_has_a_patch():
    assert set(PATCHES) == set(NAMES)


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_has_its_color_on_any_other_background(name):
    for background in ("e6e6e6", "202020", "2e8a46", "b05080"):
        if PATCHES[name] != background and abs(int(PATCHES[name][:2], 16) - int(background[:2], 16)) > 40:
            assert colors_in(patch(PATCHES[name], background)) == (name,), background


def test_an_object_like_its_background_has_its_color():
    assert colors_in(patch("f8f8f8", "f8f8f8")) == ("white",)


def test_a_shadow_on_the_background_is_no_color():
    pixels = patch("d01c24", "e0e0e0", size=(112, 112))
    pixels[90:104, 20:92] = 190
    assert colors_in(pixels) == ("red",)


def test_two_colors_are_named_by_their_shares_and_a_trace_is_not():
    pixels = patch("1c2a4f", "909090", size=(112, 112))
    pixels[28:52, 28:84] = list(bytes.fromhex("f2cc2c"))
    assert colors_in(pixels) == ("navy", "yellow")
    pixels[82:84, 28:84] = list(bytes.fromhex("d01c24"))
    assert colors_in(pixels) == ("navy", "yellow")


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (28, 28), (29, 3)])
def test_images_of_any_size_have_a_color(size):
    assert colors_in(np.full((*size, 3), 128, np.uint8)) == ("grey",)


def test_every_color_has_one_name():
    level = np.arange(0, 256, 15, np.uint8)
    cube = np.stack(np.meshgrid(level, level, level), axis=-1).reshape(-1, 1, 3)
    places = name_of(lab_of(cube).reshape(-1, 3))
    assert places.min() >= 0
    assert set(places.tolist()) == set(range(len(NAMES)))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("navy", {"navy"}),
        ("Navy blue", {"navy"}),
        ("blue", {"blue", "navy", "sky"}),
        ("crimson", {"red", "burgundy"}),
        ("black and white", {"black", "white", "cream"}),
        ("olive-green", {"olive"}),
        ("striped", set()),
    ],
)
def test_texts_mean_colors(text, meant):
    assert set(named_in(text)) == meant

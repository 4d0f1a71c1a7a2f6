"""The encoder `color`: a histogram of the object's colors, and texts that name colors."""

import colorsys

import numpy as np
import pytest

from vision_recs.encoders import load_encoder, load_text_encoder
from vision_recs.encoders.color import named_in, weights_of
from vision_recs.images.named_colors import lab_of

RED, NAVY, GREEN, YELLOW, BLACK = (206, 30, 38), (28, 42, 79), (46, 138, 70), (240, 204, 46), (24, 24, 24)


def square(color, background=(245, 245, 245), side=24):
    pixels = np.full((48, 48, 3), background, np.uint8)
    first = (48 - side) // 2
    pixels[first : first + side, first : first + side] = color
    return pixels


def encoded(*images):
    return load_encoder("color").encode(np.stack(images))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.2)),
        ((0, 0, 255), (32.3, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_cielab_is_that_of_the_standard(rgb, lab):
    assert lab_of(np.array([[rgb]], np.uint8))[0, 0] == pytest.approx(lab, abs=0.05)


def test_the_background_counts_little():
    red, elsewhere, navy = encoded(square(RED), square(RED, (200, 215, 200)), square(NAVY))
    assert red @ elsewhere > 0.85
    assert red @ navy < 0.3
    weights = weights_of(lab_of(square(RED)))
    assert weights[24, 24] > 10 * weights[4, 24]


def test_shades_are_nearer_than_other_colors():
    hue, _, _ = colorsys.rgb_to_hsv(*(level / 255 for level in RED))
    darker = tuple(round(255 * level) for level in colorsys.hsv_to_rgb(hue, 0.85, 0.7))
    red, shade, green = encoded(square(RED), square(darker), square(GREEN))
    assert red @ shade > red @ green + 0.3


def test_names_find_their_colors():
    images = encoded(*map(square, (RED, NAVY, GREEN, YELLOW, BLACK)))
    names = ["a red mug", "Navy", "green", "yellow, large", "black"]
    texts = load_text_encoder("color").encode_text(names)
    assert list(np.argmax(texts @ images.T, axis=1)) == [0, 1, 2, 3, 4]
    assert np.linalg.norm(texts, axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_two_names_are_both_meant():
    images = encoded(square(RED), square(NAVY), square(GREEN))
    both = load_text_encoder("color").encode_text(["red and navy"])[0] @ images.T
    assert both[:2].min() > 0.2
    assert both[2] < 0.5 * both[:2].min()


def test_a_text_without_a_color_says_nothing():
    assert named_in("a striped mug, blueish") == []
    assert not load_text_encoder("color").encode_text(["a striped mug"]).any()


def test_its_space_never_moves():
    assert load_encoder("color").spec.fingerprint == SPACE


SPACE = "edf84d9dc1657987"

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vision_recs.images import canary_image, thumbnail


def reopened(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((320, 240), 160, (160, 120)),
        ((240, 320), 160, (120, 160)),
        ((320, 240), 320, (320, 240)),
        ((320, 240), 4000, (320, 240)),
        ((3000, 1), 100, (100, 1)),
    ],
)
def test_the_longer_side_fits_and_nothing_is_enlarged(size, max_side, expected):
    image = reopened(thumbnail(Image.new("RGB", size, "red"), max_side=max_side))
    assert (image.format, image.size) == ("JPEG", expected)


def test_it_looks_like_the_image():
    small = np.asarray(reopened(thumbnail(canary_image(), max_side=160)), int)
    averaged = np.asarray(canary_image(), int).reshape(120, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - averaged).mean() < 5


def test_it_carries_no_metadata():
    image = Image.new("RGB", (64, 64), "red")
    image.info.update(comment=b"secret", icc_profile=b"profile", exif=b"Exif\0\0MM", dpi=(300, 300), xmp=b"xmp")
    data = thumbnail(image, max_side=64)
    assert set(reopened(data).info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"secret" not in data
    assert image.info["comment"] == b"secret"


def test_quality_is_size():
    assert len(thumbnail(canary_image(), max_side=200, quality=40)) < len(thumbnail(canary_image(), max_side=200)) / 1.5


def test_a_thumbnail_of_nothing_is_refused():
    with pytest.raises(ValueError, match="max_side is 0; it must be 1 or more"):
        thumbnail(canary_image(), max_side=0)

from __future__ import annotations

import numpy as np
import pytest

from vision_recs.encoders import load_encoder
from vision_recs.errors import DeviceUnavailable
from vision_recs.images import prepare


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_two_devices_give_the_vectors_of_one_in_order(images, count):
    one = load_encoder("efficientnet-lite0", device="cpu", runtime="torch")
    two = load_encoder("efficientnet-lite0", device="cpu,cpu", runtime="torch")
    assert two.spec == one.spec
    assert (two.device, two.runtime) == ("cpu,cpu", "torch f32")
    assert two.batch_size == 2 * one.batch_size
    pixels = np.stack([prepare(image, one.spec.preprocess) for image in images])[:count]
    np.testing.assert_allclose(two.encode(pixels), one.encode(pixels), atol=1e-6)


def test_a_device_that_is_not_there_is_named_before_anything_is_loaded():
    with pytest.raises(DeviceUnavailable, match="cuda:99"):
        load_encoder("efficientnet-lite0", device="cpu,cuda:99")


def test_half_precision_on_torch_stays_close(images):
    exact = load_encoder("efficientnet-lite0", device="cpu", runtime="torch")
    half = load_encoder("efficientnet-lite0", device="cpu", runtime="torch", precision="bf16")
    assert half.runtime == "torch bf16"
    pixels = np.stack([prepare(image, exact.spec.preprocess) for image in images])
    assert (half.encode(pixels) * exact.encode(pixels)).sum(axis=1).min() > 0.99

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from vision_recs.encoders import embed_canary, load_encoder
from vision_recs.encoders.backbone import ImageBackbone, spec_of
from vision_recs.encoders.torch_runtime import TorchEncoder, find_device
from vision_recs.errors import DeviceUnavailable
from vision_recs.images import canary_image, prepare
from vision_recs.types import PreprocessConfig

PREPROCESS = PreprocessConfig((2, 2), "stretch", 2, "bilinear", mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))


class ChannelMeans(nn.Module):
    """The mean of each normalized channel: a vector that can be worked out by hand."""

    def forward(self, batch):
        return batch.mean(dim=(2, 3))


class PixelsInARow(nn.Module):
    """Every number of an image; like some networks, it cannot take an empty batch."""

    def forward(self, batch):
        return batch.reshape(len(batch), -1)


class Odd(nn.Module):
    """No direction for black, infinity for white."""

    def forward(self, batch):
        means = batch.mean(dim=(2, 3))
        return torch.where(means > 0.9, torch.inf, means)


def encoder_of(module, config=PREPROCESS):
    backbone = ImageBackbone(module.eval(), config, pooling="average")
    return TorchEncoder(spec_of("by-hand", backbone), backbone, "cpu")


def test_pixels_are_normalized_by_channel_and_vectors_scaled():
    encoder = encoder_of(ChannelMeans())
    pixels = np.zeros((2, 2, 2, 3), np.uint8)
    pixels[0] = 255, 127.5, 102  # (1 - .5) / .5 = 1;  (127 / 255 - .25) / .25 = .99216;  .4
    pixels[1] = 0, 0, 255  # -1, -1, 1
    first = np.array([1.0, 0.9921569, 0.4])
    expected = [first / np.linalg.norm(first), np.array([-1, -1, 1]) / 3**0.5]
    np.testing.assert_allclose(encoder.encode(pixels), expected, atol=1e-6)
    assert encoder.spec.dim == 3


def test_an_image_without_a_direction_becomes_zeros_and_its_neighbors_do_not():
    encoder = encoder_of(Odd(), PreprocessConfig((2, 2), "stretch", 2, "bilinear", (0.0,) * 3, (1.0,) * 3))
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    pixels[1] = 51, 0, 0
    pixels[2] = 255
    assert encoder.encode(pixels).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_no_images_give_no_vectors():
    vectors = encoder_of(PixelsInARow()).encode(np.zeros((0, 2, 2, 3), np.uint8))
    assert (vectors.shape, vectors.dtype) == ((0, 12), np.float32)


@pytest.mark.parametrize(
    "pixels", [np.zeros((1, 3, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.float32)]
)
def test_other_pixels_are_refused_with_what_is_wanted(pixels):
    with pytest.raises(ValueError, match=r"pixels are uint8 \(n, 2, 2, 3\), not "):
        encoder_of(ChannelMeans()).encode(pixels)


def test_pixels_may_be_read_only_reversed_or_cut_out():
    encoder = encoder_of(ChannelMeans())
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3), dtype=np.uint8)
    expected = encoder.encode(pixels)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode(pixels), expected)
    np.testing.assert_array_equal(encoder.encode(pixels[::-1]), expected[::-1])
    np.testing.assert_array_equal(encoder.encode(pixels[1:2]), expected[1:2])


def test_the_probe_is_the_vector_of_the_built_in_image():
    encoder = encoder_of(PixelsInARow())
    expected = encoder.encode(prepare(canary_image(), PREPROCESS)[None])[0]
    np.testing.assert_array_equal(embed_canary(encoder), expected)
    assert embed_canary(encoder).shape == (12,)


@pytest.fixture
def devices(monkeypatch):
    """Pretend that the machine has so many CUDA devices, and MPS or not."""

    def devices(*, cuda=0, mps=False):
        monkeypatch.setattr("torch.cuda.is_available", lambda: cuda > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda: cuda)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)

    return devices


def test_auto_takes_the_fastest_device_there_is(devices):
    devices(cuda=2, mps=True)
    assert find_device("auto") == torch.device("cuda:0")
    devices(mps=True)
    assert find_device("auto") == torch.device("mps")
    devices()
    assert find_device("auto") == torch.device("cpu")


def test_a_device_is_taken_by_name(devices):
    devices(cuda=2, mps=True)
    names = {"cpu": "cpu", "cuda": "cuda:0", "cuda:1": "cuda:1", "mps": "mps"}
    assert {name: str(find_device(name)) for name in names} == names


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cuda", "the device cuda does not exist, PyTorch sees 0 CUDA devices; use auto or cpu"),
        ("cuda:1", "the device cuda:1 does not exist, PyTorch sees 0 CUDA devices; use auto or cpu"),
        ("mps", "MPS is not available on this machine or in this PyTorch; use auto or cpu"),
        ("tpu", "'tpu' is not a device; use auto, cpu, cuda, cuda:1 or mps"),
    ],
)
def test_a_device_that_is_not_there_is_said_before_anything_is_loaded(name, says, devices):
    devices()
    with pytest.raises(DeviceUnavailable) as caught:
        load_encoder("efficientnet-lite0", device=name)
    assert str(caught.value) == says


def test_networks_with_batch_normalization_run_with_channels_last():
    convolutions = encoder_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), ChannelMeans()))
    batch = torch.zeros(2, 2, 2, 3, dtype=torch.uint8)
    assert convolutions._normalized(batch).is_contiguous(memory_format=torch.channels_last)
    assert encoder_of(ChannelMeans())._normalized(batch).is_contiguous()


def test_loading_and_encoding_print_nothing_and_leave_logging_alone(tiny_clip, tmp_path):
    folder = tiny_clip(tmp_path / "tiny")
    code = f"""
import logging, numpy, torch, open_clip
from pathlib import Path
root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
root.addHandler(logging.NullHandler())
torch.save(open_clip.create_model("local-dir:{folder}").state_dict(), "{folder}/own.pt")
root.handlers[:] = handlers
from vision_recs.encoders import load_encoder
encoder = load_encoder("hf-hub:shop/tiny", weights=Path("{folder}/own.pt"), runtime="torch")
encoder.encode(numpy.zeros((1, 160, 160, 3), numpy.uint8))
assert root.handlers == handlers and not root.filters, (root.handlers, root.filters)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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

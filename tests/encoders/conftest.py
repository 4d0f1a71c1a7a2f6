import json
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from vision_recs.images import canary_image, prepare


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Every cache is empty and every server out of reach, whatever this machine has."""

    def unreachable(*_arguments, **_options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)


@pytest.fixture(scope="module", autouse=True)
def on_torch():
    """Where a test does not name a runtime, it is the reference; for the files of this folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.encoders.loading._is_for_openvino", lambda _device: False)
        yield


@pytest.fixture(scope="session")
def images(sample_images):
    """Five images of which none is square: wide, tall, smaller than any encoder's size, and one by hand."""
    mug, chair, ring = (Image.open(sample_images / f"{name}-1.jpg").convert("RGB") for name in _SAMPLES)
    halves = np.zeros((300, 500, 3), np.uint8)
    halves[:, :250, 0] = halves[:, 250:, 2] = 255
    return [
        mug.crop((0, 40, 384, 260)),
        chair.crop((90, 0, 300, 384)),
        ring.resize((140, 90)),
        Image.fromarray(halves),
        canary_image(),
    ]


_SAMPLES = ("mug-01", "chair-02", "ring-03")


@pytest.fixture(scope="session")
def pixels_of(images):
    def pixels_of(encoder):
        return np.stack([prepare(image, encoder.spec.preprocess) for image in images])

    return pixels_of


@pytest.fixture(scope="session")
def unit_features(images):
    """What a library itself gives: its own transform, its own forward, rows of length 1 in float64."""
    import torch

    def unit_features(transform, forward):
        with torch.inference_mode():
            features = forward(torch.stack([transform(image) for image in images])).double().numpy()
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    return unit_features


@pytest.fixture(scope="session")
def assert_agrees(pixels_of, unit_features):
    """Compare an encoder with its library: the library's own transform and forward, on images that differ."""

    def assert_agrees(encoder, transform, forward):
        expected = unit_features(transform, forward)
        np.testing.assert_allclose(encoder.encode(pixels_of(encoder)), expected, atol=1e-5)
        assert np.abs(expected[0] - expected[1]).max() > 1e-3

    return assert_agrees


@pytest.fixture
def in_hub_cache(tmp_path):
    """Put files where huggingface_hub keeps those of a repository, and return their folder."""

    def in_hub_cache(repository, **files):
        root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        folder = root / "snapshots" / ("c0ffee" * 7)[:40]
        folder.mkdir(parents=True)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(folder.name)
        for name, write in files.items():
            write(folder / name.replace("__", "."))
        return folder

    return in_hub_cache


@pytest.fixture(scope="session")
def tiny_clip():
    """The open_clip_config.json of a model with a tower of timm that is built in a tenth of a second."""

    def tiny_clip(folder: Path, **preprocess):
        text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
        vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
        config = {
            "model_cfg": {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text, "custom_text": True},
            "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], **preprocess},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        return folder

    return tiny_clip


@pytest.fixture(scope="session")
def seeded():
    """Build a network whose random weights depend on the seed alone, normalization included."""
    import torch

    from vision_recs.encoders.weights import quiet

    def seeded(build, seed=0):
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            network = build().eval()
            for name, buffer in network.named_buffers():
                if name.endswith("running_mean"):
                    buffer.uniform_(-0.1, 0.1)
                elif name.endswith("running_var"):
                    buffer.uniform_(0.5, 1.5)
        return network

    return seeded

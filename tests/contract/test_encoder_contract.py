"""What `Encoder` promises, tested on every kind of adapter, and on broken encoders that must be caught.

A promise is a function of an encoder, so that anything can be tested.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import toy_encoder

from vision_recs.encoders import canonical_name, embed_canary, load_encoder
from vision_recs.images import canary_image, prepare
from vision_recs.types import EncoderSpec, PreprocessConfig
from vision_recs.vectors import normalize_rows


def pixels_for(encoder):
    """Four images: the built-in one, it upside down, it in blue and red exchanged, and noise."""
    first = prepare(canary_image(), encoder.spec.preprocess)
    noise = np.random.default_rng(0).integers(0, 256, first.shape, dtype=np.uint8)
    return np.stack([first, first[::-1], first[..., ::-1], noise])


def every_vector_is_float32_of_length_1(encoder):
    vectors = encoder.encode(pixels_for(encoder))
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert vectors.shape == (4, encoder.spec.dim)
    assert np.linalg.norm(vectors.astype(np.float64), axis=1) == pytest.approx(np.ones(4), abs=1e-5)


def vector_i_belongs_to_image_i_whatever_stands_beside_it(encoder):
    pixels = pixels_for(encoder)
    together = encoder.encode(pixels)
    for i, each in enumerate(pixels):
        assert encoder.encode(each[None])[0] == pytest.approx(together[i], abs=1e-4)


def other_images_have_other_vectors(encoder):
    vectors = encoder.encode(pixels_for(encoder))
    distances = np.abs(vectors[:, None] - vectors[None]).max(axis=2)
    assert distances[~np.eye(4, dtype=bool)].min() > 1e-3


def no_images_give_no_vectors(encoder):
    pixels = np.zeros((0, *encoder.spec.preprocess.size, 3), np.uint8)
    vectors = encoder.encode(pixels)
    assert (vectors.shape, vectors.dtype) == ((0, encoder.spec.dim), np.float32)


def the_pixels_are_read_and_left_as_they_were(encoder):
    pixels = pixels_for(encoder)
    before = pixels.copy()
    encoder.encode(pixels)
    assert np.array_equal(pixels, before)
    pixels.flags.writeable = False
    encoder.encode(pixels)


def vectors_are_the_callers_own(encoder):
    first = encoder.encode(pixels_for(encoder))
    kept = first.copy()
    encoder.encode(255 - pixels_for(encoder))
    assert np.array_equal(first, kept)
    first[:] = 0
    assert encoder.encode(pixels_for(encoder)) == pytest.approx(kept, abs=1e-4)


def pixels_of_another_size_are_refused(encoder):
    height, width = encoder.spec.preprocess.size
    with pytest.raises(ValueError, match="pixels"):
        encoder.encode(np.zeros((1, height + 1, width, 3), np.uint8))


def threads_get_what_one_thread_gets(encoder):
    pixels = pixels_for(encoder)
    expected = encoder.encode(pixels).copy()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(encoder.encode, [pixels[i % 4 :] for i in range(8)]))
    for i, vectors in enumerate(found):  # after all have ended: a buffer that they share holds the last ones
        assert vectors == pytest.approx(expected[i % 4 :], abs=1e-4)


def the_spec_survives_the_store(encoder):
    from dataclasses import asdict

    from vision_recs.store import encoder_spec

    spec = encoder.spec
    assert encoder_spec(asdict(spec)) == spec
    assert canonical_name(spec.name) == spec.name
    assert int(spec.weights, 16) < 2**256
    assert len(spec.weights) == 64
    assert embed_canary(encoder) == pytest.approx(encoder.encode(pixels_for(encoder))[0], abs=1e-4)


PROMISES = [
    every_vector_is_float32_of_length_1,
    vector_i_belongs_to_image_i_whatever_stands_beside_it,
    other_images_have_other_vectors,
    no_images_give_no_vectors,
    the_pixels_are_read_and_left_as_they_were,
    vectors_are_the_callers_own,
    pixels_of_another_size_are_refused,
    threads_get_what_one_thread_gets,
    the_spec_survives_the_store,
]

# Every adapter, with random weights where its own are not installed


def save_timm(name, file):
    import timm

    torch.save(timm.create_model(name).state_dict(), file)


def save_torchvision(name, file):
    from torchvision.models import get_model

    torch.save(get_model(name, weights=None).state_dict(), file)


def save_open_clip(name, file):
    import open_clip

    from vision_recs.encoders.weights import quiet

    with quiet():
        torch.save(open_clip.create_model(name).state_dict(), file)


def save_small_clip(_name, file):
    """Save weights of a CLIP of two layers and, beside them, what it is made of."""
    layers = {"layers": 2, "width": 64}
    parts = {
        "vision_cfg": {**layers, "head_width": 32, "patch_size": 32, "image_size": 96},
        "text_cfg": {**layers, "heads": 2, "context_length": 8, "vocab_size": 64},
    }
    config = {"model_cfg": {"embed_dim": 48, **parts}, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    file.with_name("open_clip_config.json").write_text(json.dumps(config))
    save_open_clip(f"local-dir:{file.parent}", file)


ADAPTERS = {
    "efficientnet-lite0": None,
    "timm:test_vit": (save_timm, "test_vit"),
    "timm:test_resnet": (save_timm, "test_resnet"),
    "resnet18": (save_torchvision, "resnet18"),
    "clip:ViT-S-32-alt": (save_open_clip, "ViT-S-32-alt"),
    "hf-hub:shop/small": (save_small_clip, "small"),
    "toy:4": None,
    "toy:4+color@0.3": None,
}
AT_NIGHT = ["clip:ViT-S-32-alt"]  # its twelve layers take long to convert; the one of two layers has the same adapter


@pytest.fixture(scope="module", autouse=True)
def toy_family():
    """A family from outside the package: it has to be in the table, and that is all."""
    with toy_encoder.registered():
        yield


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.nightly] if name in AT_NIGHT else []) for name in ADAPTERS],
)
def encoder(request, tmp_path_factory):
    if ADAPTERS[request.param] is None:
        return load_encoder(request.param, device="cpu")
    save, name = ADAPTERS[request.param]
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save(name, file)
    return load_encoder(request.param, weights=file, device="cpu")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_every_adapter_keeps(promise, encoder):
    promise(encoder)


# Broken encoders: the suite itself is tested


class Sound:
    """A correct encoder in a few lines: a fixed random projection of the pixels."""

    def __init__(self):
        config = PreprocessConfig((8, 8), "stretch", 8, "bilinear", (0.5,) * 3, (0.5,) * 3)
        self.spec = EncoderSpec("efficientnet-lite0", "0" * 64, 16, config, "average")
        self.matrix = np.random.default_rng(1).normal(size=(192, 16))

    def features(self, pixels):
        return (pixels.reshape(len(pixels), 192) / 127.5 - 1) @ self.matrix

    def encode(self, pixels):
        if pixels.shape[1:] != (8, 8, 3):
            raise ValueError("pixels are (n, 8, 8, 3)")
        return normalize_rows(self.features(pixels))[0]


class NotUnit(Sound):
    def encode(self, pixels):
        return super().encode(pixels) * np.float32(1.01)


class Double(Sound):
    def encode(self, pixels):
        return super().encode(pixels).astype(np.float64)


class Swapped(Sound):
    def encode(self, pixels):
        return np.ascontiguousarray(super().encode(pixels)[::-1])


class NormalizedByBatch(Sound):
    def features(self, pixels):
        features = super().features(pixels)
        return features - 0.5 * features.mean(axis=0) if len(features) else features


class Blind(Sound):
    def features(self, pixels):
        return np.ones((len(pixels), 16))


class NeedsAnImage(Sound):
    def encode(self, pixels):
        return np.stack([super(NeedsAnImage, self).encode(each[None])[0] for each in pixels])


class WritesOnPixels(Sound):
    def encode(self, pixels):
        vectors = super().encode(pixels)
        pixels[:] = 0
        return vectors


class KeepsItsBuffer(Sound):
    def __init__(self):
        super().__init__()
        self.buffer = np.zeros((99, 16), np.float32)

    def encode(self, pixels):
        self.buffer[: len(pixels)] = super().encode(pixels)
        return self.buffer[: len(pixels)]


class TakesAnything(Sound):
    def encode(self, pixels):
        return super().encode(pixels[:, :8, :8])


class ShortName(Sound):
    def __init__(self):
        super().__init__()
        self.spec = EncoderSpec("clip", "0" * 64, 16, self.spec.preprocess, "average")


BROKEN = [
    (NotUnit, every_vector_is_float32_of_length_1),
    (Double, every_vector_is_float32_of_length_1),
    (Swapped, vector_i_belongs_to_image_i_whatever_stands_beside_it),
    (NormalizedByBatch, vector_i_belongs_to_image_i_whatever_stands_beside_it),
    (Blind, other_images_have_other_vectors),
    (NeedsAnImage, no_images_give_no_vectors),
    (WritesOnPixels, the_pixels_are_read_and_left_as_they_were),
    (KeepsItsBuffer, vectors_are_the_callers_own),
    (TakesAnything, pixels_of_another_size_are_refused),
    (KeepsItsBuffer, threads_get_what_one_thread_gets),
    (ShortName, the_spec_survives_the_store),
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_sound_encoder_passes(promise):
    promise(Sound())


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=lambda each: each.__name__)
def test_a_broken_encoder_is_caught(broken, promise):
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        promise(broken())

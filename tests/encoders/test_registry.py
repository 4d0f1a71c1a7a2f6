import subprocess
import sys

import numpy as np
import open_clip
import pytest
import toy_encoder
from torchvision.models import get_model_weights

from vision_recs.encoders import (
    DEFAULT_ENCODER,
    EncoderFamily,
    canonical_name,
    list_encoders,
    load_encoder,
    load_text_encoder,
    register_family,
    registry,
    supports_text,
)
from vision_recs.encoders.registry import family_of
from vision_recs.errors import UnknownEncoder

PACKAGED = {"efficientnet-lite1", "efficientnet-lite2", "best-offline", "color"}
"""Encoders whose weights come with an extra of visrec, or that have none."""


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("efficientnet-lite0", "efficientnet-lite0"),
        ("clip", "clip:ViT-B-32/laion2b_s34b_b79k"),
        ("clip:ViT-L-14/openai", "clip:ViT-L-14/openai"),
        ("clip:ViT-L/14/openai", "clip:ViT-L-14/openai"),
        ("clip:ViT-B-32/laion2B-s34B-b79K", "clip:ViT-B-32/laion2b_s34b_b79k"),
        ("clip:ViT-B-32", "clip:ViT-B-32"),
        ("clip:ViT-B/32", "clip:ViT-B-32"),
        ("siglip2", "clip:ViT-B-16-SigLIP2/webli"),
        ("marqo-ecommerce-b", "hf-hub:Marqo/marqo-ecommerce-embeddings-B"),
        ("marqo-ecommerce-l", "hf-hub:Marqo/marqo-ecommerce-embeddings-L"),
        ("marqo-fashion", "hf-hub:Marqo/marqo-fashionSigLIP"),
        ("hf-hub:laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",) * 2,
        ("resnet101", "resnet101"),
        ("timm:vit_small_patch14_dinov2.lvd142m",) * 2,
    ],
)
def test_a_name_stands_for_one_encoder(name, canonical):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("resnet5", "did you mean resnet50 or "),
        ("Clip", "did you mean clip or siglip2?"),
        ("efficientnet", "did you mean efficientnet-lite2 or efficientnet-lite1 or efficientnet-lite0?"),
        ("clip:ViT-B-31/openai", "did you mean clip:ViT-B-"),
        ("clip:RN5", "did you mean clip:RN5"),
        ("hf-hub:marqo", "no encoder is named 'hf-hub:marqo'; "),
        ("timm:", "no encoder is named 'timm:'; "),
        ("xyzzy", "no encoder is named 'xyzzy'; `visrec encoders` lists"),
    ],
)
def test_an_unknown_name_suggests_those_most_like_it(wrong, near):
    with pytest.raises(UnknownEncoder) as caught:
        canonical_name(wrong)
    assert near in str(caught.value)


def test_names_and_the_list_need_neither_torch_nor_pillow():
    code = (
        "import sys; from vision_recs.encoders import *; canonical_name('clip'); canonical_name('clip:RN50/openai'); "
        "list_encoders(); print(sorted({'torch', 'PIL', 'open_clip', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_default_comes_first_and_its_weights_are_here():
    first, *others = list_encoders()
    assert (first.name, first.dim, first.license, first.weights_here) == (DEFAULT_ENCODER, 1280, "Apache-2.0", True)
    assert {encoder.name for encoder in others if encoder.weights_here} <= PACKAGED
    assert [encoder.canonical for encoder in [first, *others]] == [canonical_name(e.name) for e in [first, *others]]


def test_weights_are_seen_where_the_libraries_keep_them(tmp_path, in_hub_cache):
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet50-11ad3fa6.pth").touch()
    in_hub_cache("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", open_clip_model__safetensors=lambda file: file.touch())
    in_hub_cache("Marqo/marqo-fashionSigLIP", README__md=lambda file: file.touch())
    here = {encoder.name for encoder in list_encoders() if encoder.weights_here}
    assert here - PACKAGED == {"efficientnet-lite0", "clip", "resnet50"}


def test_the_folder_of_torch_is_found_as_torch_finds_it(monkeypatch, tmp_path):
    import torch

    from vision_recs.encoders.registry import _torch_home

    for variables in (
        {"TORCH_HOME": str(tmp_path)},
        {"XDG_CACHE_HOME": str(tmp_path / "xdg")},
        {"HOME": str(tmp_path)},
    ):
        with monkeypatch.context() as patch:
            for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            assert str(_torch_home() / "hub") == torch.hub.get_dir()


def test_the_table_says_what_the_libraries_say():
    for encoder in list_encoders():
        if encoder.name.startswith("resnet"):
            published = get_model_weights(encoder.name).DEFAULT
            assert published.url == f"https://{encoder.source}"
            head = encoder.dim * 1000 + 1000
            assert encoder.parameters == pytest.approx((published.meta["num_params"] - head) / 1e6, abs=0.05)
        elif encoder.canonical.startswith("clip:"):
            arch, tag = encoder.canonical.removeprefix("clip:").split("/")
            config = open_clip.get_model_config(arch)
            assert (encoder.dim, encoder.image_size) == (config["embed_dim"], config["vision_cfg"]["image_size"])
            assert encoder.source == f"huggingface.co/{open_clip.get_pretrained_cfg(arch, tag)['hf_hub'].rstrip('/')}"


# A family from outside the package


@pytest.fixture
def toy_family(monkeypatch):
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    register_family(toy_encoder.FAMILY)


def test_a_family_is_not_known_before_it_is_registered():
    with pytest.raises(UnknownEncoder, match="no encoder is named 'toy:4'"):
        canonical_name("toy:4")
    assert not supports_text("toy:4")


@pytest.mark.usefixtures("toy_family")
def test_a_registered_family_has_names_and_a_line_like_any_other():
    assert (canonical_name("toy"), canonical_name("toy:04"), canonical_name("clip")[:5]) == ("toy:4", "toy:4", "clip:")
    (line,) = (encoder for encoder in list_encoders() if encoder.name == "toy")
    assert (line.family, line.canonical, line.dim, line.weights_here) == ("toy", "toy:4", 64, True)
    assert (line.supports_text, supports_text("toy:8")) == (True, True)
    assert line.source == "Python package toy-encoder"


@pytest.mark.usefixtures("toy_family")
def test_the_text_tower_of_a_registered_family_is_found():
    encoder = load_encoder("toy", device="cpu")
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    pixels[0, ..., 0] = pixels[1, ..., 2] = 255
    scores = load_text_encoder("toy").encode_text(["a red mug", "a blue mug"]) @ encoder.encode(pixels).T
    np.testing.assert_allclose(scores, [[1, -0.99 / 3.01], [-0.99 / 3.01, 1]], atol=1e-5)


@pytest.mark.usefixtures("toy_family")
@pytest.mark.parametrize("name", ["toy", "clip", "resnet50", "torchvision"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ValueError, match=f"there is an encoder or a family named '{name}' already"):
        register_family(EncoderFamily(name=name, adapter="elsewhere:load", library="numpy"))


def test_a_family_without_open_names_has_those_of_its_table_only():
    with pytest.raises(UnknownEncoder, match="no encoder is named 'torchvision:resnet50'"):
        canonical_name("torchvision:resnet50")


def test_every_family_says_which_library_its_converted_models_depend_on():
    from importlib.metadata import version

    libraries = {encoder.name: family_of(encoder.canonical).library for encoder in list_encoders()}
    assert {name: libraries[name] for name in ("efficientnet-lite0", "siglip2", "marqo-fashion", "resnet18")} == {
        "efficientnet-lite0": "timm",
        "siglip2": "open_clip_torch",
        "marqo-fashion": "open_clip_torch",
        "resnet18": "torchvision",
    }
    assert all(map(version, libraries.values()))


def test_what_is_downloaded_is_as_large_as_the_libraries_say():
    for encoder in list_encoders():
        if encoder.family == "torchvision":
            size = get_model_weights(encoder.name).DEFAULT.meta["_file_size"]
            assert encoder.download_mb == pytest.approx(size, abs=0.6)
        elif encoder.family == "timm":
            assert encoder.download_mb == pytest.approx(4 * encoder.parameters, rel=0.01)
        else:  # an image backbone at least, in float32
            assert encoder.download_mb > 4 * encoder.parameters or encoder.weights_here

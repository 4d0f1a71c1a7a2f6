import json
import sys

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from vision_recs.encoders import load_encoder
from vision_recs.encoders.open_clip import _preprocess_config
from vision_recs.errors import EncoderError, MissingExtra, UnknownEncoder, WeightsNotFound


@pytest.fixture(scope="session")
def random_model(seeded):
    """A model and its transform as open_clip itself makes them, with random weights."""

    def random_model(name):
        transforms = []

        def build():
            network, _, transform = open_clip.create_model_and_transforms(name)
            transforms.append(transform)
            return network

        return seeded(build), transforms[0]

    return random_model


@pytest.fixture(scope="module")
def clip(random_model):
    return random_model("ViT-B-32")


@pytest.fixture(scope="module")
def clip_file(clip, tmp_path_factory):
    file = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file(clip[0].state_dict(), file)
    return file


@pytest.fixture(scope="module")
def clip_encoder(clip_file):
    return load_encoder("clip", weights=clip_file, device="cpu")


def test_the_vectors_of_clip_are_those_of_open_clip(clip, clip_encoder, assert_agrees):
    network, transform = clip
    assert_agrees(clip_encoder, transform, network.encode_image)
    spec = clip_encoder.spec
    assert (spec.name, spec.dim, spec.pooling) == ("clip:ViT-B-32/laion2b_s34b_b79k", 512, "projection")
    assert (spec.preprocess.resize_mode, spec.preprocess.size, spec.preprocess.interpolation) == (
        "crop",
        (224, 224),
        "bicubic",
    )


def test_weights_that_the_hub_cache_has_are_those_of_the_tag(clip_encoder, clip_file, in_hub_cache):
    repository = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    in_hub_cache(repository, open_clip_model__safetensors=lambda to: to.symlink_to(clip_file))
    assert load_encoder("clip", device="cpu").spec == clip_encoder.spec


def test_a_tag_of_openai_has_the_activation_it_was_trained_with(clip_file):
    """open_clip itself builds this name with another activation, and only warns."""
    encoder = load_encoder("clip:ViT-B-32/openai", weights=clip_file, device="cpu")
    assert sum(isinstance(each, QuickGELU) for each in encoder._module.modules()) == 12  # one a layer


@pytest.mark.parametrize(
    ("resize_mode", "preprocess"),
    [
        ("stretch", {"resize_mode": "squash", "interpolation": "bicubic"}),  # SigLIP
        ("crop", {"resize_mode": "shortest", "interpolation": "bilinear"}),  # MobileCLIP
        ("pad", {"resize_mode": "longest", "interpolation": "bicubic", "fill_color": 90}),
    ],
)
def test_a_repository_is_run_as_its_config_says(resize_mode, preprocess, repository, assert_agrees):
    network, transform = repository("shop/tiny", **preprocess)
    encoder = load_encoder("hf-hub:shop/tiny", device="cpu")
    assert_agrees(encoder, transform, network.encode_image)
    assert (encoder.spec.name, encoder.spec.dim, encoder.spec.preprocess.resize_mode) == (
        "hf-hub:shop/tiny",
        48,
        resize_mode,
    )


@pytest.fixture
def repository(tiny_clip, random_model, in_hub_cache):
    """Put a tiny model into the cache of the hub, and return it as open_clip itself loads it."""

    def repository(name, **preprocess):
        folder = tiny_clip(in_hub_cache(name), **preprocess)
        network, transform = random_model(f"local-dir:{folder}")
        save_file(network.state_dict(), folder / "open_clip_model.safetensors")
        return network, transform

    return repository


def test_the_tower_of_a_captioner_gives_its_features_alone(tiny_clip, random_model, tmp_path, assert_agrees):
    config_file = tiny_clip(tmp_path / "coca") / "open_clip_config.json"
    config = json.loads(config_file.read_text())
    vision = {"width": 64, "layers": 1, "head_width": 32, "patch_size": 32, "image_size": 64}
    pooler = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    config["model_cfg"] |= {"vision_cfg": vision | pooler, "multimodal_cfg": config["model_cfg"]["text_cfg"].copy()}
    config["model_cfg"]["text_cfg"] |= {"embed_cls": True, "output_tokens": True}
    config_file.write_text(json.dumps(config))
    network, transform = random_model(f"local-dir:{tmp_path / 'coca'}")
    assert type(network).__name__ == "CoCa"
    torch.save({"state_dict": network.state_dict()}, tmp_path / "coca" / "epoch_1.pt")
    encoder = load_encoder("hf-hub:shop/coca", weights=tmp_path / "coca" / "epoch_1.pt", device="cpu")
    network.visual.output_tokens = True
    assert_agrees(encoder, transform, network.encode_image)


def test_the_image_tower_alone_is_the_same_space_as_the_whole_model(tiny_clip, random_model, tmp_path):
    network, _ = random_model(f"local-dir:{tiny_clip(tmp_path)}")
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "whole.pt")
    save_file(network.visual.state_dict(), tmp_path / "image.safetensors")
    whole, image = (
        load_encoder("hf-hub:shop/tiny", weights=tmp_path / name, device="cpu").spec
        for name in ("whole.pt", "image.safetensors")
    )
    assert whole == image


def test_a_name_without_a_tag_takes_weights_from_a_file(random_model, tmp_path, assert_agrees):
    network, transform = random_model("ViT-S-32-alt")
    torch.save(network.state_dict(), tmp_path / "own.pt")
    encoder = load_encoder("clip:ViT-S-32-alt", weights=tmp_path / "own.pt", device="cpu")
    assert_agrees(encoder, transform, network.encode_image)
    with pytest.raises(WeightsNotFound, match="clip:ViT-S-32-alt names no weights; add a tag"):
        load_encoder("clip:ViT-S-32-alt", device="cpu")


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("clip", "open_clip_model.safetensors of huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("siglip2", "open_clip_model.safetensors of huggingface.co/timm/ViT-B-16-SigLIP2"),
        ("marqo-fashion", "open_clip_model.safetensors of huggingface.co/Marqo/marqo-fashionSigLIP"),
    ],
)
def test_weights_that_cannot_be_had_are_named_with_both_ways_out(name, looked_for, tmp_path):
    with pytest.raises(WeightsNotFound) as caught:
        load_encoder(name, device="cpu")
    message = str(caught.value)
    assert message.endswith(f"looked for {looked_for} in {tmp_path}/hub; go online once, or pass --weights FILE")
    assert "could not be fetched (OfflineModeIsEnabled: " in message
    assert ". " not in message
    assert "\n" not in message


def test_a_file_for_a_repository_needs_its_config_beside_it(tmp_path):
    torch.save({"visual.x": torch.zeros(1)}, tmp_path / "own.pt")
    with pytest.raises(WeightsNotFound, match=r"looked for open_clip_config\.json of huggingface\.co/shop/tiny"):
        load_encoder("hf-hub:shop/tiny", weights=tmp_path / "own.pt", device="cpu")


def test_an_unknown_tag_suggests_those_of_the_architecture():
    with pytest.raises(UnknownEncoder, match="did you mean clip:ViT-B-32/laion2b_s34b_b79k or "):
        load_encoder("clip:ViT-B-32/laion2b_s34b_b79", device="cpu")


def test_a_text_tower_of_transformers_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    torch.save({"visual.x": torch.zeros(1)}, tmp_path / "own.pt")
    with pytest.raises(MissingExtra, match=r"pip install 'visrec\[transformers\]'"):
        load_encoder("clip:roberta-ViT-B-32/laion2b_s12b_b32k", weights=tmp_path / "own.pt", device="cpu")


def test_a_recipe_that_crops_to_an_oblong_is_refused():
    config = {"size": (224, 160), "resize_mode": "shortest", "interpolation": "bicubic", "fill_color": 0}
    with pytest.raises(EncoderError, match="prepares images of 160 x 224 pixels, not square"):
        _preprocess_config("clip:odd", {**config, "mean": 0.5, "std": 0.5})
    squashed = _preprocess_config("clip:odd", {**config, "resize_mode": "squash", "mean": 0.5, "std": 0.5})
    assert (squashed.size, squashed.mean) == ((224, 160), (0.5, 0.5, 0.5))

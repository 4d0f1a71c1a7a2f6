import pytest
import timm
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from vision_recs.encoders import load_encoder
from vision_recs.encoders.timm import _preprocess_config
from vision_recs.errors import EncoderError, UnknownEncoder, WeightsNotFound


@pytest.fixture
def checkpoint(seeded, tmp_path):
    """Save a small model with its classifier, and return it without and where it lies."""

    def checkpoint(name, seed=0):
        network = seeded(lambda: timm.create_model(name), seed)
        save_file(network.state_dict(), tmp_path / f"{name}-{seed}.safetensors")
        network.reset_classifier(0)
        return network, tmp_path / f"{name}-{seed}.safetensors"

    return checkpoint


@pytest.mark.parametrize(
    ("name", "dim"), [("test_vit", 64), ("test_resnet", 96), ("test_convnext", 64), ("resnet10t", 512)]
)
def test_vectors_are_those_of_timm(name, dim, checkpoint, assert_agrees):
    network, file = checkpoint(name)
    encoder = load_encoder(f"timm:{name}", weights=file, device="cpu")
    assert_agrees(encoder, create_transform(**resolve_model_data_config(network)), network)
    assert (encoder.spec.name, encoder.spec.dim) == (f"timm:{name}", dim)


def test_another_seed_is_another_space(checkpoint):
    first, second = (
        load_encoder("timm:test_vit", weights=checkpoint("test_vit", seed)[1], device="cpu") for seed in (0, 1)
    )
    assert first.spec.fingerprint != second.spec.fingerprint


def test_weights_that_cannot_be_had_are_named_with_both_ways_out(tmp_path):
    with pytest.raises(WeightsNotFound) as caught:
        load_encoder("timm:vit_tiny_patch16_224", device="cpu")
    message = str(caught.value)
    assert message.startswith("the weights of timm:vit_tiny_patch16_224 are not on this machine and could not be ")
    assert message.endswith(
        "looked for model.safetensors of huggingface.co/timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k in "
        f"{tmp_path}/hub; go online once, or pass --weights FILE"
    )
    assert ". " not in message


def test_a_model_that_timm_publishes_no_weights_for_needs_a_file():
    with pytest.raises(WeightsNotFound, match="timm publishes no weights for timm:vit_base_patch16_18x2_224; pass"):
        load_encoder("timm:vit_base_patch16_18x2_224", device="cpu")


@pytest.mark.parametrize(("wrong", "near"), [("test_vitt", "timm:test_vit"), ("resnet50.nope_in1k", "timm:resnet50.")])
def test_an_unknown_model_or_tag_suggests_known_ones(wrong, near):
    with pytest.raises(UnknownEncoder, match=f"'timm:{wrong}'; did you mean .*{near}"):
        load_encoder(f"timm:{wrong}", device="cpu")


def test_a_model_with_a_recipe_that_visrec_lacks_is_refused():
    config = {"input_size": (3, 224, 224), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic"}
    with pytest.raises(EncoderError, match="timm:odd prepares images in a way that visrec does not"):
        _preprocess_config("timm:odd", {**config, "mean": (0.5,) * 3, "std": (0.5,) * 3})


def test_a_model_that_does_not_pool_is_refused(seeded):
    from vision_recs.encoders.backbone import ImageBackbone, spec_of
    from vision_recs.types import PreprocessConfig

    network = seeded(lambda: timm.create_model("test_resnet", num_classes=0, global_pool=""))
    config = PreprocessConfig((64, 64), "stretch", 64, "bicubic", (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(EncoderError, match="timm:odd does not give one vector an image"):
        spec_of("timm:odd", ImageBackbone(network, config, "none"))

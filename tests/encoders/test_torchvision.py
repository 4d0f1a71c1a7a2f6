import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from vision_recs.encoders import load_encoder
from vision_recs.errors import WeightsNotFound


def features(network):
    """Everything but the last layer, as torchvision itself would run it."""
    return torch.nn.Sequential(*list(network.children())[:-1], torch.nn.Flatten())


@pytest.mark.parametrize(("name", "dim_and_resize"), [("resnet18", (512, 256)), ("resnet50", (2048, 232))])
def test_vectors_are_those_of_torchvision(name, dim_and_resize, seeded, assert_agrees, tmp_path):
    network = seeded(lambda: get_model(name, weights=None))
    torch.save(network.state_dict(), tmp_path / "model.pth")
    encoder = load_encoder(name, weights=tmp_path / "model.pth", device="cpu")
    assert_agrees(encoder, get_model_weights(name).DEFAULT.transforms(), features(network))
    assert encoder.spec.name == name
    assert (encoder.spec.dim, encoder.spec.preprocess.resize) == dim_and_resize


def test_weights_that_torch_hub_has_are_used(seeded, tmp_path):
    network = seeded(lambda: get_model("resnet18", weights=None))
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(network.state_dict(), cache / "resnet18-f37072fd.pth")
    torch.save(network.state_dict(), tmp_path / "same.pth")
    given = load_encoder("resnet18", weights=tmp_path / "same.pth", device="cpu")
    assert load_encoder("resnet18", device="cpu").spec == given.spec


def test_a_head_for_other_classes_is_left_out(seeded, tmp_path):
    tuned = seeded(lambda: get_model("resnet18", weights=None, num_classes=12)).state_dict()
    save_file(tuned, tmp_path / "tuned.safetensors")
    save_file({k: v for k, v in tuned.items() if not k.startswith("fc.")}, tmp_path / "headless.safetensors")
    with_head, without_head = (
        load_encoder("resnet18", weights=tmp_path / f"{name}.safetensors", device="cpu").spec
        for name in ("tuned", "headless")
    )
    assert with_head == without_head


def test_weights_that_cannot_be_had_are_named_with_both_ways_out(tmp_path):
    with pytest.raises(WeightsNotFound) as caught:
        load_encoder("resnet50", device="cpu")
    assert str(caught.value) == (
        "the weights of resnet50 are not on this machine and could not be fetched (URLError: <urlopen error no route "
        f"to host>): looked for {tmp_path}/torch/hub/checkpoints/resnet50-11ad3fa6.pth; "
        "go online once, or pass --weights FILE"
    )


def test_weights_of_another_encoder_are_refused(seeded, tmp_path):
    torch.save(seeded(lambda: get_model("resnet18", weights=None)).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(WeightsNotFound, match=r"resnet18\.pth holds other weights than those of resnet50: 165 missing"):
        load_encoder("resnet50", weights=tmp_path / "resnet18.pth", device="cpu")

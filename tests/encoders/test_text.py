"""Words as vectors, compared with open_clip's own tokenizer and forward, with seeded random weights."""

import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from vision_recs.encoders import LoadOptions, StoreEncoder, load_encoder, load_text_encoder
from vision_recs.errors import MissingExtra, NoTextTower, SpaceMismatch, WeightsNotFound

TEXTS = ["a red mug", "Straßenlaterne, matt black", "x" * 500 + " a text that is cut off"]


@pytest.fixture(scope="module")
def tiny(tiny_clip, seeded, tmp_path_factory):
    """A repository's folder with a model that reads the words of CLIP, and the network as open_clip builds it."""
    folder = tiny_clip(tmp_path_factory.mktemp("tiny"))
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"vocab_size": 49_408, "context_length": 16}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    network = seeded(lambda: open_clip.create_model(f"local-dir:{folder}", load_weights=False))
    save_file(network.state_dict(), folder / "whole.safetensors")
    save_file(network.visual.state_dict(), folder / "image.safetensors")
    return folder, network


def expected(network, tokens):
    with torch.inference_mode():
        features = network.encode_text(tokens).double().numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_the_vectors_of_words_are_those_of_open_clip(tiny):
    folder, network = tiny
    encoder = load_text_encoder("hf-hub:shop/tiny", weights=folder / "whole.safetensors")
    found = encoder.encode_text(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, expected(network, open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)), atol=1e-5
    )
    assert np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_allclose(encoder.encode_text(TEXTS[1:2]), found[1:2], atol=1e-6)


def test_a_named_architecture_reads_words_as_its_tokenizer_does(seeded, tmp_path):
    network = seeded(lambda: open_clip.create_model("ViT-S-32-alt"))
    torch.save(network.state_dict(), tmp_path / "own.pt")
    found = load_text_encoder("clip:ViT-S-32-alt", weights=tmp_path / "own.pt").encode_text(TEXTS)
    np.testing.assert_allclose(found, expected(network, open_clip.get_tokenizer("ViT-S-32-alt")(TEXTS)), atol=1e-5)


def test_words_and_images_are_of_one_space(tiny):
    folder, _ = tiny
    file = folder / "whole.safetensors"
    spec = load_encoder("hf-hub:shop/tiny", weights=file, device="cpu").spec
    assert load_text_encoder("hf-hub:shop/tiny", weights=file).spec == spec
    encoder = StoreEncoder(spec, LoadOptions(weights=file)).text_encoder()
    assert encoder.encode_text(["a mug"]).shape == (1, spec.dim)


def test_the_text_tower_of_other_weights_is_refused_each_time(tiny, seeded, tmp_path):
    folder, _ = tiny
    spec = load_encoder("hf-hub:shop/tiny", weights=folder / "whole.safetensors", device="cpu").spec
    other = seeded(lambda: open_clip.create_model(f"local-dir:{folder}", load_weights=False), seed=1)
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    encoder = StoreEncoder(spec, LoadOptions(weights=tmp_path / "other.safetensors"))
    for _ in "ab":
        with pytest.raises(SpaceMismatch, match="name the right ones with --weights"):
            encoder.text_encoder()


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet50", "timm:vit_small_patch14_dinov2.lvd142m"])
def test_an_encoder_of_images_alone_says_which_ones_read_words(name):
    with pytest.raises(NoTextTower, match=f"^{name} has no text tower, .* --encoder clip`$"):
        load_text_encoder(name)


def test_a_file_of_the_image_backbone_alone_says_that_it_is_one(tiny):
    folder, _ = tiny
    with pytest.raises(NoTextTower, match="holds only the image backbone of hf-hub:shop/tiny; pass --weights a file"):
        load_text_encoder("hf-hub:shop/tiny", weights=folder / "image.safetensors")


def test_a_tokenizer_that_cannot_be_had_is_one_sentence(tiny, tmp_path, monkeypatch):
    folder, _ = tiny
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "shop/tokenizer"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    file = tmp_path / "whole.safetensors"
    file.symlink_to(folder / "whole.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(MissingExtra, match=r"run `pip install 'visrec\[transformers\]'`"):
            load_text_encoder("hf-hub:shop/tiny", weights=file)
    pytest.importorskip("transformers")
    with pytest.raises(WeightsNotFound, match="the tokenizer of hf-hub:shop/tiny is not on this machine") as caught:
        load_text_encoder("hf-hub:shop/tiny", weights=file)
    assert "\n" not in str(caught.value)

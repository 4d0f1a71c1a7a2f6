import subprocess
import sys

import open_clip
import pytest
from torchvision.models import get_model_weights

from vision_recs.encoders import DEFAULT_ENCODER, canonical_name, list_encoders
from vision_recs.errors import UnknownEncoder


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
        ("efficientnet", "did you mean efficientnet-lite0?"),
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
    assert not any(encoder.weights_here for encoder in others)
    assert [encoder.canonical for encoder in [first, *others]] == [canonical_name(e.name) for e in [first, *others]]


def test_weights_are_seen_where_the_libraries_keep_them(tmp_path, in_hub_cache):
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet50-11ad3fa6.pth").touch()
    in_hub_cache("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", open_clip_model__safetensors=lambda file: file.touch())
    in_hub_cache("Marqo/marqo-fashionSigLIP", README__md=lambda file: file.touch())
    here = {encoder.name for encoder in list_encoders() if encoder.weights_here}
    assert here == {"efficientnet-lite0", "clip", "resnet50"}


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
            assert (encoder.dim, encoder.pixels) == (config["embed_dim"], config["vision_cfg"]["image_size"])
            assert encoder.source == f"huggingface.co/{open_clip.get_pretrained_cfg(arch, tag)['hf_hub'].rstrip('/')}"

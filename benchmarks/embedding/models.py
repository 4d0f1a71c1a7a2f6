"""The three models, each as its own library builds it, with the weights that every contestant loads.

EfficientNet-Lite0 has its ImageNet weights, which are installed with visrec. Those of ResNet-50 and CLIP cannot be had
offline: they are random, from a seed. That changes no rate; what it makes of the vectors is not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Model:
    """A model by visrec's *name*, and how many images of 500 and 2000 pixels visrec embeds in a round."""

    name: str
    title: str
    images: dict[int, int]


MODELS = {
    "lite0": Model("efficientnet-lite0", "EfficientNet-Lite0", {500: 1536, 2000: 256}),
    "resnet50": Model("resnet50", "ResNet-50", {500: 768, 2000: 256}),
    "clip": Model("clip", "CLIP ViT-B/32", {500: 768, 2000: 256}),
}


def make_weights(key: str, work: Path) -> Path | None:
    """Return the checkpoint of the model *key* in the folder *work*, made if need be; None for installed weights."""
    if key == "lite0":
        return None
    file = work / f"{key}.pt"
    if not file.exists():
        import torch

        torch.manual_seed(0)
        made = file.with_suffix(".making")
        torch.save(_random(key).state_dict(), made)
        made.replace(file)
    return file


def _random(key: str) -> nn.Module:
    if key == "resnet50":
        from torchvision.models import resnet50

        return resnet50()
    import open_clip

    return open_clip.create_model("ViT-B-32")


def load_torch(key: str, weights: Path | None) -> tuple[nn.Module, Callable[[Image], Tensor]]:
    """Return the image tower in float32 and the transform that its library gives with it."""
    if key == "lite0":
        return _load_lite0()
    return _load_resnet50(weights) if key == "resnet50" else _load_clip(weights)


def _load_lite0() -> tuple[nn.Module, Callable[[Image], Tensor]]:
    from timm.data import create_transform, resolve_model_data_config

    from vision_recs.encoders.loading import (
        load_backbone,
    )  # timm's network; the weights need other names for its tensors

    module = load_backbone("efficientnet-lite0", None).module
    return module, create_transform(**resolve_model_data_config(module), is_training=False)


def _load_resnet50(weights: Path | None) -> tuple[nn.Module, Callable[[Image], Tensor]]:
    import torch
    from torchvision.models import ResNet50_Weights, resnet50

    module = resnet50()
    module.load_state_dict(torch.load(weights, weights_only=True))
    module.fc = torch.nn.Identity()
    return module.eval(), ResNet50_Weights.DEFAULT.transforms()


def _load_clip(weights: Path | None) -> tuple[nn.Module, Callable[[Image], Tensor]]:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=str(weights))
    return model.visual.eval(), transform

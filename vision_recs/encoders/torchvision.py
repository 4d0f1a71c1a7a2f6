"""ResNets of torchvision without their classifier."""

from __future__ import annotations

from pathlib import Path

from vision_recs._torch import nn
from vision_recs.encoders.backbone import ImageBackbone
from vision_recs.encoders.weights import from_url, load_exactly, read_tensors, without
from vision_recs.types import PreprocessConfig


def load(name: str, file: Path | None) -> ImageBackbone:
    """Return a ResNet with torchvision's newest ImageNet weights, or with those of *file*."""
    from torchvision.models import get_model, get_model_weights

    published = get_model_weights(name).DEFAULT
    file = file or from_url(published.url, encoder=name)
    tensors = read_tensors(file)
    module = get_model(name, weights=None)
    module.fc = nn.Identity()
    load_exactly(module, without(tensors, ["fc"]), encoder=name, file=file)
    transform = published.transforms()
    preprocess = PreprocessConfig(
        size=(transform.crop_size[0], transform.crop_size[0]),
        resize_mode="crop",
        resize=transform.resize_size[0],
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
    return ImageBackbone(module.eval(), preprocess, pooling="average")

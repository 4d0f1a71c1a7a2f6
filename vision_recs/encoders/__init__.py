"""Encoders: a name to something that turns prepared pixels into vectors.

Importing this package imports neither torch nor Pillow; `load_encoder` imports the one library that the name needs.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vision_recs.encoders.names import DEFAULT_ENCODER, EncoderInfo, canonical_name, list_encoders
from vision_recs.encoders.probe import probe

if TYPE_CHECKING:
    from vision_recs.encoders.torch_runtime import TorchEncoder
    from vision_recs.encoders.tower import ImageTower

__all__ = ["DEFAULT_ENCODER", "EncoderInfo", "canonical_name", "list_encoders", "load_encoder", "probe"]

_ADAPTERS: Final = {
    "efficientnet-lite0": ("timm_models", "load_efficientnet_lite0"),
    "clip": ("open_clip_models", "load"),
    "hf-hub": ("open_clip_models", "load_hub"),
    "resnet18": ("torchvision_models", "load"),
    "resnet34": ("torchvision_models", "load"),
    "resnet50": ("torchvision_models", "load"),
    "resnet101": ("torchvision_models", "load"),
    "timm": ("timm_models", "load"),
}


def load_encoder(name: str, *, weights: Path | None = None, device: str = "auto") -> TorchEncoder:
    """Return the encoder called *name*, ready to encode on *device*.

    *weights* is a checkpoint (.safetensors, .pt, .pth) to use in place of the published one, which is taken from its
    library's cache or downloaded. *device* is "auto", "cpu", "cuda", "cuda:N" or "mps". Raises UnknownEncoder,
    WeightsNotFound, DeviceUnavailable, or another EncoderError for a model that visrec cannot run.
    """
    canonical = canonical_name(name)
    from vision_recs.encoders.torch_runtime import TorchEncoder, find_device
    from vision_recs.encoders.tower import spec_of

    find_device(device)  # a device that is not there is said before seconds of loading
    tower = _load_tower(canonical, weights)
    return TorchEncoder(spec_of(canonical, tower), tower, device)


def _load_tower(canonical: str, weights: Path | None) -> ImageTower:
    module, function = _ADAPTERS[canonical.partition(":")[0]]
    adapter = importlib.import_module(f"vision_recs.encoders.{module}")
    tower: ImageTower = getattr(adapter, function)(canonical, weights)
    return tower

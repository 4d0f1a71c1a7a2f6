"""From a name to an encoder: which adapter builds it and which runtime computes it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vision_recs.encoders import model_cache
from vision_recs.encoders.precision import Precision
from vision_recs.encoders.registry import canonical_name
from vision_recs.types import Encoder

if TYPE_CHECKING:
    from vision_recs.encoders.backbone import ImageTower

Runtime: TypeAlias = Literal["auto", "openvino", "torch"]

_ADAPTERS: Final = {
    "efficientnet-lite0": ("timm", "load_efficientnet_lite0"),
    "clip": ("open_clip", "load"),
    "hf-hub": ("open_clip", "load_hub"),
    "resnet18": ("torchvision", "load"),
    "resnet34": ("torchvision", "load"),
    "resnet50": ("torchvision", "load"),
    "resnet101": ("torchvision", "load"),
    "timm": ("timm", "load"),
}
_ACCELERATORS: Final = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Files that Linux has where there is a GPU for CUDA: NVIDIA's, that of Windows below, AMD's."""

_log = logging.getLogger(__name__)


def load_encoder(
    name: str,
    *,
    weights: Path | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
) -> Encoder:
    """Return the encoder called *name*, ready to encode on *device*.

    *weights* is a checkpoint (.safetensors, .pt, .pth) to use in place of the published one, which is taken from its
    library's cache or downloaded. *device* is "auto", "cpu", "cuda", "cuda:N", "mps", or several of these with commas
    between, which share the work. *precision* "auto" is bf16 on a CPU that multiplies it, f16 on CUDA, else f32.
    *runtime* "auto" is OpenVINO on a CPU, for networks that it can run, else PyTorch; the space is the same.

    Raises UnknownEncoder, WeightsNotFound, DeviceUnavailable, or another EncoderError for a model that cannot be run.
    """
    canonical = canonical_name(name)
    if runtime == "openvino" or (runtime == "auto" and precision != "f16" and _is_for_openvino(device)):
        return _load_on_openvino(canonical, weights, precision)
    return _load_on_torch(canonical, weights, device.split(","), precision)


def _load_on_torch(canonical: str, weights: Path | None, devices: list[str], precision: Precision) -> Encoder:
    from vision_recs.encoders.backbone import spec_of
    from vision_recs.encoders.parallel import ParallelEncoder
    from vision_recs.encoders.torch_runtime import TorchEncoder, find_device

    for device in devices:
        find_device(device)  # a device that is not there is said before seconds of loading
    tower = load_tower(canonical, weights)
    spec = spec_of(canonical, tower)
    towers = [tower, *(deepcopy(tower) for _ in devices[1:])]
    pairs = zip(towers, devices, strict=True)
    encoders = [TorchEncoder(spec, own, device, precision=precision) for own, device in pairs]
    return encoders[0] if len(encoders) == 1 else ParallelEncoder(encoders)


def _is_for_openvino(device: str) -> bool:
    """Whether *device* means the CPU; finding out must not import torch, which takes a second."""
    if importlib.util.find_spec("openvino") is None:
        return False
    has_accelerator = sys.platform == "darwin" or any(Path(file).exists() for file in _ACCELERATORS)
    return device == "cpu" or (device == "auto" and not has_accelerator)


def _load_on_openvino(canonical: str, weights: Path | None, precision: Precision) -> Encoder:
    from vision_recs.encoders.openvino_runtime import OpenVinoEncoder

    found = model_cache.find(canonical, weights)
    if found is not None:
        try:
            return OpenVinoEncoder(*found, precision=precision)
        except RuntimeError as error:  # OpenVINO's own errors, for a file that was cut short
            _log.info("the model kept for %s cannot be used and is made again (%s)", canonical, error)
            model_cache.forget(found[0])
    from vision_recs.encoders.backbone import spec_of
    from vision_recs.encoders.torch_runtime import TorchEncoder

    tower = load_tower(canonical, weights)
    spec = spec_of(canonical, tower)
    try:
        model = model_cache.keep(canonical, weights, spec, partial(_convert, tower))
    except Exception as error:  # noqa: BLE001 - torch and OpenVINO raise anything for what they cannot follow
        _log.info("%s runs on PyTorch: OpenVINO cannot take it over (%s)", canonical, error, exc_info=True)
        return TorchEncoder(spec, tower, "cpu", precision=precision)
    return OpenVinoEncoder(spec, model, precision=precision)


def _convert(tower: ImageTower, file: Path) -> None:
    from vision_recs.encoders.openvino_runtime import convert

    convert(tower, file)


def load_tower(canonical: str, weights: Path | None) -> ImageTower:
    """Return the image tower of the encoder *canonical*, on the CPU in float32."""
    module, function = _ADAPTERS[canonical.partition(":")[0]]
    adapter = importlib.import_module(f"vision_recs.encoders.{module}")
    tower: ImageTower = getattr(adapter, function)(canonical, weights)
    return tower

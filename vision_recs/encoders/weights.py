"""Checkpoint files: found in the caches of the libraries or fetched once, and read without running code.

A checkpoint is loaded only where every tensor fits the network.
"""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from vision_recs._torch import Tensor, nn, torch
from vision_recs.encoders.backbone import is_step_counter
from vision_recs.encoders.loading import require_weights
from vision_recs.errors import WeightsNotFound

Tensors: TypeAlias = dict[str, Tensor]


def from_hub(repository: str, files: Sequence[str], *, encoder: str, revision: str | None = None) -> Path:
    """Return the first of *files* that huggingface.co/*repository* has, from the cache of the hub where it is there.

    *revision* is a commit; None is the newest. Raises WeightsNotFound where no file can be fetched.
    """
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        # Not hf_hub_download(local_files_only=True), which requests a list of agents from the server.
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    return _download_from_hub(repository, files, encoder=encoder, revision=revision)


def _download_from_hub(repository: str, files: Sequence[str], *, encoder: str, revision: str | None) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    place = f"{files[0]} of huggingface.co/{repository} in {constants.HF_HUB_CACHE}"
    for file in files:
        try:
            # One request: hf_hub_download alone repeats it for 23 seconds on a machine that is offline.
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision))
            with quiet():
                return Path(hf_hub_download(repository, file, revision=revision))
        except EntryNotFoundError as error:
            missing: Exception = error
        except Exception as error:  # the border to a downloader whose HTTP library changes with its version
            raise _not_found(encoder, place, error) from error
    raise _not_found(encoder, place, missing) from missing


def from_url(url: str, *, encoder: str) -> Path:
    """Return the file of *url* in the folder of torch.hub, downloaded where it is not there yet.

    A checksum in the file's name ("resnet50-11ad3fa6.pth") is verified. Raises WeightsNotFound.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if file.is_file():
        return file
    checksum = re.search(r"-([a-f0-9]{8,})\.", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), checksum and checksum[1], progress=False)
    except (OSError, RuntimeError) as error:
        raise _not_found(encoder, str(file), error) from error
    return file


def _not_found(encoder: str, place: str, error: Exception) -> WeightsNotFound:
    return WeightsNotFound(
        f"the weights of {encoder} are not on this machine and could not be fetched ({first_sentence(error)}): "
        f"looked for {place}; go online once, or pass --weights FILE"
    )


def read_tensors(file: Path) -> Tensors:
    """Return the tensors of a .safetensors file or of one written by `torch.save`, on the CPU.

    They may lie under "state_dict" or "model", and every name may begin with "module.". Raises WeightsNotFound for a
    file that is missing, damaged, holds no tensors, or needs code to be read.
    """
    require_weights(file)
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
    """Return the class of *error* and the first sentence of its message, to stand inside a sentence of ours."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].split('. ')[0]}".rstrip(".: ")


def without(tensors: Tensors, parts: Iterable[str]) -> Tensors:
    """Return *tensors* without those of the named *parts* of a model, such as its classifier."""
    prefixes = tuple(f"{part}." for part in parts)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}


def load_exactly(module: nn.Module, tensors: Tensors, *, encoder: str, file: Path) -> None:
    """Put *tensors* into *module*; raises WeightsNotFound where one is missing, left over or of another shape."""
    needed = {k: v.shape for k, v in module.state_dict().items()}
    given = {k: v.shape for k, v in tensors.items()}
    differences = [
        _difference("missing", (k for k in needed if k not in given and not is_step_counter(k))),
        _difference("unexpected", (k for k in given if k not in needed)),
        _difference("of another shape", (k for k in given if k in needed and given[k] != needed[k])),
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


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from printing, warning and logging to the root logger while a model is loaded.

    open_clip logs through `logging.warning`, which would also install a handler in a program that has none.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    root, handler = logging.getLogger(), logging.NullHandler()
    bars = not are_progress_bars_disabled()
    root.addHandler(handler)
    root.addFilter(_not_from_open_clip)
    if bars:
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if bars:
            enable_progress_bars()
        root.removeFilter(_not_from_open_clip)
        root.removeHandler(handler)


def _not_from_open_clip(record: logging.LogRecord) -> bool:
    return "open_clip" not in Path(record.pathname).parts

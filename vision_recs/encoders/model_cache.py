"""Converted models on the disk, so that the next start needs neither torch nor the original weights.

~/.cache/visrec/                       or $VISREC_CACHE, or $XDG_CACHE_HOME/visrec
  names/<key>.json                     the fingerprint of an encoder, by its name and its weights file
  models/<fingerprint>-<version>/      of OpenVINO
    model.json                         spec, canary of PyTorch, digests of the two files below; with a checksum
    model.xml, model.bin               the network, in float32
    <key>-<sha256>.blob                what OpenVINO compiled for one processor and precision, and its digest

Everything here is derived and may be deleted at any time. Every file is compared with its digest before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from vision_recs.cache_dir import cache_dir
from vision_recs.encoders.registry import family_of
from vision_recs.errors import StoreDamaged
from vision_recs.file_formats import dump_checksummed, load_checksummed
from vision_recs.scratch import scratch_folder
from vision_recs.store.atomic_files import digest_problem, sha256_file
from vision_recs.store.layout import encoder_spec
from vision_recs.types import EncoderSpec, Vectors

_log = logging.getLogger(__name__)

_FILES: Final = ("model.xml", "model.bin")

_FORMAT: Final = "2"
"""What the models give: since 2, also the regions of an image that an encoder looked at."""


class ModelDamaged(Exception):
    """A file of a cached model is missing or was altered; the model can be made again."""


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A converted model in the folder *folder*.

    *canary* is the vector (dim,) that PyTorch computes for the built-in image. *is_convolutional* says whether the
    network has more than a few convolutions. *digests* are the SHA-256 of the two files of the network.
    """

    folder: Path
    spec: EncoderSpec
    canary: Vectors
    is_convolutional: bool
    digests: Mapping[str, str]

    def network_file(self) -> Path:
        """Return the file of the network; raises ModelDamaged where one of its two files is not what was written."""
        for name in _FILES:
            problem = digest_problem(self.folder / name, self.digests[name])
            if problem:
                raise ModelDamaged(problem)
        return self.folder / "model.xml"

    def read_compiled(self, key: str) -> bytes | None:
        """Return what `keep_compiled` kept under *key*, or None; a file that was altered is deleted."""
        for file in self.folder.glob(f"{key}-*.blob"):
            with suppress(OSError):
                data = file.read_bytes()
                if hashlib.sha256(data).hexdigest() == file.stem.rpartition("-")[2]:
                    return data
                _log.warning("%s was altered and is made again", file)
                file.unlink()
        return None

    def keep_compiled(self, key: str, data: bytes) -> None:
        """Keep *data*, what OpenVINO compiled, under *key*; a disk that refuses it costs time only."""
        name = f"{key}-{hashlib.sha256(data).hexdigest()}.blob"
        with suppress(OSError), scratch_folder(self.folder) as made:
            Path(made, name).write_bytes(data)
            Path(made, name).replace(self.folder / name)


def find_model(canonical: str, weights: Path | None) -> CachedModel | None:
    """Return the model that is cached for the encoder *canonical* with *weights*, or None."""
    try:
        fingerprint = json.loads(_name_file(canonical, weights).read_text("utf-8"))["fingerprint"]
        folder = _model_folder(fingerprint)
        about = load_checksummed((folder / "model.json").read_bytes())
        spec = encoder_spec(about["spec"])
    except StoreDamaged as error:
        _log.warning("the cached model of %s was altered and is made again (%s)", canonical, error)
        return None
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or one of another version
        return None
    if spec.fingerprint != fingerprint:
        return None
    canary = np.array(about["canary"], np.float32)
    return CachedModel(folder, spec, canary, about["is_convolutional"], about["files"])


def forget_model(spec: EncoderSpec) -> None:
    """Delete the model that is cached for *spec*, if there is one."""
    shutil.rmtree(_model_folder(spec.fingerprint), ignore_errors=True)


def keep_model(
    canonical: str, weights: Path | None, spec: EncoderSpec, canary: Vectors, convert: Callable[[Path], bool]
) -> CachedModel:
    """Have `convert(file)` write the network, keep it for *canonical* with *weights*, and return it.

    *convert* says whether the network is convolutional. *canary* is that of PyTorch.
    """
    folder = _model_folder(spec.fingerprint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.parent) as scratch:
        made = scratch / "model"
        made.mkdir()
        is_convolutional = convert(made / "model.xml")
        digests = {name: sha256_file(made / name) for name in _FILES}
        about = {"spec": asdict(spec), "canary": canary.tolist(), "is_convolutional": is_convolutional}
        (made / "model.json").write_bytes(dump_checksummed({**about, "files": digests}))
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another process made the same at the same time
            made.rename(folder)
    name = _name_file(canonical, weights)
    name.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(name.parent) as scratch:
        (scratch / name.name).write_text(json.dumps({"name": canonical, "fingerprint": spec.fingerprint}), "utf-8")
        (scratch / name.name).replace(name)
    return CachedModel(folder, spec, canary, is_convolutional, digests)


def _model_folder(fingerprint: str) -> Path:
    return cache_dir() / "models" / f"{fingerprint}-{version('openvino')}"


def _name_file(canonical: str, weights: Path | None) -> Path:
    """Return the file that says what *canonical* stands for, given its library and the weights file as they are now."""
    library = family_of(canonical).library
    parts = [_FORMAT, canonical, library, version(library)]
    if weights is not None:
        status = weights.stat()
        parts += [str(weights.absolute()), *map(str, (status.st_size, status.st_mtime_ns, status.st_ctime_ns))]
    return cache_dir() / "names" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"

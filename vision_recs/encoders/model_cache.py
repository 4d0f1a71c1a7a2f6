"""Converted models on the disk, so that the next start needs neither torch nor the original weights.

~/.cache/visrec/                       or $VISREC_CACHE, or $XDG_CACHE_HOME/visrec
  names/<key>.json                     which space a name and a weights file stand for
  models/<fingerprint>-<version>/      spec.json, model.xml, model.bin, and what OpenVINO compiled from them

Everything here is derived and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final

from vision_recs.types import EncoderSpec

_LIBRARIES: Final = {
    "efficientnet-lite0": "timm",
    "timm": "timm",
    "clip": "open_clip_torch",
    "hf-hub": "open_clip_torch",
}


def cache_folder() -> Path:
    """Return the folder of the cache, which need not exist."""
    if named := os.environ.get("VISREC_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visrec"


def find(canonical: str, weights: Path | None) -> tuple[EncoderSpec, Path] | None:
    """Return the spec and the model file kept for the encoder *canonical* with *weights*, or None."""
    try:
        fingerprint = json.loads(_name_file(canonical, weights).read_text("utf-8"))["fingerprint"]
        spec = EncoderSpec.from_dict(json.loads((_model_folder(fingerprint) / "spec.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (spec, _model_folder(fingerprint) / "model.xml") if spec.fingerprint == fingerprint else None


def forget(spec: EncoderSpec) -> None:
    """Throw away the model kept for *spec*."""
    shutil.rmtree(_model_folder(spec.fingerprint), ignore_errors=True)


def keep(canonical: str, weights: Path | None, spec: EncoderSpec, save: Callable[[Path], None]) -> Path:
    """Have `save(file)` write the model file of *spec*, remember what it stands for, and return it."""
    folder = _model_folder(spec.fingerprint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        save(made / "model.xml")
        (made / "spec.json").write_text(json.dumps(asdict(spec), indent=1), "utf-8")
        made.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another process made the same at the same time
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    name = _name_file(canonical, weights)
    name.parent.mkdir(parents=True, exist_ok=True)
    made_name = name.with_suffix(f".{os.getpid()}")
    made_name.write_text(json.dumps({"name": canonical, "fingerprint": spec.fingerprint}), "utf-8")
    made_name.replace(name)
    return folder / "model.xml"


def _model_folder(fingerprint: str) -> Path:
    return cache_folder() / "models" / f"{fingerprint}-{version('openvino')}"


def _name_file(canonical: str, weights: Path | None) -> Path:
    """Return the file that says what *canonical* stands for, given its library and the weights file as they are now."""
    library = _LIBRARIES.get(canonical.partition(":")[0], "torchvision")
    parts = [canonical, library, version(library)]
    if weights is not None:
        status = weights.stat()
        parts += [str(weights.absolute()), str(status.st_size), str(status.st_mtime_ns)]
    return cache_folder() / "names" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"

"""Words as vectors, for encoders with a text tower."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vision_recs.encoders.registry import canonical_name
from vision_recs.errors import NoTextTower, UnknownEncoder
from vision_recs.types import EncoderSpec, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:
    from vision_recs.encoders.backbone import TextTower

_ADAPTERS: Final = {"clip": ("open_clip", "load_text"), "hf-hub": ("open_clip", "load_hub_text")}


class TextEncoder:
    """Encodes words with PyTorch on the CPU, in float32: a query is one short text."""

    def __init__(self, spec: EncoderSpec, tower: TextTower) -> None:
        """Run *tower*, of which *spec* describes the image tower: the two share a space."""
        self._spec = spec
        self._tower = tower

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors of images, with which those of words are compared."""
        return self._spec

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text (n, dim), or a row of zeros for one without a direction.

        What is longer than the model reads, 77 tokens for CLIP, is cut off.
        """
        import torch

        with torch.inference_mode():
            return normalize_rows(self._tower.features(texts).float().numpy())[0]


def reads_text(name: str) -> bool:
    """Whether the encoder *name* has a text tower; nothing is loaded."""
    try:
        return canonical_name(name).partition(":")[0] in _ADAPTERS
    except UnknownEncoder:  # a store may hold vectors of an encoder that is not of visrec
        return False


def load_text_encoder(name: str, *, weights: Path | None = None) -> TextEncoder:
    """Return the text tower of the encoder *name*, with its published weights or those of the file *weights*.

    Raises NoTextTower for an encoder that takes images only, else what `load_encoder` does.
    """
    canonical = canonical_name(name)
    family = canonical.partition(":")[0]
    if family not in _ADAPTERS:
        raise NoTextTower(
            f"{canonical} has no text tower, so that words cannot be compared with its images; index with an encoder "
            "that has one, as by `visrec index CATALOG --encoder clip`"
        )
    from vision_recs.encoders.backbone import spec_of

    module, function = _ADAPTERS[family]
    tower: TextTower = getattr(importlib.import_module(f"vision_recs.encoders.{module}"), function)(canonical, weights)
    return TextEncoder(spec_of(canonical, tower.image), tower)

"""Texts as vectors, for encoders with a text tower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.encoders.loading import load_adapter
from vision_recs.encoders.registry import canonical_name, family_of
from vision_recs.errors import NoTextTower
from vision_recs.types import EncoderSpec, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:
    from vision_recs.encoders.backbone import TextTower


class TextEncoder:
    """Encodes texts with PyTorch on the CPU, in float32: a query is one short text."""

    def __init__(self, spec: EncoderSpec, tower: TextTower) -> None:
        """Run *tower*; *spec* is that of its image backbone, with which it shares a space."""
        self._spec = spec
        self._tower = tower

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors of images, with which those of texts are compared."""
        return self._spec

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text (n, dim), or a row of zeros for a text whose vector is zero.

        Text beyond what the model reads, 77 tokens for CLIP, is cut off.
        """
        import torch

        with torch.inference_mode():
            return normalize_rows(self._tower.features(texts).float().numpy())[0]


def load_text_encoder(name: str, *, weights: Path | None = None) -> TextEncoder:
    """Return the text encoder of the encoder *name*, with its published weights or those of the file *weights*.

    Raises NoTextTower for an encoder that takes images only, else what `load_encoder` does.
    """
    canonical = canonical_name(name)
    adapter = family_of(canonical).text_adapter
    if adapter is None:
        raise NoTextTower(
            f"{canonical} has no text tower, so that words cannot be compared with its images; index with an encoder "
            "that has one, as by `visrec index CATALOG --encoder clip`"
        )
    from vision_recs.encoders.backbone import spec_of

    tower: TextTower = load_adapter(adapter)(canonical, weights)
    return TextEncoder(spec_of(canonical, tower.image), tower)

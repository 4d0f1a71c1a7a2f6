"""Texts as vectors, for encoders with a text tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders.composite import composite_spec, join, scales_of
from vision_recs.encoders.loading import load_adapter, load_encoder
from vision_recs.encoders.registry import canonical_name, family_of, parts_of, supports_text
from vision_recs.errors import NoTextTower
from vision_recs.types import EncoderSpec, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:
    from vision_recs.encoders.backbone import TextTower


class TextEncoder:
    """Encodes texts with PyTorch on the CPU, in float32: a query is one short text."""

    def __init__(self, spec: EncoderSpec, features: Callable[[Sequence[str]], NDArray[np.float32]]) -> None:
        """Run `features`, which returns rows (n, dim) in the space of the images of *spec*; NaN is not known."""
        self._spec = spec
        self._features = features

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors of images, with which those of texts are compared."""
        return self._spec

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text (n, dim), or a row of zeros for a text whose vector is zero.

        Text beyond what the model reads, 77 tokens for CLIP, is cut off.
        """
        return normalize_rows(np.nan_to_num(self._features(texts)))[0]

    def encode_known(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors (n, dim) as a projection takes them: NaN where a part of the encoder reads no text."""
        return self._features(texts)


def load_text_encoder(name: str, *, weights: Path | None = None) -> TextEncoder:
    """Return the text encoder of the encoder *name*, with its published weights or those of the file *weights*.

    A composite encoder compares a text with the images by those of its parts that read text; in the vector, the others
    are zero. So the order is that of these parts alone, and a score is theirs times the square root of their share.
    Raises NoTextTower for an encoder that takes images only, else what `load_encoder` does.
    """
    canonical = canonical_name(name)
    if not supports_text(canonical):
        raise NoTextTower(
            f"{canonical} has no text tower, so that words cannot be compared with its images; index with an encoder "
            "that has one, as by `visrec index CATALOG --encoder clip`"
        )
    if len(parts_of(canonical)) > 1:
        return _composite(canonical)
    family = family_of(canonical)
    adapter = load_adapter(str(family.text_adapter))
    if not family.has_network:
        encoder: TextEncoder = adapter(canonical)
        return encoder
    from vision_recs.encoders.backbone import spec_of

    tower: TextTower = adapter(canonical, weights)
    return TextEncoder(spec_of(canonical, tower.image), partial(_features, tower))


def _features(tower: TextTower, texts: Sequence[str]) -> NDArray[np.float32]:
    from vision_recs._torch import torch

    with torch.inference_mode():
        return normalize_rows(tower.features(texts).float().numpy())[0]


def _known(rows: Vectors) -> NDArray[np.float32]:
    """Return *rows* with NaN for those of zeros: what a part does not understand says nothing."""
    found: NDArray[np.float32] = np.where(np.any(rows, axis=1, keepdims=True), rows, np.float32(np.nan))
    return found


def _composite(canonical: str) -> TextEncoder:
    parts = parts_of(canonical)
    weights = [part.weight for part in parts]
    readers = [load_text_encoder(part.name) if supports_text(part.name) else None for part in parts]
    specs = [
        load_encoder(part.name).spec if reader is None else reader.spec
        for part, reader in zip(parts, readers, strict=True)
    ]

    def features(texts: Sequence[str]) -> NDArray[np.float32]:
        nothing = np.float32(np.nan)
        rows = [
            np.full((len(texts), spec.dim), nothing) if reader is None else _known(reader.encode_text(texts))
            for spec, reader in zip(specs, readers, strict=True)
        ]
        return join(rows, scales_of(weights))

    return TextEncoder(composite_spec(canonical, specs, weights), features)

"""Several encoders as one: the vectors of the parts side by side, so that the score is the weighted mean of theirs.

The cosine of two vectors is the mean of the cosines of the parts, each by its weight. A part that gives an image no
direction is left out for that image; so is a part that reads no text, for a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders.canary import embed_canary
from vision_recs.encoders.looking import Regions, look
from vision_recs.errors import EncoderError
from vision_recs.types import CompositePreprocess, Encoder, EncoderSpec, Pixels, PreprocessConfig, Vectors
from vision_recs.vectors import normalize_rows


class CompositeEncoder:
    """An Encoder that runs several encoders on the same images, one after the other: each may use all cores."""

    def __init__(self, name: str, parts: Sequence[Encoder], weights: Sequence[float]) -> None:
        """Join *parts*, two or more, under the full *name*; *weights* say what each counts in a score."""
        self._parts = tuple(parts)
        self._scales = scales_of(weights)
        self._spec = composite_spec(name, [part.spec for part in parts], weights)

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        return self._spec

    @property
    def parts(self) -> tuple[Encoder, ...]:
        """The encoders that are joined, in the order of their columns."""
        return self._parts

    @property
    def device(self) -> str:
        """Where the vectors are computed."""
        return _each_once(self._parts, "device")

    @property
    def runtime(self) -> str:
        """What computes the vectors, and how precisely."""
        return _each_once(self._parts, "runtime")

    @property
    def fallback(self) -> str | None:
        """Why a slower runtime computes one of the parts, or None where none does."""
        return "; ".join(filter(None, (getattr(part, "fallback", None) for part in self._parts))) or None

    @property
    def batch_size(self) -> int:
        """How many images are best given at a time."""
        return max(getattr(part, "batch_size", 32) for part in self._parts)

    @property
    def reference_canary(self) -> Vectors | None:
        """The canary as PyTorch computes it, where a part is a converted model; None where none is."""
        references = [getattr(part, "reference_canary", None) for part in self._parts]
        if all(reference is None for reference in references):
            return None
        known = [
            embed_canary(part) if reference is None else reference
            for part, reference in zip(self._parts, references, strict=True)
        ]
        joined: Vectors = self._joined([vector[None] for vector in known])[0]
        return joined

    def encode(self, pixels: Pixels) -> Vectors:
        """Return the vectors that `look` returns."""
        return self.look(pixels)[0]

    def look(self, pixels: Pixels) -> tuple[Vectors, Regions]:
        """Return one unit vector an image, or zeros where no part gives it a direction, and the regions of all parts.

        *pixels* are (n, height, width, 3), as `vision_recs.images.prepare` makes them. Raises ValueError for another
        size or type.
        """
        preprocess = self._spec.preprocess
        assert isinstance(preprocess, CompositePreprocess)
        size = (*preprocess.size, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != size:
            raise ValueError(f"pixels are uint8 (n, {', '.join(map(str, size))}), not {pixels.dtype} {pixels.shape}")
        places = zip(self._parts, preprocess.parts, preprocess.columns(), strict=True)
        looks = [look(part, pixels[:, : own.size[0], columns]) for part, own, columns in places]
        return self._joined([vectors for vectors, _ in looks]), np.concatenate(
            [regions for _, regions in looks], axis=1
        )

    def _joined(self, vectors: Sequence[Vectors]) -> Vectors:
        return normalize_rows(join(vectors, self._scales))[0]


def join(vectors: Sequence[Vectors], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of each part (n, dim of the part) side by side, each part by its scale."""
    return np.concatenate([scale * each for scale, each in zip(scales, vectors, strict=True)], axis=1)


def scales_of(weights: Sequence[float]) -> NDArray[np.float32]:
    """Return by what the unit vectors of the parts are multiplied: a cosine is a product of two of them."""
    found: NDArray[np.float32] = np.sqrt(np.array(weights) / sum(weights)).astype(np.float32)
    return found


def composite_spec(name: str, specs: Sequence[EncoderSpec], weights: Sequence[float]) -> EncoderSpec:
    """Return the spec of the encoders with *specs*, joined under the full *name* with *weights*."""
    parts = [(spec.fingerprint, f"{weight:.4g}") for spec, weight in zip(specs, weights, strict=True)]
    return EncoderSpec(
        name=name,
        weights=hashlib.sha256(repr(parts).encode()).hexdigest(),
        dim=sum(spec.dim for spec in specs),
        preprocess=CompositePreprocess(tuple(_own(spec) for spec in specs)),
        pooling=" + ".join(spec.pooling for spec in specs),
    )


def _own(spec: EncoderSpec) -> PreprocessConfig:
    if not isinstance(spec.preprocess, PreprocessConfig):
        raise EncoderError(f"{spec.name} is a composite encoder already; name its parts")
    return spec.preprocess


def _each_once(parts: Sequence[Encoder], name: str) -> str:
    return ", ".join(dict.fromkeys(str(getattr(part, name, "your own")) for part in parts))

"""The encoder that belongs to a store, loaded only when something has to be embedded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vision_recs.encoders.canary import probe
from vision_recs.encoders.loading import load_encoder
from vision_recs.encoders.precision import Precision
from vision_recs.encoders.registry import DEFAULT_ENCODER
from vision_recs.encoders.text import TextEncoder, load_text_encoder
from vision_recs.errors import SpaceMismatch
from vision_recs.store import Manifest
from vision_recs.types import Encoder, EncoderSpec, Vectors

_PROBE_COSINE = 0.99
"""Half precision of any kind stays above this; another model, channel order or crop falls far below."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How an encoder is loaded, as for `load_encoder`."""

    weights: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"

    def load(self, name: str) -> Encoder:
        """Return the encoder called *name*."""
        return load_encoder(name, weights=self.weights, device=self.device, precision=self.precision)


class Space:
    """The space of a store's vectors, and the encoder that makes them."""

    def __init__(self, spec: EncoderSpec, options: LoadOptions, encoder: Encoder | None = None) -> None:
        """Hold the space of *spec* and its *encoder*, if that is there already; see `choose_space`."""
        self.spec = spec
        self._options = options
        self._encoder = encoder
        self._text_encoder: TextEncoder | None = None
        self._expected: Vectors | None = None

    @property
    def weights(self) -> Path | None:
        """The checkpoint that the user named, if any."""
        return self._options.weights

    @property
    def runtime(self) -> str:
        """What computes the vectors, or "not needed" where no vector was asked for."""
        return "not needed" if self._encoder is None else getattr(self._encoder, "runtime", "your own")

    @property
    def batch_size(self) -> int:
        """The images that the encoder is best given at a time, as far as that is known before it is loaded."""
        return getattr(self._encoder, "batch_size", 32)

    def expect(self, vector: Vectors) -> None:
        """Have the encoder, once it is loaded, give the probe image this *vector*; see `encoder`."""
        self._expected = vector

    def probe(self) -> Vectors:
        """Return the vector of the probe image: the one that is expected, or the encoder's own."""
        return probe(self.encoder()) if self._expected is None else self._expected

    def encoder(self) -> Encoder:
        """Return the encoder; raises SpaceMismatch where it is not the one that made the vectors of the store."""
        if self._encoder is None:
            loaded = self._options.load(self.spec.name)
            if loaded.spec != self.spec:
                raise _mismatch(self.spec, loaded.spec)
            self._encoder = loaded
        if self._expected is not None:
            check_probe(self._encoder, self._expected)
            self._expected = None
        return self._encoder

    def text_encoder(self) -> TextEncoder:
        """Return what puts words into the space.

        Raises NoTextTower where its encoder takes images only, SpaceMismatch where the image tower that belongs to
        the words is not the one that made the vectors of the store.
        """
        if self._text_encoder is None:
            loaded = load_text_encoder(self.spec.name, weights=self._options.weights)
            if loaded.spec != self.spec:
                raise _mismatch(self.spec, loaded.spec)
            self._text_encoder = loaded
        return self._text_encoder


def choose_space(encoder: str | Encoder | None, options: LoadOptions, base: Manifest | None) -> Space:
    """Return the space that the caller names; without a name that of *base*, without *base* the default."""
    if encoder is not None and not isinstance(encoder, str):
        return Space(encoder.spec, replace(options, weights=None), encoder)
    if encoder is None and options.weights is None and base is not None:
        file = Path(base.weights_file) if base.weights_file else None
        return Space(base.encoder, replace(options, weights=file))
    loaded = options.load(encoder or (base.encoder.name if base else DEFAULT_ENCODER))
    return Space(loaded.spec, options, loaded)


def check_probe(encoder: Encoder, expected: Vectors) -> None:
    """Raise SpaceMismatch where *encoder* does not reproduce the probe vector *expected* (cosine 0.99)."""
    cosine = float(np.dot(probe(encoder), expected))
    if cosine < _PROBE_COSINE:
        raise SpaceMismatch(
            f"{encoder.spec.name} on this machine does not reproduce the probe vector of the index "
            f"(cosine {cosine:.3f}); update torch and the encoder's library, or rebuild in another folder with --store"
        )


def _mismatch(wanted: EncoderSpec, found: EncoderSpec) -> SpaceMismatch:
    return SpaceMismatch(
        f"the index holds {wanted.name} [{wanted.fingerprint}], the weights on this machine give {found.name} "
        f"[{found.fingerprint}]; name the right ones with --weights, or rebuild with "
        f"`visrec index CATALOG --encoder {found.name}`"
    )

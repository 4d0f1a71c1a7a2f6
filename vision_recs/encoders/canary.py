"""The vector of the built-in image, by which two runtimes of one encoder are compared."""

from __future__ import annotations

import numpy as np

from vision_recs.errors import SpaceMismatch
from vision_recs.types import Encoder, Vectors

_LEAST_COSINE = 0.99
"""Half precision of any kind stays above this; another model, channel order or crop falls far below."""


def embed_canary(encoder: Encoder) -> Vectors:
    """Return the vector (dim,) of the built-in image, preprocessed as *encoder* needs it."""
    from vision_recs.images import canary_image, prepare

    pixels = prepare(canary_image(), encoder.spec.preprocess)
    vector: Vectors = encoder.encode(pixels[np.newaxis])[0]
    return vector


def check_canary(encoder: Encoder, expected: Vectors, *, of: str) -> None:
    """Raise SpaceMismatch where the canary of *encoder* is not *expected* (cosine 0.99); *of* says whose that is."""
    cosine = float(np.dot(embed_canary(encoder), expected))
    if not cosine >= _LEAST_COSINE:  # also where it is not a number
        raise SpaceMismatch(
            f"{encoder.spec.name} on this machine does not reproduce the canary of {of} (cosine {cosine:.3f}); update "
            "torch, openvino and the library of the encoder, or rebuild in another folder with --store"
        )

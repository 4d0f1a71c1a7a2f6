"""The vector by which two runtimes of one encoder are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Encoder


def probe(encoder: Encoder) -> NDArray[np.float32]:
    """Return the vector (dim,) of the built-in image, prepared by the encoder's own preprocess."""
    from vision_recs.images import canary_image, prepare

    pixels = prepare(canary_image(), encoder.spec.preprocess)
    vector: NDArray[np.float32] = encoder.encode(pixels[np.newaxis])[0]
    return vector

"""The vectors of images and words that a query brings, by the encoder of the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.errors import ImageError, ZeroVector
from vision_recs.store import Store, canary_vector
from vision_recs.types import Vectors

if TYPE_CHECKING:  # a query by id needs no encoder
    from vision_recs.encoders import Space


class QueryEncoder:
    """Encodes what is not in the store; the encoder is loaded when it is first needed."""

    def __init__(self, store: Store, *, weights: Path | None, device: str) -> None:
        """Use the encoder of *store*, with *weights* or those that the store was made with, on *device*."""
        self._store = store
        self._weights = weights
        self._device = device
        self._loaded: Space | None = None

    def images(self, images: Sequence[bytes]) -> Vectors:
        """Return a unit vector for each of *images*, the bytes of files.

        Raises ImageError, and EncoderError or SpaceMismatch where there is no encoder for them.
        """
        from vision_recs.images import load

        preprocess = self._store.manifest.encoder.preprocess
        pixels = [load(image, preprocess) for image in images]  # bad ones cost no loading
        vectors = self._space().encoder().encode(np.stack(pixels))
        if not np.any(vectors, axis=1).all():
            raise ImageError("zero-vector", "the encoder gives the image no direction: it is blank; use another one")
        return self._store.project(vectors)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector for each of *texts*; raises NoTextTower, another EncoderError or SpaceMismatch."""
        vectors = self._space().text_encoder().encode_text(list(texts))
        if not np.any(vectors, axis=1).all():
            raise ZeroVector("the encoder gives the text no direction; write it in other words")
        return self._store.project(vectors)

    def _space(self) -> Space:
        from vision_recs.encoders import LoadOptions, Space

        if self._loaded is None:
            manifest = self._store.manifest
            weights = self._weights or (Path(manifest.weights_file) if manifest.weights_file else None)
            self._loaded = Space(manifest.encoder, LoadOptions(weights=weights, device=self._device))
            self._loaded.expect(canary_vector(manifest.canary))
        return self._loaded

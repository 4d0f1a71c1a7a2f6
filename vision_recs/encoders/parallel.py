"""Several devices as one encoder."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vision_recs.encoders.torch_runtime import TorchEncoder
from vision_recs.types import EncoderSpec, Pixels, Vectors


class ParallelEncoder:
    """An Encoder that gives each of several equal encoders, on devices of their own, an equal part of each batch."""

    def __init__(self, encoders: Sequence[TorchEncoder]) -> None:
        """Share the work among *encoders*, at least one, which all have the same spec."""
        self._encoders = tuple(encoders)
        self._pool = ThreadPoolExecutor(len(self._encoders), thread_name_prefix="visrec-device")

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        return self._encoders[0].spec

    @property
    def device(self) -> str:
        """Where the vectors are computed: "cuda:0,cuda:1"."""
        return ",".join(encoder.device for encoder in self._encoders)

    @property
    def runtime(self) -> str:
        """What computes the vectors, and how precisely."""
        return self._encoders[0].runtime

    @property
    def batch_size(self) -> int:
        """The images that are best given at a time."""
        return sum(encoder.batch_size for encoder in self._encoders)

    def encode(self, pixels: Pixels) -> Vectors:
        """Return one unit vector an image, in order, or a row of zeros for an image without a direction."""
        parts = np.array_split(pixels, len(self._encoders))
        running = [self._pool.submit(encoder.encode, part) for encoder, part in zip(self._encoders, parts, strict=True)]
        return np.concatenate([each.result() for each in running])

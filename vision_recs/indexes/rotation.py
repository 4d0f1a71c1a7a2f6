"""The linear transform in front of an index, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Vectors

_LARGEST = 127
"""The largest whole number of a byte with a sign."""


class Rotation(NamedTuple):
    """The linear *transform* of an index, which has to outlive it, also as arrays.

    FAISS wakes all threads for a single query, which takes fifty times as long; NumPy's BLAS has threads of its own for
    many, which then keep cores from FAISS. Where the index behind it keeps *whole* numbers, one byte each, it gives
    such numbers.
    """

    transform: faiss.LinearTransform
    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    whole: bool = False

    @classmethod
    def of(cls, transform: faiss.LinearTransform, *, whole: bool = False) -> Rotation:
        """Return the rotation that *transform* was trained to."""
        matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
        offset = faiss.vector_to_array(transform.b) if transform.have_bias else np.zeros(transform.d_out, np.float32)
        return cls(transform, np.ascontiguousarray(matrix.T), offset, whole)

    def apply(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim) in the space of the index."""
        turned: Vectors = vectors @ self.matrix + self.offset if len(vectors) == 1 else self.transform.apply(vectors)
        if self.whole:
            np.rint(turned, out=turned)
            np.clip(turned, -_LARGEST, _LARGEST, out=turned)
        return turned


def stretch(transform: faiss.LinearTransform, vectors: Vectors) -> None:
    """Scale what *transform* gives so that its numbers for *vectors* fill the range of whole numbers in a byte."""
    largest = np.abs(Rotation.of(transform).apply(vectors)).max(initial=0.0)
    scale = _LARGEST / largest if largest > 0 else 1.0
    for numbers in (transform.A, transform.b):
        faiss.copy_array_to_vector(faiss.vector_to_array(numbers) * np.float32(scale), numbers)

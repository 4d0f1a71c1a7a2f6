"""The linear transform in front of an index, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Vectors


class Rotation(NamedTuple):
    """The transform of FAISS as arrays: FAISS wakes all threads for a single query, which takes fifty times as long."""

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def of(cls, transform: faiss.LinearTransform) -> Rotation:
        """Return the rotation that *transform* was trained to."""
        matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
        offset = faiss.vector_to_array(transform.b) if transform.have_bias else np.zeros(transform.d_out, np.float32)
        return cls(np.ascontiguousarray(matrix.T), offset)

    def apply(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim) in the space of the index."""
        return np.ascontiguousarray(vectors @ self.matrix + self.offset)

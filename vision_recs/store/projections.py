"""A projection: the linear map that was learnt for a shop, which makes the vectors of the store those of a new space.

Shards keep the vectors of the encoder; a generation that names a projection has it applied to them whenever they are
read, so that nothing is embedded again, and leaving it away undoes it. `projections/<digest>.safetensors` holds the
float32 tensors `mean` (dim) and `matrix` (dim, dim_out) and, as metadata, where they come from; <digest> is the SHA-256
of the file, in hexadecimal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged

_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header


@dataclass(frozen=True)
class Projection:
    """Vectors (n, dim) become (vectors - mean) @ matrix, which is (n, dim_out); *provenance* says how it was made."""

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """The number of columns of what comes out."""
        return int(self.matrix.shape[1])

    def apply(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return *vectors* (n, dim) projected, as yet not of unit length.

        It is computed in float64: the result of a vector then does not depend on which others it is projected with,
        once it is rounded to float32, whatever order BLAS adds up in.
        """
        return (vectors.astype(np.float64) - self.mean) @ self.matrix.astype(np.float64)

    def to_bytes(self) -> bytes:
        """Return the file of the projection; equal projections give equal bytes."""
        from safetensors.numpy import save

        tensors = {"mean": np.ascontiguousarray(self.mean), "matrix": np.ascontiguousarray(self.matrix)}
        return save(tensors, dict(self.provenance))


def fingerprint_of(encoder: str, digest: str) -> str:
    """Return the name of the space into which the projection of *digest* takes that of the fingerprint *encoder*."""
    return hashlib.sha256(f"{encoder} {digest}".encode()).hexdigest()[:16]


def read_projection(path: Path, *, digest: str, dim: int) -> Projection:
    """Return the projection in the file *path*, which has to have that *digest* and to take vectors of *dim* columns.

    Raises StoreDamaged: a projection that is not the right one would give wrong answers that look like right ones.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreDamaged(f"{path} was altered; run `visrec tune --undo`, or restore it from a backup")
        tensors = load(data)
        mean, matrix = tensors["mean"], tensors["matrix"]
        provenance = json.loads(data[_LENGTH_BYTES:][: int.from_bytes(data[:_LENGTH_BYTES], "little")])
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        raise StoreDamaged(
            f"{path} cannot be read ({error}); run `visrec tune --undo`, or restore it from a backup"
        ) from error
    if mean.shape != (dim,) or matrix.shape[:1] != (dim,):
        raise StoreDamaged(
            f"{path} takes vectors of {len(mean)} columns, and those of the store have {dim}; run `visrec tune --undo`"
        )
    return Projection(mean, matrix, provenance.get("__metadata__", {}))

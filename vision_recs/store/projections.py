"""A projection: the linear map that `visrec tune` learned; it takes the vectors of the store into a new space.

Shards keep the vectors of the encoder. A generation that names a projection applies it to the vectors whenever they are
read, so that nothing is embedded again; a generation without the projection undoes it. The file
`projections/<digest>.safetensors` holds the float32 tensors `mean` (dim) and `matrix` (dim, dim_out), or (dim) where
each number is multiplied by its own; and, for vectors of which some lack a part, float64 `parts` (n, 2): see `Part`. In
its metadata, under `provenance`, is a JSON object that says where they come
from; <digest> is the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, read_error

_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header
_PROVENANCE = "provenance"


class Part(NamedTuple):
    """The next *columns* of a vector, which may be zero as a whole; else, if no part is, they have this *length*."""

    columns: int
    length: float


@dataclass(frozen=True)
class Projection:
    """Takes vectors (n, dim) to (vectors - mean) @ matrix (n, dim_out); *provenance* says how it was learned.

    A *matrix* (dim,) is the diagonal of one: each number is multiplied by its own. With *parts*, what a vector lacks is
    average: the mean stands in the place of a part that is zero.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]
    provenance: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def dim(self) -> int:
        """The number of columns of projected vectors."""
        return int(self.matrix.shape[-1])

    def apply(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return *vectors* (n, dim) projected, not yet scaled to unit length.

        The products are computed in float64. Rounded to float32, the result for one vector then does not depend on the
        other vectors, whatever the order in which BLAS adds.
        """
        centered, matrix = vectors.astype(np.float64) - self.mean, self.matrix.astype(np.float64)
        return centered * matrix if matrix.ndim == 1 else centered @ matrix

    def completed(self, vectors: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return *vectors* (n, dim) with the mean in the place of NaN, and of a part that is zero: it is not known."""
        found: NDArray[np.floating] = np.where(np.isnan(vectors), self.mean, vectors)
        ends = np.cumsum([part.columns for part in self.parts], dtype=np.int64)
        blocks = [slice(end - part.columns, end) for end, part in zip(ends.tolist(), self.parts, strict=True)]
        is_whole = np.all([np.any(vectors[:, own], axis=1) for own in blocks], axis=0)
        lacking = np.flatnonzero(~is_whole) if blocks else np.empty(0, np.int64)
        for own, part in zip(blocks, self.parts, strict=True):
            rows = found[lacking, own]
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            known = part.length / np.where(lengths > 0, lengths, 1.0) * rows
            found[lacking, own] = np.where(lengths > 0, known, self.mean[own])
        return found

    def to_bytes(self) -> bytes:
        """Return the file of the projection; equal projections give equal bytes."""
        from safetensors.numpy import save

        tensors: dict[str, NDArray[np.floating]] = {
            "mean": np.ascontiguousarray(self.mean),
            "matrix": np.ascontiguousarray(self.matrix),
        }
        if self.parts:
            tensors["parts"] = np.array(self.parts, np.float64)
        # one key: safetensors writes several of them in an order that changes from process to process
        return save(tensors, {_PROVENANCE: json.dumps(self.provenance, sort_keys=True)})


def read_projection(path: Path, *, digest: str, dim: int) -> Projection:
    """Return the projection in the file *path*, which must have the SHA-256 *digest* and take vectors of *dim* columns.

    Raises StoreDamaged: another projection would give wrong answers that look right.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise read_error(path, error, "run `visrec tune --undo`, or restore it from a backup") from error
    return parse_projection(data, digest=digest, dim=dim, path=path)


def parse_projection(data: bytes, *, digest: str, dim: int, path: object) -> Projection:
    """Return the projection whose file, at *path*, holds *data*: see `read_projection`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreDamaged(f"{path} was altered; run `visrec tune --undo`, or restore it from a backup")
        tensors = load(data)
        mean, matrix = tensors["mean"], tensors["matrix"]
        parts = tuple(Part(int(columns), float(length)) for columns, length in tensors.get("parts", ()))
        header = json.loads(data[_LENGTH_BYTES:][: int.from_bytes(data[:_LENGTH_BYTES], "little")])
        provenance = json.loads(header.get("__metadata__", {}).get(_PROVENANCE, "{}"))
    except (ValueError, LookupError, SafetensorError) as error:
        raise read_error(path, error, "run `visrec tune --undo`, or restore it from a backup") from error
    if mean.shape != (dim,) or matrix.shape[:1] != (dim,) or matrix.ndim > 2:  # noqa: PLR2004 - a matrix has two
        raise StoreDamaged(
            f"{path} takes vectors of {len(mean)} columns, and those of the store have {dim}; run `visrec tune --undo`"
        )
    return Projection(mean, matrix, provenance, parts)

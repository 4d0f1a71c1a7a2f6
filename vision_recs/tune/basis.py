"""The principal axes of the vectors: where learning starts, and all that it works in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.store import Projection
from vision_recs.types import Vectors

_MOST_AXES = 512
_KEPT = 0.999  # of the variance: the axes beyond hold noise


@dataclass(frozen=True)
class Basis:
    """Principal axes (dim, r) of centerd vectors, the *variances* (r,) along them, descending, and *mean* (dim,)."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: Vectors) -> Basis:
        """Return the axes that hold nearly all of the variance of *vectors* (n, dim), n being 2 or more."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        centerd = (vectors - mean).astype(np.float32)
        if len(centerd) < centerd.shape[1]:  # the axes of few vectors come from their products with each other
            found, small = np.linalg.eigh((centerd @ centerd.T).astype(np.float64))
            axes = centerd.T @ small / np.sqrt(np.maximum(found, np.finfo(np.float64).tiny))
        else:
            found, axes = np.linalg.eigh((centerd.T @ centerd).astype(np.float64))
        variances, axes = found[::-1] / len(centerd), axes[:, ::-1]
        kept = np.cumsum(np.maximum(variances, 0.0)) / max(float(np.maximum(variances, 0.0).sum()), 1e-300)
        count = min(_MOST_AXES, int(np.searchsorted(kept, _KEPT)) + 1, len(variances))
        return cls(mean.astype(np.float32), axes[:, :count].astype(np.float32), variances[:count].astype(np.float32))

    def coordinates(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return *vectors* (n, dim) by their coordinates (n, r) along the axes."""
        found: NDArray[np.float32] = ((vectors - self.mean) @ self.axes).astype(np.float32)
        return found

    def start(self, dim: int, *, whitening: float) -> NDArray[np.float32]:
        """Return the map (r, dim) that keeps the first *dim* axes and evens out their spread.

        *whitening* 0 keeps the spread of each axis, 1 makes them equal, and what is between lies between.
        """
        scales = np.power(self.variances / self.variances[0], -whitening / 2)
        start: NDArray[np.float32] = np.diag(scales)[:, : min(dim, len(scales))].astype(np.float32)
        return np.ascontiguousarray(start)

    def projection(self, learnt: NDArray[np.float32]) -> Projection:
        """Return the projection of vectors that maps their coordinates by *learnt* (r, dim)."""
        return Projection(self.mean, np.ascontiguousarray(self.axes @ learnt))

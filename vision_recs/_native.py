"""The functions in C (`_kernels.c`) that read and compare vectors, where a compiler was there to install them.

Where *kernels* is None, NumPy does the same, several times slower and with other last bits.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray


class NativeKernels(Protocol):
    """What `_kernels.c` offers; arrays are in C order, and raise ValueError where they do not fit together."""

    def scale_half(
        self, half: NDArray[np.float16], units: NDArray[np.float32], alive: NDArray[np.bool_], dim: int, /
    ) -> None:
        """Write the rows of *half* (n, dim), scaled to length 1, to *units*, and to *alive* which have a direction."""
        ...

    def gather_half(  # noqa: PLR0913, PLR0917 - it is called for every query, and an object for them takes its time
        self,
        positions: NDArray[np.int64],
        firsts: NDArray[np.int64],
        ends: NDArray[np.int64],
        addresses: NDArray[np.int64],
        units: NDArray[np.float32],
        alive: NDArray[np.bool_],
        dim: int,
        /,
    ) -> int:
        """Do so with the vectors at *positions*, and return the first of them that is in no shard in memory, or -1.

        Shards, ascending, hold the positions from *firsts* up to *ends*, at *addresses*, which are 0 for those not in
        memory. They have to stay there meanwhile.
        """
        ...

    def cosines(
        self, vectors: NDArray[np.float32], queries: NDArray[np.float32], scores: NDArray[np.float32], dim: int, /
    ) -> None:
        """Write to *scores* what each of *vectors* (n, dim) scores with its query of *queries* (m, dim): n / m each."""
        ...


def _load() -> NativeKernels | None:
    if sys.byteorder != "little":  # as the vectors are kept
        return None
    try:
        return cast("NativeKernels", import_module("vision_recs._kernels"))
    except ImportError:
        return None


kernels = _load()

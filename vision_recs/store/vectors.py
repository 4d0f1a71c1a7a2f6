"""The vectors of a shard, mapped from their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.store.layout import VECTORS_FILE


def map_vectors(folder: Path, *, rows: int, dim: int) -> NDArray[np.float16]:
    """Map the vectors (rows, dim) of the shard in *folder*; raises StoreDamaged where they are no such array."""
    path = folder / VECTORS_FILE
    try:
        vectors: NDArray[np.float16] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # noqa: BLE001 - numpy evaluates the header, and a damaged one may raise anything
        raise StoreDamaged(f"{path} cannot be read ({error}); run `visrec verify`") from error
    if (vectors.shape, vectors.dtype.str) != ((rows, dim), "<f2"):
        raise StoreDamaged(
            f"{path} holds {vectors.dtype} of the shape {vectors.shape}, not float16 of {(rows, dim)}; "
            "run `visrec verify`"
        )
    return vectors

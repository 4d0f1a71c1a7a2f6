"""The vectors of a shard, mapped from their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.layout import VECTORS_FILE

_MAGIC = b"\x93NUMPY\x01\x00"


def map_vectors(folder: Path, *, rows: int, dim: int) -> NDArray[np.float16]:
    """Map the vectors (rows, dim) of the shard in *folder*; raises ValueError or OSError where they are no such array.

    It does what `numpy.load` does, which however has the header evaluated, and Python 3.11 cannot do that in several
    threads at once (python/cpython#106905).
    """
    path = folder / VECTORS_FILE
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + 2)
        header = file.read(int.from_bytes(start[len(_MAGIC) :], "little"))
    expected = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, {dim}), }}".encode()
    offset = len(start) + len(header)
    size = path.stat().st_size
    if start[: len(_MAGIC)] != _MAGIC or header.rstrip() != expected or size != offset + 2 * rows * dim:
        raise ValueError(f"its {size} bytes are not {rows} vectors of {dim} float16 numbers in the format of NumPy")
    # a plain array over the map: numpy's own class for maps takes a microsecond more for each row that is read
    return np.asarray(np.memmap(path, np.dtype("<f2"), "r", offset, (rows, dim)))

"""Arrays that are mapped from files of NumPy's format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged

_MAGIC = b"\x93NUMPY\x01\x00"


Number = TypeVar("Number", bound=np.generic)


def mmap_array(path: Path, dtype: type[Number], *, columns: bool = False) -> NDArray[Number]:
    """Map the array in *path*: one row of numbers, or with *columns* a matrix, in C order.

    `numpy.load` has the header evaluated, which Python 3.11 cannot do in several threads at once
    (python/cpython#106905). Raises StoreDamaged where the file is none or is cut off.
    """
    try:
        return _mapped(path, np.dtype(dtype), 1 + columns)
    except (OSError, ValueError) as error:
        raise StoreDamaged(f"{path} cannot be read ({error}); rebuild it with `visrec index`") from error


def _mapped(path: Path, dtype: np.dtype[Number], dimensions: int) -> NDArray[Number]:
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + 2)
        header = file.read(int.from_bytes(start[len(_MAGIC) :], "little")).decode("latin-1")
    shape = _shape(header, dtype)
    if start[: len(_MAGIC)] != _MAGIC or len(shape) != dimensions:
        raise ValueError("it is no such array")
    offset, size = len(start) + len(header), path.stat().st_size
    if size != offset + dtype.itemsize * math.prod(shape):
        raise ValueError(f"it has {size} bytes, where {shape} numbers of {dtype} should be")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", offset, shape))


def _shape(header: str, dtype: np.dtype[Number]) -> tuple[int, ...]:
    expected = f"{{'descr': '{dtype.newbyteorder('<').str}', 'fortran_order': False, 'shape': "
    if not header.startswith(expected):
        raise ValueError("its header is of another type")
    shape, _, _ = header.removeprefix(expected).partition("), }")
    return tuple(int(part) for part in shape.strip("( ").split(",") if part.strip())

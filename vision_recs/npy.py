"""Arrays in files of NumPy's format (.npy), mapped into memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import read_error

_MAGIC = b"\x93NUMPY\x01\x00"

Number = TypeVar("Number", bound=np.generic)


def mmap_array(path: Path, dtype: type[Number], *, columns: bool = False) -> NDArray[Number]:
    """Return the array in the file *path*, mapped: numbers (n,), or with *columns* a matrix (n, m) in C order.

    Raises StoreDamaged where the file is missing, cut off, or holds another kind of array.
    """
    try:
        return map_npy(path, dtype, 1 + columns)
    except (OSError, ValueError) as error:
        raise read_error(path, error, "rebuild it with `visrec index`") from error


def save_npy(path: Path, array: NDArray[np.generic]) -> None:
    """Write *array* to the file *path* in NumPy's format, little-endian and in C order.

    `numpy.save` writes through a stream of C, whose last bytes are lost without an error where the disk is full.
    """
    stored = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(stored))
        file.write(stored.data)


def map_npy(path: Path, dtype: type[Number], dimensions: int) -> NDArray[Number]:
    """Return the array of so many *dimensions* in the file *path*, mapped; raises OSError or ValueError.

    `numpy.load` does the same, but has Python evaluate the header, which Python 3.11 cannot do in several threads at
    once (python/cpython#106905). The result is a plain array: NumPy's own class for maps takes a microsecond more for
    each row that is read.
    """
    stored = np.dtype(dtype).newbyteorder("<")
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + 2)
        header = file.read(int.from_bytes(start[len(_MAGIC) :], "little")).decode("latin-1")
    shape = _shape(header, stored)
    if start[: len(_MAGIC)] != _MAGIC or len(shape) != dimensions:
        raise ValueError(f"it does not hold an array of {dimensions} dimensions in the format of NumPy")
    offset, size = len(start) + len(header), path.stat().st_size
    if size != offset + stored.itemsize * math.prod(shape):
        raise ValueError(f"it has {size} bytes, where an array {shape} of {stored} should be")
    if 0 in shape:
        return np.empty(shape, stored)
    return np.asarray(np.memmap(path, stored, "r", offset, shape))


def _shape(header: str, stored: np.dtype[Number]) -> tuple[int, ...]:
    expected = f"{{'descr': '{stored.str}', 'fortran_order': False, 'shape': "
    if not header.startswith(expected):
        raise ValueError(f"its header does not describe {stored} in C order")
    shape, _, _ = header.removeprefix(expected).partition("), }")
    return tuple(int(part) for part in shape.strip("( ").split(",") if part.strip())

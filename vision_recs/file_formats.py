"""The formats of the files that visrec reads by itself: JSON with a checksum, and NumPy's arrays (.npy), mapped."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, read_error

_CHECKSUM = "checksum"
_CHECKSUM_LINE = re.compile(rb'(,\n|\{\n) "checksum": "([0-9a-f]{64})"(,\n|\n)')
_MAGIC = b"\x93NUMPY\x01\x00"

Number = TypeVar("Number", bound=np.generic)


def dump_checksummed(value: Mapping[str, Any]) -> bytes:
    """Return *value* as readable JSON that carries the SHA-256 of itself under the key "checksum".

    Equal values give equal bytes: keys are sorted. Each of them has a line, and so has each element of a list under it:
    JSON that is indented throughout is written by Python, in ten times the time. Raises ValueError for NaN, infinity,
    or a key "checksum" of its own.
    """
    if _CHECKSUM in value:
        raise ValueError(f"the key {_CHECKSUM!r} belongs to the checksum; keep {value[_CHECKSUM]!r} under another key")
    texts = {key: _text(each) for key, each in value.items()}
    return _joined({**texts, _CHECKSUM: f'"{hashlib.sha256(_joined(texts)).hexdigest()}"'})


def load_checksummed(data: bytes) -> dict[str, Any]:
    """Return what was dumped, without its checksum; raises StoreDamaged where a single byte differs."""
    found = _CHECKSUM_LINE.findall(data)
    if len(found) != 1:
        raise StoreDamaged(f"{len(data)} bytes are not checksummed JSON; restore or rebuild them")
    before, checksum, after = found[0]
    # what was dumped is the text without the line of the checksum; writing it anew would take longer than reading it
    plain = data.replace(before + _line(checksum) + after, before if after == b",\n" else b"\n", 1)
    if before == b"{\n" and after == b"\n":
        plain = b"{}\n"
    if hashlib.sha256(plain).hexdigest().encode() != checksum:
        raise StoreDamaged(
            f"{len(data)} bytes of checksummed JSON were altered since they were written; restore or rebuild them"
        )
    try:
        value: dict[str, Any] = json.loads(data)
        del value[_CHECKSUM]
    except (ValueError, LookupError, TypeError) as error:
        raise StoreDamaged(f"{len(data)} bytes with a checksum are not JSON; restore or rebuild them") from error
    return value


def is_newer(found: object, known: int) -> bool:
    """Return whether *found*, the format that a file says it has, is newer than *known*.

    A file that says nothing of the kind has another content than it should.
    """
    return isinstance(found, int) and found > known


def _line(checksum: bytes) -> bytes:
    return b' "checksum": "' + checksum + b'"'


def _text(value: object) -> str:
    if not isinstance(value, list | tuple) or not value:
        return _to_json(value)
    return "[\n  " + ",\n  ".join(map(_to_json, value)) + "\n ]"


def _joined(texts: Mapping[str, str]) -> bytes:
    lines = ",\n".join(f" {_to_json(key)}: {texts[key]}" for key in sorted(texts))
    return (f"{{\n{lines}\n}}\n" if lines else "{}\n").encode()


_to_json = json.JSONEncoder(sort_keys=True, allow_nan=False).encode


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

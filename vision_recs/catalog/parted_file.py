"""Files that are read here and there, wherever their bytes lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BufferedReader, RawIOBase
from typing import BinaryIO, Protocol, cast

_READ_AHEAD = 1 << 22


class HasParts(Protocol):
    """Bytes of a known number, which are read in parts."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def part(self, start: int, length: int) -> bytes:
        """Return *length* bytes from *start*, fewer at the end; safe to call from several threads."""
        ...


def opened(parts: HasParts) -> BinaryIO:
    """Return *parts* as a file."""
    return cast("BinaryIO", BufferedReader(PartedFile(parts.part, parts.size), _READ_AHEAD))


class Parts:
    """The bytes of an open file of *size* bytes, which is closed when nobody reads it any more."""

    def __init__(self, file: BinaryIO) -> None:
        """Read *file*, which its owner may close."""
        self._file = os.dup(file.fileno())
        self.size = os.fstat(self._file).st_size

    def part(self, start: int, length: int) -> bytes:
        """Return *length* bytes from *start*, fewer at the end; safe to call from several threads."""
        return os.pread(self._file, length, start)

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            os.close(self._file)


class PartedFile(RawIOBase):
    """A file of *size* bytes, whose parts are read by a function of their start and length."""

    def __init__(self, part: Callable[[int, int], bytes], size: int) -> None:
        """Begin at the first byte."""
        self._part = part
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to *offset*, counted from the start, from here or from the end; return the place."""
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill *buffer* as far as the file goes, and return by how many bytes."""
        length = min(len(buffer), self._size - self._place)
        if length <= 0:
            return 0
        data = self._part(self._place, length)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

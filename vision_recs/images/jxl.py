"""The size of a JPEG XL image by its header (ISO/IEC 18181-1 and -2), before any pixel is decoded."""

from __future__ import annotations

from typing import Final

_CODESTREAM: Final = b"\xff\x0a"
_CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDE_BITS: Final = (9, 13, 18, 30)


def jxl_size(data: bytes) -> tuple[int, int]:
    """Return width and height of the JPEG XL image *data*; raises ValueError where there is no header."""
    codestream = _first_codestream(data) if data.startswith(_CONTAINER) else data
    if not codestream.startswith(_CODESTREAM):
        raise ValueError("the image has no codestream")
    bits = _Bits(codestream[2:16])
    is_small = bits.take(1) == 1
    height = bits.side(is_small=is_small)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return bits.side(is_small=is_small), height


class _Bits:
    """Takes numbers out of bytes, the lowest bits first."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value

    def side(self, *, is_small: bool) -> int:
        return (self.take(5) + 1) * 8 if is_small else self.take(_SIDE_BITS[self.take(2)]) + 1


def _first_codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream in the boxes of the container *data*."""
    at = 0
    while at + 8 <= len(data):
        size, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if name in {b"jxlc", b"jxlp"}:
            start = at + head + (4 if name == b"jxlp" else 0)
            return data[start : start + 32]
        if size < head:
            break
        at += size
    return b""

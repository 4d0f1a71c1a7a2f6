"""Valid files that Pillow refuses, and files that lack nothing but their last marker: brought to a form that it takes.

PNG   text and profiles that unpack to more than 1 MB, and ancillary chunks with a wrong checksum, are left out; libpng
      does so too
JPEG  an image whose last marker is missing gets one, if every pixel is there
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, TypeVar

import simplejpeg

from vision_recs.errors import ImageError

T = TypeVar("T")

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_END_OF_JPEG: Final = b"\xff\xd9"
_TEXT: Final = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE: Final = b"iCCP"
_LARGEST_PROFILE: Final = 2**20
"""The most bytes of a profile that Pillow unpacks."""


def read_mended(read: Callable[[bytes], T], data: bytes) -> T:
    """Return what *read* makes of the image *data*, or of a mended form where *data* seem damaged; raises ImageError.

    A good image costs nothing: a form is looked for only after *read* has raised "truncated".
    """
    try:
        return read(data)
    except ImageError as error:
        mended = _mended(data) if error.reason == "truncated" else None
        if mended is None:
            raise
    return read(mended)


def _mended(data: bytes) -> bytes | None:
    if data.startswith(_PNG):
        return _png_without_extras(data)
    if data.startswith(_JPEG) and _is_complete(data):
        return data + _END_OF_JPEG
    return None


def _png_without_extras(data: bytes) -> bytes | None:
    """Return the PNG *data* without texts, large profiles and broken ancillary chunks; None where it has none."""
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        name, chunk = data[at + 4 : at + 8], data[at:end]
        is_ancillary = bool(name[:1].islower())
        if not (is_ancillary and (name in _TEXT or _is_broken(chunk) or _is_large_profile(name, chunk))):
            kept.append(chunk)
        at = end
    kept.append(data[at:])
    mended = b"".join(kept)
    return mended if len(mended) < len(data) else None


def _is_broken(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big")


def _is_large_profile(name: bytes, chunk: bytes) -> bool:
    if name != _PROFILE:
        return False
    _, _, packed = chunk[8:-4].partition(b"\0")
    try:
        return len(zlib.decompressobj().decompress(packed[1:], _LARGEST_PROFILE + 1)) > _LARGEST_PROFILE
    except zlib.error:
        return True


def _is_complete(data: bytes) -> bool:
    """Return whether every pixel of the JPEG *data* is there: libjpeg-turbo then has nothing to warn of."""
    try:
        simplejpeg.decode_jpeg(data + _END_OF_JPEG, strict=True)
    except (ValueError, RuntimeError, MemoryError):
        return False
    return True

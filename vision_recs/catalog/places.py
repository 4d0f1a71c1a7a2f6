"""Where the files of a catalog lie: on this machine, in a bucket, or on a web server; packed by gzip or not."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import threading
import zlib
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from vision_recs.catalog.parted_file import Parts, opened
from vision_recs.errors import CatalogError

if TYPE_CHECKING:  # a file on this machine needs none of them
    from vision_recs.catalog.bucket_path import BucketPath
    from vision_recs.catalog.web_file import WebFile
    from vision_recs.remote.object_store import ObjectError, ObjectParts

LARGE = 1 << 30
MOST_TIMES = 200
"""A file is not read that unpacks to more than LARGE bytes, and to more than so many times its size."""

_GZIP = b"\x1f\x8b"
_UNPACKED_AT_MOST = 4  # files that are kept on the disk at a time


Folder: TypeAlias = "Path | BucketPath"
"""What may have files below it."""

Place: TypeAlias = "Folder | WebFile"


def unreadable(error: ObjectError, path: str) -> CatalogError:
    """Return what is raised where a catalog at *path* cannot be read because of *error*."""
    return CatalogError(f"{error}; {error.remedy}", path=path)


def open_plain(place: str | Place) -> BinaryIO:
    """Open the file at *place* as it lies there; raises OSError."""
    return Path(place).open("rb") if isinstance(place, str | Path) else place.open()


def open_unpacked(place: str | Place) -> BinaryIO:
    """Open the file at *place* to be read from its begin, unpacked where gzip has packed it.

    Raises OSError; reading raises EOFError and zlib.error where the packed file is damaged, and CatalogError where it
    unpacks to far more than it seems.
    """
    file = open_plain(place)
    packed = file.read(len(_GZIP)) == _GZIP
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return cast("BinaryIO", _Unpacked(str(place), file, size)) if packed else file


class _Unpacked(gzip.GzipFile):
    """What gzip has packed; raises CatalogError where that is far more than it seems."""

    def __init__(self, path: str, file: BinaryIO, size: int) -> None:
        super().__init__(fileobj=file)
        self._path = path
        self._most = max(LARGE, MOST_TIMES * size)
        self._packed = file

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() > self._most:
            raise bomb(self._path)
        return data

    def close(self) -> None:
        super().close()
        self._packed.close()


def bomb(path: str, remedy: str = "unpack it") -> CatalogError:
    """Return the error of a file *path* that unpacks to far more than its size; where that is right, *remedy* helps."""
    return CatalogError(
        f"the file unpacks to over {LARGE >> 30} GiB and {MOST_TIMES} times its size; {remedy} if that is right",
        path=path,
    )


def version_of(place: Place) -> str:
    """Return what changes whenever the file at *place* does; raises OSError."""
    return str(place.stat().st_mtime_ns) if isinstance(place, Path) else place.status().signature


def open_parquet(place: Place, version: str, **options: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """Return the Parquet file at *place*, of that *version*, opened with *options* of pyarrow.

    Raises OSError and ArrowException.
    """
    import pyarrow.parquet as pq

    is_plain = isinstance(place, Path) and not is_packed(place)
    return pq.ParquetFile(place if is_plain else open_parts(place, version), **options)


def extension_of(name: str) -> str:
    """Return the extension of *name* in lower case, without that of gzip."""
    name = name.lower().removesuffix(".gz")
    return ".tar" if name.endswith(".tgz") else PurePosixPath(name).suffix


def is_packed(place: Place) -> bool:
    """Whether the name of *place* says that gzip has packed the file."""
    return place.name.lower().endswith((".gz", ".tgz"))


def parts_of(place: Place, version: str) -> Parts | ObjectParts:
    """Return the bytes of the file at *place*, of that *version*, unpacked where gzip has packed it.

    The last few files that were unpacked are kept, in temporary files. Raises OSError and CatalogError.
    """
    if is_packed(place):
        return _unpacked_parts(place, version)
    if not isinstance(place, Path):
        return place.parts(version)
    with place.open("rb") as file:
        return Parts(file)


def size_of(place: Place) -> int:
    """Return the bytes of the file at *place* as it lies there; raises OSError."""
    return place.stat().st_size if isinstance(place, Path) else place.status().size


def open_parts(place: Place, version: str) -> BinaryIO:
    """Open the file at *place* like `parts_of`, as a file that can be read here and there."""
    return opened(parts_of(place, version))


_unpacked: OrderedDict[tuple[str, str], Parts] = OrderedDict()
_unpacking = threading.Lock()


def _unpacked_parts(place: Place, version: str) -> Parts:
    with _unpacking:
        key = (str(place), version)
        parts = _unpacked.pop(key, None) or _unpack(place)
        _unpacked[key] = parts
        while len(_unpacked) > _UNPACKED_AT_MOST:
            _unpacked.popitem(last=False)
        return parts


def _unpack(place: Place) -> Parts:
    with tempfile.TemporaryFile() as copy:
        try:
            with open_unpacked(place) as file:
                shutil.copyfileobj(file, copy, 1 << 20)
        except (EOFError, zlib.error) as error:
            raise OSError(0, f"it is damaged: {error}") from error
        copy.flush()
        return Parts(cast("BinaryIO", copy))

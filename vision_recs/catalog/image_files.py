"""The default source of images: files below a folder."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from vision_recs.errors import CatalogError, ImageError, is_shortage, machine_remedy
from vision_recs.types import ImageData, ImageSource, Unchanged

MAX_IMAGE_BYTES: Final = 2**29
"""The largest file that is read: an uncompressed RGB image of 179 megapixels, more than are decoded."""

_RACY_NS = 2_000_000_000


class ImageFiles:
    """Image files, named relative to one folder; an `ImageSource`.

    A reference is a relative path, an absolute path or a file:// URL. If no file has a name with these backslashes,
    they are read as slashes: the table may come from Windows.
    """

    def __init__(self, root: str) -> None:
        """Resolve references against *root*, an absolute path; where *root* is empty, there are no files."""
        self._root = Path(root) if root else None

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image *reference*, or Unchanged if its signature is still *known*.

        The signature is made of size, mtime and ctime of the file. It is None where the file changed less than 2
        seconds ago: another change within the same tick of the file system's clock would leave all three as they are.

        Raises ImageError (missing, unreadable, empty or too-large), and CatalogError where the process has no more
        memory or open files.
        """
        path = Path(reference)
        try:
            path = self._path(reference)
            status = path.stat()
            signature = _signature(status)
            if known is not None and signature == known:
                return Unchanged()
            data = _read_regular(path, status)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise ImageError("missing", f"there is no file {str(path)!r}; check the path in the catalog") from error
        except OSError as error:
            if is_shortage(error):  # the image is not to be skipped for it
                why = f"cannot be read ({error.strerror}); {machine_remedy(error)}, then run again"
                raise CatalogError(why, path=str(path)) from error
            raise ImageError(
                "unreadable", f"{str(path)!r} cannot be read ({error.strerror}); check the file"
            ) from error
        if not data:
            raise ImageError("empty", f"{str(path)!r} has no bytes; copy the image again")
        return ImageData(data, signature)

    def _path(self, reference: str) -> Path:
        if self._root is None:
            raise ImageError(
                "missing", f"the catalog does not say how {reference!r} is read; open the store with images=..."
            )
        if reference[:7].lower() == "file://":
            reference = unquote(urlsplit(reference).path)
        path = self._root / reference
        if "\\" in reference and not path.exists():
            path = self._root / reference.replace("\\", "/")
        return path


def _signature(status: os.stat_result) -> str | None:
    # ctime alone decides: every change moves it, and no program can set it back.
    if time.time_ns() - status.st_ctime_ns < _RACY_NS:
        return None
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _read_regular(path: Path, status: os.stat_result) -> bytes:
    # Opening a pipe would wait for a writer, and a device may never end.
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    _check_size(path, status.st_size)
    with path.open("rb") as file:
        data = file.read(status.st_size + 1)
        if len(data) > status.st_size:  # the file has grown, or its size is not known before it is read
            data += file.read(MAX_IMAGE_BYTES + 1 - len(data))
            _check_size(path, len(data))
    return data


def _check_size(path: Path, size: int) -> None:
    if size > MAX_IMAGE_BYTES:
        raise ImageError(
            "too-large", f"{str(path)!r} has {size} bytes, over the limit of {MAX_IMAGE_BYTES}; replace the file"
        )


def image_bytes(images: ImageSource, reference: str) -> bytes:
    """Return the bytes of the image *reference* in *images*; raises ImageError."""
    image = images.read(reference)
    if isinstance(image, Unchanged):
        raise TypeError(f"{type(images).__name__}.read returned Unchanged, though no signature is known")
    return image.data

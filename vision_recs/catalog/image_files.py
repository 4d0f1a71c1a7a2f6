"""The bytes of images that lie in files."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vision_recs.errors import CatalogError, ImageError, is_shortage, machine_remedy

_RACY_NS = 2_000_000_000


class ImageFiles:
    """Image files, named relative to one folder.

    A reference is a relative path, an absolute path or a file:// URL. If no file has a name with these backslashes,
    they are read as slashes: the table may come from Windows.
    """

    def __init__(self, root: str) -> None:
        """Resolve references against *root*, an absolute path."""
        self._root = Path(root)

    def read(self, reference: str) -> bytes:
        """Return the bytes of an image; raises ImageError: missing, unreadable or empty.

        Raises CatalogError where the process has no more memory or open files.
        """
        path = Path(reference)
        try:
            path = self._path(reference)
            data = _read_regular(path)
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
        return data

    def signature(self, reference: str) -> str | None:
        """Return size, mtime and ctime of the file, or None where they cannot be trusted.

        They cannot be trusted where the file is missing, and where it changed less than 2 seconds ago: another change
        within the same tick of the file system's clock would leave all three as they are.
        """
        try:
            status = self._path(reference).stat()
        except (OSError, ValueError):
            return None
        # ctime alone decides: every change moves it, and no program can set it back.
        if time.time_ns() - status.st_ctime_ns < _RACY_NS:
            return None
        return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"

    def _path(self, reference: str) -> Path:
        if reference[:7].lower() == "file://":
            reference = unquote(urlsplit(reference).path)
        path = self._root / reference
        if "\\" in reference and not path.exists():
            path = self._root / reference.replace("\\", "/")
        return path


def _read_regular(path: Path) -> bytes:
    # Opening a pipe would wait for a writer, and a device may never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "not a regular file")
    return path.read_bytes()

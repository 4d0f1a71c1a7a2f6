"""The SHA-256 of the files of a copy, so that publishing reads the bytes of those alone that are new."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from vision_recs.store.atomic_files import atomic_write, sha256_file
from vision_recs.store.bucket.listing import Content

DIGESTS = ".digests"
"""The file of a copy that says which digests its files had when they were published."""


class Digests:
    """The digests of files that were read before, in this process or an earlier one.

    A file is known again, by whatever name, where its inode, its size and the time of its last change are those that it
    had when it was read: files of a store are not written again, and one that takes the place of another is newer.
    """

    def __init__(self, root: Path) -> None:
        """Know what the copy in the folder *root* knew last."""
        self._file = root / DIGESTS
        self._known = _read(self._file)
        self._used: dict[tuple[int, int, int], str] = {}

    def content_of(self, path: Path) -> Content:
        """Return the digest and the size of the file *path*, which is read if it is not known."""
        status = path.stat()
        mark = status.st_ino, status.st_size, status.st_mtime_ns
        self._used[mark] = self._known.get(mark) or sha256_file(path)
        return Content(self._used[mark], status.st_size)

    def keep(self, tmp: Path) -> None:
        """Write the digests of the files that were asked for; *tmp* is a folder on the same file system."""
        if self._used != self._known:
            data = json.dumps([[*mark, digest] for mark, digest in self._used.items()]).encode()
            with suppress(OSError):  # they only save time, and the bucket has the generation already
                atomic_write(data, self._file, tmp)


def _read(file: Path) -> dict[tuple[int, int, int], str]:
    try:
        return {
            (int(inode), int(size), int(changed)): str(digest)
            for inode, size, changed, digest in json.loads(file.read_text("utf-8"))
        }
    except (OSError, ValueError, TypeError):  # it only saves time
        return {}

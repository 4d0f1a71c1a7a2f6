"""The folder for what is derived and may be deleted at any time: converted models, thumbnails, lookups."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from vision_recs.errors import CacheError


def cache_dir() -> Path:
    """Return $VISREC_CACHE, or visrec in $XDG_CACHE_HOME, or ~/.cache/visrec; the folder need not exist.

    A user without a home, as in a container, gets a folder of their own among the temporary files. Raises
    CacheError where others could write to that one.
    """
    if named := os.environ.get("VISREC_CACHE"):
        return Path(named)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "visrec"
    try:
        return Path.home() / ".cache" / "visrec"
    except RuntimeError:
        return _temporary()


def _temporary() -> Path:
    path = Path(tempfile.gettempdir()) / f"visrec-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise CacheError(f"{path} belongs to somebody else; name a folder for the cache in VISREC_CACHE")
    return path

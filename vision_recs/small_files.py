"""Text files that a person wrote and names: rules, a history, a list of stores, a secret."""

from __future__ import annotations

import errno
import os
from pathlib import Path

MOST_AT_ONCE = 1 << 26
"""Bytes of such a file, and characters of a line of a larger one."""


def text_of(path: str | Path) -> str:
    """Return the UTF-8 text of the file *path*, which may be a pipe, without the byte order mark of some editors.

    Raises OSError, also for more than MOST_AT_ONCE bytes, as devices without an end have, and UnicodeDecodeError.
    """
    with Path(path).open("rb") as file:
        data = file.read(MOST_AT_ONCE + 1)
    if len(data) > MOST_AT_ONCE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data.decode("utf-8-sig")

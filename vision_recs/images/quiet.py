"""Silence for Pillow's warnings while it reads the bytes of strangers."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_inside = 0


@contextmanager
def pillow_is_quiet() -> Iterator[None]:
    """Ignore the warnings of Pillow (corrupt EXIF, sizes over its own limit) while any thread is in here.

    `warnings.catch_warnings` would do for one thread. From several it restores the wrong filters, and each time it
    makes Python forget which warnings it has shown, so that those of other libraries come again. One filter that the
    first thread puts in and the last one takes out has neither fault.
    """
    global _inside  # noqa: PLW0603 - Python's filters are one list for the process, and so is this count
    with _lock:
        _inside += 1
        if _IGNORE_PILLOW not in _filters():
            _filters().insert(0, _IGNORE_PILLOW)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _IGNORE_PILLOW in _filters():
                _filters().remove(_IGNORE_PILLOW)


def _filters() -> list[Any]:
    return cast("list[Any]", warnings.filters)

"""Large blocks of memory go back to the system when they are freed, for a run that takes and frees many of them."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt in glibc
_LARGE, _KEPT = 256 << 10, 1 << 20
"""Blocks from so many bytes on are mapped one by one; so many bytes at the end of the heap are kept."""


def give_back_large_blocks() -> None:
    """Let the C library of this process give back what is large at once; where it is not glibc, nothing changes.

    By itself, glibc keeps blocks of up to 32 MB, once one was freed, in an arena for each thread: the threads of an
    engine then hold as much as they have ever read, up to the whole catalog.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another library; and Windows has none to ask
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, _KEPT)

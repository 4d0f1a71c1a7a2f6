"""stdin, stdout and stderr as the program needs them, whatever it was started with."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def prepare_streams() -> None:
    """Make the three standard streams usable.

    A stream that is closed becomes one that fails: otherwise the next file that is opened gets its number, and a
    library that prints would write into that file. Bytes of a name that are not text are shown as escapes. What
    cannot be written to stderr is lost, and the work goes on.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: PTH123, SIM115 - a number, open to the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] - these are text files
    sys.stderr = _Lossy(sys.stderr)  # type: ignore[assignment] - it does what a text file does


class _Lossy:
    """A text file of which what cannot be written is lost."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

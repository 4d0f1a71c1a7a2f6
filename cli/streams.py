"""The standard streams of the program: usable, and harmless to a terminal, whatever is printed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper

from vision_recs.errors import VisionRecsError

from .terminal import lines


class OutputError(VisionRecsError):
    """What was to be printed cannot be written to stdout."""


def prepare_streams() -> None:
    """Make the three standard streams usable.

    A stream that is closed becomes one that fails: otherwise the next file that is opened gets its number, and a
    library that prints would write into that file. Bytes of a name that are not text, and characters that control a
    terminal, are shown as escapes. What cannot be written to stdout raises OutputError; what cannot be written to
    stderr is lost, and the work goes on.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, which is this one
    sys.stdout = _Stdout(sys.stdout, 1)
    sys.stderr = _Stderr(sys.stderr, 2)


def abandon_stdout() -> None:
    """Do not try again at the end of the process to write what could not be written."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Stream(TextIOWrapper):
    def __init__(self, before: object, number: int) -> None:
        if isinstance(before, TextIOWrapper):
            encoding, is_direct, by_line = before.encoding, before.write_through, before.line_buffering
            buffer = before.detach()
        else:
            encoding, is_direct, by_line = "utf-8", False, False
            buffer = open(number, "wb", closefd=False)  # noqa: SIM115 - a number, open to the end
        super().__init__(buffer, encoding, "backslashreplace", line_buffering=by_line, write_through=is_direct)


class _Stdout(_Stream):
    def write(self, text: str) -> int:
        try:
            return super().write(lines(text))
        except OSError as error:
            raise _failure(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _failure(error) from error


class _Stderr(_Stream):
    def write(self, text: str) -> int:
        return self.write_as_is(lines(text))

    def write_as_is(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


class TerminalOfBar(_Stderr):
    """Stderr for a progress bar, which moves the cursor of the terminal."""

    def __init__(self) -> None:
        """Write to the file that stderr is."""
        super().__init__(None, 2)

    def write(self, text: str) -> int:
        """Write *text* with all that is in it."""
        return self.write_as_is(text)


def _failure(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):  # the reader left, as `head` does
        return error
    return OutputError(f"the output cannot be written ({error.strerror})")

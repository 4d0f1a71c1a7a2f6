"""Text files as shops write them become lines: gzip, UTF-8, UTF-16, Windows-1252, and every kind of line end."""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import Place, open_unpacked
from vision_recs.errors import CatalogError, first_line, machine_remedy
from vision_recs.small_files import MOST_AT_ONCE

_BLOCK = 1 << 18
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SHOWN = 40


def text_lines(path: str | Place, findings: Findings) -> Iterator[str]:
    r"""Yield the lines of the text file *path* with their ends (\n, \r\n or \r), without a byte order mark.

    A file that gzip has packed is unpacked. An encoding other than UTF-8 is a note in *findings*, and so is a NUL
    character, which becomes U+FFFD. Raises CatalogError where the file cannot be read.
    """
    with opened(path) as file:
        yield from _lines(str(path), _texts(file, findings))


@contextmanager
def opened(path: str | Place) -> Iterator[BinaryIO]:
    """Open the file *path* to be read, unpacked where gzip has packed it; raises CatalogError."""
    try:
        with open_unpacked(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        remedy = machine_remedy(error) or "check the disk, or write the file again"
        raise CatalogError(f"the file cannot be read ({first_line(error)}); {remedy}", path=str(path)) from error


def _texts(file: BinaryIO, findings: Findings) -> Iterator[str]:
    """Yield the text of *file* in blocks, none of which is empty."""
    block = file.read(_BLOCK)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if block.startswith(mark)), (b"", ""))
    encoding = encoding or _unmarked_utf16(block) or "utf-8"
    block = block[len(mark) :]
    decoder: Any = _Utf8(findings, is_sure=bool(mark))
    if encoding != "utf-8":
        findings.note("the text is UTF-16, and was read as that")
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    while block:
        text = decoder.decode(block)
        block = file.read(_BLOCK)
        if not block:
            text += decoder.decode(b"", final=True)
        if "\0" in text:
            findings.note("the text holds NUL characters, which are shown as \ufffd")
            text = text.replace("\0", "\ufffd")
        if text:
            yield text


def _unmarked_utf16(block: bytes) -> str | None:
    """Return the encoding of a *block* of which every other byte is zero, as Latin letters are in UTF-16."""
    even, odd = block[:512:2], block[1:512:2]
    if odd and not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if even and not any(even) and all(odd) else None


class _Utf8:
    """Decodes UTF-8; a line that is something else is Windows-1252, unless the file has shown that it is UTF-8."""

    def __init__(self, findings: Findings, *, is_sure: bool) -> None:
        self._findings = findings
        self._is_sure = is_sure
        self._rest = b""

    def decode(self, block: bytes, *, final: bool = False) -> str:
        data = self._rest + block
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            text, used = self._by_lines(data, final=final)
        else:
            self._is_sure = self._is_sure or not text.isascii()
        self._rest = data[used:]
        return text

    def _by_lines(self, data: bytes, *, final: bool) -> tuple[str, int]:
        lines = data.splitlines(keepends=True)
        if not final:
            lines.pop()  # it may go on in the next block
        return "".join(map(self._line, lines)), sum(map(len, lines))

    def _line(self, raw: bytes) -> str:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            shown = raw.decode("utf-8" if self._is_sure else "cp1252", "replace")
            excerpt = shown.strip()[:_SHOWN]
            if self._is_sure:
                self._note("some bytes are not UTF-8 and are shown as \ufffd", excerpt)
            else:
                self._note("the text is not UTF-8 and was read as Windows-1252", excerpt)
            return shown
        self._is_sure = self._is_sure or not text.isascii()
        return text

    def _note(self, what: str, excerpt: str) -> None:
        if not any(note.startswith(what) for note in self._findings.notes):
            self._findings.note(f"{what}, first in {excerpt!r}; save the table as UTF-8")


def _lines(path: str, texts: Iterator[str]) -> Iterator[str]:
    r"""Yield the lines of *texts*, which may end anywhere, with their ends; only \n, \r\n and \r end a line."""
    pieces: list[str] = []
    length = 0
    for text in texts:
        length += len(text)
        if length > MOST_AT_ONCE:
            raise CatalogError(f"a line has more than {MOST_AT_ONCE:,} characters; break it up", path=path)
        pieces.append(text)
        if "\n" in text or "\r" in text:
            # the last one is kept back: after \r, a \n may come
            *lines, last = io.StringIO("".join(pieces), newline="")
            yield from lines
            pieces = [last]
            length = len(last)
    yield from io.StringIO("".join(pieces), newline="")

"""What the readers of tables have in common: rows of cells, and text lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_recs.errors import CatalogError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Rows:
    """A table while it is read, once.

    *cells* yields, for each row, its number (from 1) and its cells in the order of *columns*. Where *open_ended*,
    later rows may append to *columns*, and the cells of earlier rows are fewer. Where *textual*, cells are text
    whose types are still to be found. *unit* is what the numbers count: "line" or "row".
    """

    path: str
    columns: list[str]
    cells: Iterator[tuple[int, list[object]]]
    open_ended: bool = False
    textual: bool = False
    unit: str = "line"


def text_lines(path: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends, without a byte order mark.

    Raises CatalogError where the file cannot be read, is not UTF-8 or holds a NUL byte.
    """
    offset = 0
    try:
        with Path(path).open("rb") as file:
            for line, raw in enumerate(file, 1):
                yield _decoded(raw, offset, path=path, line=line)
                offset += len(raw)
    except OSError as error:
        raise CatalogError(f"the file cannot be read ({error.strerror}); check its permissions", path=path) from error


def _decoded(raw: bytes, offset: int, *, path: str, line: int) -> str:
    start = len(_BYTE_ORDER_MARK) if offset == 0 and raw.startswith(_BYTE_ORDER_MARK) else 0
    try:
        text = raw[start:].decode()
    except UnicodeDecodeError as error:
        place = start + error.start
        raise CatalogError(
            f"byte 0x{raw[place]:02x} at offset {offset + place} is not UTF-8; save the table as UTF-8",
            path=path,
            line=line,
        ) from error
    if "\0" in text:
        place = offset + raw.index(0)
        raise CatalogError(f"a NUL byte at offset {place}; a table is text, save it again", path=path, line=line)
    return text

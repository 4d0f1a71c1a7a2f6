"""The attributes of a generation by column, memory-mapped: a filter becomes a few passes over arrays.

`columns/000007.bin` is derived from `items/000007.sqlite` and may be deleted at any time; filters then ask SQLite, and
the next `visrec index` writes it again. It holds little-endian arrays, each at a multiple of 64 bytes; then the footer,
a JSON object; then 48 bytes: the footer's length (unsigned, 8 bytes), its SHA-256 and `visrec C`.

The footer has `format`, `items` (the SHA-256 of the items file), `data` (that of all before the footer), `types` (for
each attribute the sum of what the items hold: 1 text, 2 numbers, 4 true or false) and `groups`. Items are numbered in
the order of their ids, and each group has the next `items` of them, `arrays` and `attributes`. An array is given as its
type in NumPy's words, its offset and its length:

positions      where the vectors of the rows of the group are, item by item, for each item by ordinal
counts         how many rows each item has; left out where all have one

and for each attribute that is not null in the whole group:

items          the items of the group in which it is not null, ascending, of which the arrays below tell; left out
               where they tell of all items
kinds          0 null, 1 text, 2 number, 3 false, 4 true, 5 what is no attribute, as a list
codes          0 for what is no text, else the number of the text in the dictionary, counted from 1
texts, ends    the dictionary: texts in UTF-8, ascending by byte, one after the other, and where each ends
numbers        float64, NaN for what is no number
large, exact   whole numbers that float64 does not hold exactly: their places in `numbers`, and themselves as int64
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, UnknownFormat

if TYPE_CHECKING:  # the columns are opened with the store, the language of filters is loaded by the first filter
    from vision_recs.filters import AttributeType

FORMAT = 1
MAGIC = b"visrec C"
ALIGNMENT = 64
TRAILER = 8 + 32 + len(MAGIC)

NULL, TEXT, NUMBER, FALSE, TRUE, OTHER = range(6)
"""The kinds of values."""

Extent: TypeAlias = tuple[str, int, int]
"""The type, the offset and the length of an array in the file."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the items: where the vectors of their rows are, and their attributes, array by array."""

    items: int
    arrays: Mapping[str, Extent]
    attributes: Mapping[str, Mapping[str, Extent]] = field(default_factory=dict)


class Columns:
    """The columns of one generation."""

    def __init__(self, path: Path, *, items_digest: str) -> None:
        """Map *path*, which was made from the items of *items_digest*; what it holds is read when it is asked for.

        Raises FileNotFoundError, or StoreDamaged where it cannot be opened.
        """
        self._path = path
        self._items_digest = items_digest
        try:
            self._bytes: NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, "r"))
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise self.damage(error) from error

    def check(self) -> None:
        """Make sure that the file is whole and of the right items; the arrays themselves are not read."""
        _ = self._footer

    def damage(self, why: object) -> StoreDamaged:
        """Return the error for a file that holds what it must not."""
        return StoreDamaged(f"{self._path} cannot be used ({why}); delete it, or write it again with `visrec index`")

    @cached_property
    def attribute_types(self) -> dict[str, AttributeType]:
        """What the items hold under each name; raises StoreDamaged or UnknownFormat, as all that reads does."""
        from vision_recs.filters import AttributeType

        return {name: AttributeType(held) for name, held in self._footer["types"].items()}

    @cached_property
    def groups(self) -> list[Group]:
        """All items, a group at a time."""
        return [Group(**group) for group in self._footer["groups"]]

    def array(self, extent: Sequence[Any]) -> NDArray[Any]:
        """Return the array at *extent*, mapped."""
        dtype, offset, length = np.dtype(extent[0]), extent[1], extent[2]
        return self._bytes[offset : offset + dtype.itemsize * length].view(dtype)

    def problems(self) -> Iterator[str]:
        """Yield a sentence where a byte of the file was altered."""
        try:
            expected = self._footer["data"]
        except (StoreDamaged, UnknownFormat) as error:
            yield str(error)
            return
        if hashlib.sha256(self._data.data).hexdigest() != expected:
            yield f"{self._path} was altered after it was written"

    @property
    def _data(self) -> NDArray[np.uint8]:
        return self._bytes[: len(self._bytes) - TRAILER - self._footer_length]

    @property
    def _footer_length(self) -> int:
        return int.from_bytes(self._bytes[-TRAILER:][:8].tobytes(), "little")

    @cached_property
    def _footer(self) -> dict[str, Any]:
        trailer = self._bytes[-TRAILER:].tobytes()
        if len(trailer) < TRAILER or not trailer.endswith(MAGIC):
            raise self.damage("its end is missing")
        text = self._bytes[len(self._data) : -TRAILER].tobytes()
        if hashlib.sha256(text).digest() != trailer[8:40]:
            raise self.damage("its footer was altered")
        footer: dict[str, Any] = json.loads(text)
        if footer["format"] != FORMAT:
            raise UnknownFormat(f"{self._path} was written by a newer visrec; upgrade visrec, or delete the file")
        if footer["items"] != self._items_digest:
            raise self.damage("it was made from other items")
        return footer

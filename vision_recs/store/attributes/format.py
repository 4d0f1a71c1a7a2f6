"""The attributes of a generation by column, memory-mapped: a filter becomes a few passes over arrays.

`attributes/000007.bin` is derived from `items/000007.sqlite` and may be deleted at any time: filters then read the
items from SQLite, and the next `visrec index` writes the file again. The file holds little-endian arrays, each at a
multiple of 64 bytes; then the footer, a JSON object; then 48 bytes: the length of the footer (unsigned, 8 bytes), its
SHA-256 (32 bytes) and `visrec A`.

The footer has `format`, `items_digest` (the SHA-256 of the items file), `data_digest` (the SHA-256 of all bytes before
the footer), `types` (for each attribute the sum of the types of its values: 1 text, 2 number, 4 true or false),
`replaced` and `groups`. `replaced` is for the columns of a delta: a list of [items_digest, array] for each items file
below, where the array has the items, counted from 0 in the order of their ids, that the delta replaces. Items are
ordered by id, and each group holds the next `items` of them, `arrays` and `attributes`. An array is written as [type in
the notation of NumPy, offset, length]. The arrays of a group are:

ids               the ids of the items in UTF-8, ascending by byte, one after the other
id_ends           where each id ends
positions         the positions of the vectors of the images of the group, item by item, for each item by ordinal
image_counts      how many images each item has; left out where every item has one
shown             what answers show of each item, as JSON in UTF-8, one after the other: [its attributes, [its images]],
                  each image as [image, digest, its own attributes, position]. Where it is left out, as in older files,
                  SQLite is asked
shown_ends        where each of these ends

and, for each attribute that is not null in the whole group:

items             the items of the group in which the attribute is not null, ascending; the arrays below then have one
                  value for each of these items. Left out where they have one value for each item of the group
kinds             0 null, 1 text, 2 number, 3 false, 4 true, 5 not a valid attribute, for example a list
codes             the number of the text in the dictionary, counted from 1; 0 for a value that is not a text
dictionary        the distinct texts in UTF-8, ascending by byte, one after the other
dictionary_ends   where each text of the dictionary ends
numbers           float64; NaN for a value that is not a number
int64_places      the places in `numbers` of the whole numbers that float64 cannot represent
int64_values      these whole numbers
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, UnknownFormat, first_line, read_error
from vision_recs.file_formats import is_newer
from vision_recs.store.attributes.dictionary import Dictionary

if TYPE_CHECKING:  # the file is opened with the store; the first filter loads the language of filters
    from vision_recs.filters import AttributeType

FORMAT = 1
MAGIC = b"visrec A"
ALIGNMENT = 64
TRAILER = 8 + 32 + len(MAGIC)

NULL, TEXT, NUMBER, FALSE, TRUE, OTHER = range(6)
"""The kinds of values."""

_NUMBERS = re.compile("[<|][biuf][1248]")
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What is raised where a footer, or the arrays that it names, are not what they should be."""

Extent: TypeAlias = tuple[str, int, int]
"""The type, the offset and the length of an array in the file."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the items: the arrays of the group, and of each attribute by its name."""

    items: int
    arrays: Mapping[str, Extent]
    attributes: Mapping[str, Mapping[str, Extent]] = field(default_factory=dict)


class AttributeColumns:
    """The attribute columns of one generation."""

    def __init__(self, path: Path, *, items_digest: str) -> None:
        """Map *path*, which must have been made from the items file of the SHA-256 *items_digest*.

        The content is read when it is used. Raises FileNotFoundError, or StoreDamaged where the file cannot be opened.
        """
        self._path = path
        self._items_digest = items_digest
        try:
            self._bytes: NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, "r"))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise read_error(path, error, "delete it, or write it again with `visrec index`") from error
        except ValueError as error:  # an empty file
            raise self.damage(error) from error

    def check(self) -> None:
        """Raise StoreDamaged where the file was cut off or made from other items; the arrays are not read."""
        _ = self._footer

    def damage(self, why: str | Exception) -> StoreDamaged:
        """Return the error for a file that is damaged; *why* says how."""
        said = why if isinstance(why, str) else first_line(why)
        return StoreDamaged(f"{self._path} cannot be used ({said}); delete it, or write it again with `visrec index`")

    @cached_property
    def attribute_types(self) -> dict[str, AttributeType]:
        """The types of the values of each attribute; raises StoreDamaged or UnknownFormat, as every access does."""
        from vision_recs.filters import AttributeType

        try:
            return {name: AttributeType(held) for name, held in self._footer["types"].items()}
        except UNREADABLE as error:
            raise self.damage(error) from error

    @property
    def items_digest(self) -> str:
        """The SHA-256 of the items file from which the columns were made."""
        return self._items_digest

    def replaced(self, items_digest: str) -> NDArray[np.int64]:
        """Return which items of the file below with *items_digest* these columns replace, as numbers, ascending."""
        for digest, extent in self._footer["replaced"]:
            if digest == items_digest:
                return self.array(extent).astype(np.int64)
        raise self.damage("it was made over other items")

    def item_numbers(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Return the numbers, ascending, of those of *items*, which ascend by code point, that the columns have."""
        sought = [item.encode() for item in items]
        found: list[int] = []
        first, begin = 0, 0
        for group in self.groups:
            known = Dictionary(*(self.array(group.arrays[name]) for name in ("ids", "id_ends")))
            end = bisect_right(sought, known.text(group.items - 1), lo=begin)
            found += [first + number for number in known.those_of(sought[begin:end])]
            first, begin = first + group.items, end
        return np.array(found, dtype=np.int64)

    @cached_property
    def groups(self) -> list[Group]:
        """All items, group by group."""
        try:
            groups = [Group(**group) for group in self._footer["groups"]]
            if sum(group.items for group in groups) > len(self._bytes):  # each item takes a byte at least
                raise ValueError("it has more items than bytes")
        except UNREADABLE as error:
            raise self.damage(error) from error
        return groups

    def array(self, extent: Sequence[Any]) -> NDArray[Any]:
        """Return the array at *extent*, mapped."""
        name, offset, length = extent
        if not _NUMBERS.fullmatch(name):  # NumPy evaluates some names as Python
            raise ValueError(f"an array of {name}")
        dtype = np.dtype(name)
        return self._bytes[offset : offset + dtype.itemsize * length].view(dtype)

    def problems(self) -> Iterator[str]:
        """Yield a sentence where a byte of the file was altered."""
        try:
            expected = self._footer["data_digest"]
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
        try:
            footer: dict[str, Any] = json.loads(text)
            version, items_digest = footer["format"], footer["items_digest"]
        except UNREADABLE as error:
            raise self.damage(error) from error
        if is_newer(version, FORMAT):
            raise UnknownFormat(f"{self._path} was written by a newer visrec; upgrade visrec, or delete the file")
        if items_digest != self._items_digest:
            raise self.damage("it was made from other items")
        return footer

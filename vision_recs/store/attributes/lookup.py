"""From the positions of vectors to the items that show them, and which of these match a filter: arrays, no statements.

A query with rules looks at hundreds of candidates. What the same predicates say of all items is kept, so that a rule is
read off a mask. A comparison with a number, which rules like bounds make anew for each query, reads the numbers.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, reduce
from operator import and_, or_
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import And, Compare, Node, Not, Or, Predicate
from vision_recs.filters.filter import ID
from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.store.attributes.format import FALSE, NUMBER, TRUE, UNREADABLE
from vision_recs.store.attributes.predicates import Mask, passes
from vision_recs.store.attributes.table import ItemTable, Part
from vision_recs.store.recent_items import KnownImage, KnownItem, parse
from vision_recs.types import Attribute

_CACHED_BYTES = 64 << 20
_CACHED_COLUMNS = 8
_CACHED_IDS = 100_000
_CONSTANTS: dict[int, Attribute] = {TRUE: True, FALSE: False}  # what a kind says by itself

_Key = TypeVar("_Key", bound=Hashable)
_Known = TypeVar("_Known")


class Shown(NamedTuple):
    """Rows of items that show vectors: `rows[i]` shows the vector number `places[i]` of those that were asked for."""

    places: NDArray[np.int64]
    rows: NDArray[np.int64]


class _Numbers(NamedTuple):
    """A number for each row, NaN where it has none, and the rows whose whole numbers float64 cannot represent."""

    floats: NDArray[np.float64]
    exact_rows: NDArray[np.int64]
    exact_values: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of the column that *rows* make: see `format`."""
        arrays: dict[str, NDArray[np.generic]] = {"numbers": self.floats[rows]}
        if len(self.exact_rows):
            places = np.minimum(np.searchsorted(self.exact_rows, rows), len(self.exact_rows) - 1)
            hit = self.exact_rows[places] == rows
            arrays |= {"int64_places": np.flatnonzero(hit), "int64_values": self.exact_values[places[hit]]}
        return arrays


class _Values(NamedTuple):
    """The kind of each row's value, the code of its text, counted from 1 and else 0, and the texts of each part."""

    kinds: NDArray[np.uint8]
    codes: NDArray[np.uint32]
    texts: list[Dictionary]


class RowLookup:
    """The rows of an `ItemTable` by the positions of the vectors that they show; safe to use from several threads."""

    def __init__(self, table: ItemTable, *, vectors: int, limit: int = _CACHED_BYTES) -> None:
        """Look up the rows of *table* for positions below *vectors*; masks of up to *limit* bytes are kept."""
        self.table = table
        self._vectors = vectors
        self._most_masks = max(8, limit // max(1, len(table.alive)))
        self._masks: OrderedDict[Predicate, Mask] = OrderedDict()
        self._numbers: OrderedDict[str, _Numbers] = OrderedDict()
        self._values: OrderedDict[str, _Values] = OrderedDict()
        self._known_ids: dict[int, str] = {}
        self._lock = threading.Lock()

    def rows_at(self, positions: NDArray[np.int64]) -> Shown:
        """Return the rows that show the vectors at *positions*, the first one of each, then further ones.

        A position that no item shows, or that is not one of the vectors, has none.
        """
        first, further_positions, further_rows = self._by_position
        counted = first.take(positions + 1, mode="clip")
        places = np.arange(len(counted)) if np.count_nonzero(counted) == len(counted) else np.flatnonzero(counted)
        rows = counted[places].astype(np.int64) - 1
        if len(further_positions):
            begin, end = (np.searchsorted(further_positions, positions, side=side) for side in ("left", "right"))
            more = np.flatnonzero(end > begin)
            found = [np.arange(begin[place], end[place]) for place in more.tolist()]
            if found:
                places = np.concatenate([places, np.repeat(more, end[more] - begin[more])])
                rows = np.concatenate([rows, further_rows[np.concatenate(found)]])
        return Shown(places, rows)

    def warm(self, *names: str) -> None:
        """Make the arrays that rows, ids and the attributes *names* are read from; else the first question does."""
        rows = self.rows_at(np.empty(0, np.int64)).rows
        _ = self._ids, self._stops
        for name in names:
            self.values(name, rows)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the id of each of *rows*."""
        wanted, known = rows.tolist(), self._known_ids
        found = [known.get(row) for row in wanted]
        if None not in found:
            return cast("list[str]", found)
        missing = [row for row, item in zip(wanted, found, strict=True) if item is None]
        numbers = np.searchsorted(self._stops, missing, side="right").tolist()
        read = {
            row: self._ids[number].text(row - self.table.parts[number].first).decode()
            for number, row in zip(numbers, missing, strict=True)
        }
        if len(known) + len(read) > _CACHED_IDS:
            known.clear()
        if len(read) <= _CACHED_IDS:
            known.update(read)
        return [read[row] if item is None else item for row, item in zip(wanted, found, strict=True)]

    def known(self, rows: Sequence[int]) -> list[KnownItem] | None:
        """Return what is stored of the item of each of *rows*; None where older columns do not have it by row."""
        shown = self._shown
        if shown is None:
            return None
        texts: list[bytes] = []
        for row in rows:
            number = bisect_right(self._part_stops, row)
            texts.append(shown[number].text(row - self.table.parts[number].first))
        try:
            return [
                KnownItem(_object(attributes), [_known_image(ordinal, *image) for ordinal, image in enumerate(images)])
                for attributes, images in parse(f"[{b','.join(texts).decode()}]", list)
            ]
        except UNREADABLE as error:
            raise self.table.parts[0].columns.damage(error) from error

    def values(self, name: str, rows: NDArray[np.int64]) -> list[Attribute]:
        """Return what each of *rows* has under the attribute *name*; None where it has nothing."""
        if name not in self.table.attribute_types:
            return [None] * len(rows)
        column = self._values_of(name)
        kinds, codes = column.kinds[rows], column.codes[rows]
        found: list[Attribute] = [_CONSTANTS.get(kind) for kind in kinds.tolist()]
        places = np.flatnonzero(codes)
        parts = np.searchsorted(self._stops, rows[places], side="right").tolist()
        for place, part, code in zip(places.tolist(), parts, codes[places].tolist(), strict=True):
            found[place] = column.texts[part].text(code - 1).decode()
        places = np.flatnonzero(kinds == NUMBER)
        if len(places):
            arrays = self._numbers_of(name).of(rows[places])
            numbers: list[float] = arrays["numbers"].tolist()
            for place, number in zip(arrays.get("int64_places", ()), arrays.get("int64_values", ()), strict=True):
                numbers[place] = int(number)
            for place, number in zip(places.tolist(), numbers, strict=True):
                found[place] = number
        return found

    def holds(self, where: Filter, rows: NDArray[np.int64]) -> Mask:
        """Return which of *rows* match *where*, which has to fit the attributes, as a new array."""
        return self._holds(where.tree, rows)

    def _holds(self, node: Node, rows: NDArray[np.int64]) -> Mask:
        match node:
            case And(parts):
                return reduce(and_, [self._holds(part, rows) for part in parts])
            case Or(parts):
                return reduce(or_, [self._holds(part, rows) for part in parts])
            case Not(part):
                return ~self._holds(part, rows)
            case Compare(name, _, value) if value.type is AttributeType.NUMBER and name.text != ID:
                return passes(node, self._numbers_of(name.text).of(rows))
            case _:
                return self._mask(node)[rows]

    def _mask(self, test: Predicate) -> Mask:
        return self._kept(self._masks, test, self.table.holding, most=self._most_masks)

    def _numbers_of(self, name: str) -> _Numbers:
        return self._kept(self._numbers, name, self._read_numbers)

    def _values_of(self, name: str) -> _Values:
        return self._kept(self._values, name, self._read_values)

    def _kept(
        self,
        cache: OrderedDict[_Key, _Known],
        key: _Key,
        read: Callable[[_Key], _Known],
        *,
        most: int = _CACHED_COLUMNS,
    ) -> _Known:
        """Return what *read* gives for *key*; *cache* keeps the *most* that were asked for last."""
        with self._lock:
            known = cache.get(key)
            if known is not None:
                cache.move_to_end(key)
                return known
        found = read(key)
        with self._lock:
            cache[key] = found
            while len(cache) > most:
                cache.popitem(last=False)
        return found

    def _read_values(self, name: str) -> _Values:
        found = _Values(np.zeros(len(self.table.alive), np.uint8), np.zeros(len(self.table.alive), np.uint32), [])
        nothing = np.empty(0, np.uint8)
        for part in self.table.parts:
            extents = part.group.attributes.get(name, {})
            try:
                arrays = {key: part.columns.array(each) for key, each in extents.items() if key != "numbers"}
                places = arrays.get("items", np.arange(part.group.items)) + np.int64(part.first)
                if "kinds" in arrays:
                    found.kinds[places] = arrays["kinds"]
                if "codes" in arrays:
                    found.codes[places] = arrays["codes"]
            except UNREADABLE as error:
                raise part.columns.damage(error) from error
            texts = Dictionary(arrays.get("dictionary", nothing), arrays.get("dictionary_ends", nothing))
            found.texts.append(texts)
        return found

    def _read_numbers(self, name: str) -> _Numbers:
        floats = np.full(len(self.table.alive), np.nan)
        rows, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in self.table.parts:
            extents = part.group.attributes.get(name, {})
            try:
                arrays = {key: part.columns.array(extent) for key, extent in extents.items()}
                places = arrays.get("items", np.arange(part.group.items)) + np.int64(part.first)
                if "numbers" in arrays:
                    floats[places] = arrays["numbers"]
                if "int64_places" in arrays:
                    rows.append(places[arrays["int64_places"]])
                    values.append(arrays["int64_values"])
            except UNREADABLE as error:
                raise part.columns.damage(error) from error
        exact = np.concatenate(rows)
        order = np.argsort(exact)
        return _Numbers(floats, exact[order], np.concatenate(values)[order])

    @cached_property
    def _ids(self) -> list[Dictionary]:
        """The ids of each part of the table."""
        arrays = ("ids", "id_ends")
        return [
            Dictionary(*(part.columns.array(part.group.arrays[name]) for name in arrays)) for part in self.table.parts
        ]

    @cached_property
    def _shown(self) -> list[Dictionary] | None:
        """What is shown of the items of each part of the table."""
        found = []
        for part in self.table.parts:
            if "shown" not in part.group.arrays:
                return None
            found.append(Dictionary(*(part.columns.array(part.group.arrays[name]) for name in ("shown", "shown_ends"))))
        return found

    @cached_property
    def _part_stops(self) -> list[int]:
        return [part.stop for part in self.table.parts]

    @cached_property
    def _stops(self) -> NDArray[np.int64]:
        return np.array([part.stop for part in self.table.parts], np.int64)

    @cached_property
    def _by_position(self) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """The first row at each position, and further ones: their positions, ascending, and rows.

        The first ones are counted from 1, and 0 stands for none: for the positions from -1 to the number of vectors.
        """
        first = np.zeros(self._vectors + 2, np.uint32)
        positions, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in self.table.parts:
            try:
                own_positions, own_rows = _rows_of(part, self.table.alive)
                of_own = first[1:-1]
                is_free = of_own[own_positions] == 0
                of_own[own_positions[is_free]] = own_rows[is_free] + 1
                is_further = of_own[own_positions] != own_rows + 1
            except UNREADABLE as error:
                raise part.columns.damage(error) from error
            positions.append(own_positions[is_further].astype(np.int64))
            rows.append(own_rows[is_further])
        every = np.concatenate(positions)
        order = np.argsort(every, kind="stable")
        return first, every[order], np.concatenate(rows)[order]


def _known_image(ordinal: int, image: object, digest: object, attributes: object, position: object) -> KnownImage:
    if not isinstance(image, str) or not isinstance(digest, str) or not isinstance(position, int):
        raise TypeError("an image is not what it should be")
    return KnownImage(ordinal, image, digest, _object(attributes), position)


def _object(value: object) -> dict[str, Attribute]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} where an object belongs")
    return value


def _rows_of(part: Part, alive: Mask) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """Return the positions that the rows of *part* that are *alive* show, and the row of each."""
    arrays = part.group.arrays
    positions = part.columns.array(arrays["positions"])
    rows = np.arange(part.first, part.stop)
    if "image_counts" in arrays:
        rows = np.repeat(rows, part.columns.array(arrays["image_counts"]))
    if len(rows) != len(positions):
        raise ValueError("its image counts do not add up")
    kept = alive[rows]
    return (positions, rows) if kept.all() else (positions[kept], rows[kept])

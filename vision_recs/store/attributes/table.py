"""The items of a generation as the rows of a table: which of them match a filter, and what they have in a column.

The rows are numbered from 0: the items of each items file by id, the oldest file first. A row that a later file
replaces is dead: no filter selects it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import And, IsNull, Node, Not, Or, Predicate
from vision_recs.filters.filter import ID
from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.store.attributes.format import NULL, TEXT, UNREADABLE, AttributeColumns, Group
from vision_recs.store.attributes.predicates import Arrays, Mask, passes


class Part(NamedTuple):
    """Rows that lie in one *group* of *columns*: those from *first* to before *stop*."""

    columns: AttributeColumns
    group: Group
    first: int
    stop: int


class Column(NamedTuple):
    """What some rows have under an attribute, part by part: *kinds* of `format`, *codes* into *texts*, *numbers*.

    *codes* count from 1, and are 0 for what is not a text; *numbers* are NaN for what is not a number.
    """

    kinds: NDArray[np.uint8]
    codes: NDArray[Any]
    numbers: NDArray[np.float64]
    texts: Dictionary


class ItemTable:
    """The items of a generation, read from the attribute columns of its items files; safe to use from several threads.

    Whatever reads the columns raises StoreDamaged or UnknownFormat where they cannot be used.
    """

    def __init__(self, *stores: Sequence[AttributeColumns]) -> None:
        """Read the columns of *stores* that have no item in common: those of each items file, oldest first."""
        self._stores = stores

    @cached_property
    def attribute_types(self) -> dict[str, AttributeType]:
        """The types of the values that the items have under each attribute."""
        types: dict[str, AttributeType] = {}
        for columns in chain.from_iterable(self._stores):
            for name, held in columns.attribute_types.items():
                types[name] = types.get(name, AttributeType(0)) | held
        return types

    @cached_property
    def parts(self) -> list[Part]:
        """All rows."""
        parts: list[Part] = []
        first = 0
        for columns in chain.from_iterable(self._stores):
            for group in columns.groups:
                parts.append(Part(columns, group, first, first + group.items))
                first += group.items
        return parts

    @cached_property
    def alive(self) -> Mask:
        """Which rows are items of the generation; must not be written to."""
        alive = np.ones(self.parts[-1].stop if self.parts else 0, dtype=np.bool_)
        first = 0
        for store in self._stores:
            for number, each in enumerate(store):
                for later in store[number + 1 :]:
                    try:
                        alive[first + later.replaced(each.items_digest)] = False
                    except UNREADABLE as error:
                        raise later.damage(error) from error
                first += sum(group.items for group in each.groups)
        alive.flags.writeable = False
        return alive

    @cached_property
    def by_id(self) -> NDArray[np.int64]:
        """The rows of the items, by id; must not be written to."""
        ordered = [self._by_id(store) for store in self._stores if store]
        rows: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *ordered])
        rows = rows[self.alive[rows]]
        if len(ordered) > 1:  # each is a run, which sorting makes use of
            rows = rows[np.array(sorted(range(len(rows)), key=self.ids(rows).__getitem__), np.int64)]
        rows.flags.writeable = False
        return rows

    def _by_id(self, store: Sequence[AttributeColumns]) -> NDArray[np.int64]:
        """Return the rows of *store*, with the items of its newer files at their places among those of the oldest."""
        parts = [part for part in self.parts if any(part.columns is each for each in store)]
        oldest = [part for part in parts if part.columns is store[0]]
        newer = np.concatenate([np.empty(0, np.int64), *(np.arange(*part[2:]) for part in parts[len(oldest) :])])
        newer = newer[self.alive[newer]]
        first = parts[0].first if parts else 0
        places: list[tuple[int, bytes, int]] = []
        for item, row in zip(self.ids(newer), newer.tolist(), strict=True):
            sought, place = item.encode(), first
            for part in oldest:
                known = _ids(part)
                at = bisect_left(range(len(known)), sought, key=known.text)
                place = part.first + at
                if at < len(known):
                    break
            places.append((place - first, sought, row))
        places.sort()
        stop = oldest[-1].stop if oldest else first
        inserted = np.insert(np.arange(first, stop), [at for at, *_ in places], [row for *_, row in places])
        return inserted.astype(np.int64, copy=False)

    def matching(self, where: Filter) -> Mask:
        """Return which rows match *where*, as a new array; raises FilterError where it does not fit the attributes."""
        where.check(self.attribute_types)
        mask = self.holding(where.tree)
        mask &= self.alive
        return mask

    def holding(self, node: Node) -> Mask:
        """Return for which rows *node* holds, also of dead ones, as a new array."""
        mask = np.empty(len(self.alive), dtype=np.bool_)
        for part in self.parts:
            try:
                mask[part.first : part.stop] = _holds(node, part.group, part.columns)
            except UNREADABLE as error:
                raise part.columns.damage(error) from error
        return mask

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of those of *ids* that there are, in that order."""
        rows: dict[str, int] = {}
        for part in self.parts:
            known = _ids(part)
            for item in ids:
                for number in known.find("==", item):
                    if self.alive[part.first + number]:
                        rows[item] = part.first + number
        return np.array([rows[item] for item in ids if item in rows], dtype=np.int64)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the id of each of *rows*."""
        stops = [part.stop for part in self.parts]
        known = [_ids(part) for part in self.parts]
        parts = np.searchsorted(stops, rows, side="right")
        return [
            known[number].text(row - self.parts[number].first).decode()
            for number, row in zip(parts.tolist(), rows.tolist(), strict=True)
        ]

    def columns(self, name: str, rows: Mask) -> Iterator[Column]:
        """Yield what those of the *rows* that have a value of the attribute *name* have there."""
        for part in self.parts:
            extents = part.group.attributes.get(name)
            if extents is None:
                continue
            try:
                yield _column(part, {key: part.columns.array(each) for key, each in extents.items()}, rows)
            except UNREADABLE as error:
                raise part.columns.damage(error) from error

    def ordered(
        self, rows: NDArray[np.int64], name: str, *, descending: bool = False, lower: str | None = None
    ) -> NDArray[np.int64]:
        """Return *rows* by their values of *name*: numbers, then texts, then none; equal ones stay in order.

        The number of the attribute *lower* counts where it is the lower one above 0, or the only one.
        """
        marked = np.zeros(len(self.alive), dtype=np.bool_)
        marked[rows] = True
        numbers, ranks = (values[rows] for values in self._values(name, marked, lower))
        sign = -1.0 if descending else 1.0
        keys = (sign * ranks, sign * np.nan_to_num(numbers), ranks > 0, np.isnan(numbers) & (ranks == 0))
        return rows[np.lexsort(keys)]  # the last key counts most, and equal ones stay in their order

    def numbers(self, name: str, rows: Mask, *, lower: str | None = None) -> NDArray[np.float64]:
        """Return the numbers that the *rows* have of the attribute *name*, *lower* counting as in `ordered`."""
        numbers, _ = self._values(name, rows, lower)
        return numbers[~np.isnan(numbers)]

    def _values(
        self, name: str, marked: Mask, lower: str | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each row's number of *name*, or nan, and the rank of its text from 1 on, or 0, for rows *marked*."""
        if lower is not None:
            numbers, ranks = self._values(name, marked)
            lowers = self._values(lower, marked)[0]
            lowers[lowers <= 0] = np.nan  # so shops write that there is none
            numbers = np.fmin(numbers, lowers)  # of a number and nan, fmin takes the number
            return numbers, np.where(np.isnan(numbers), ranks, 0)
        numbers, ranks = np.full(len(marked), np.nan), np.zeros(len(marked))
        texts: dict[str, list[int]] = {}
        for part in self.parts:
            extents = part.group.attributes.get(name)
            if extents is None:
                continue
            arrays = {key: part.columns.array(each) for key, each in extents.items()}
            column, places = _column(part, arrays, marked), _places(part, arrays, marked)
            numbers[places] = column.numbers
            is_text = column.codes > 0
            for place, code in zip(places[is_text].tolist(), column.codes[is_text].tolist(), strict=True):
                texts.setdefault(column.texts.text(code - 1).decode(), []).append(place)
        for rank, text in enumerate(sorted(texts), 1):
            ranks[texts[text]] = rank
        return numbers, ranks


def _column(part: Part, arrays: Arrays, rows: Mask) -> Column:
    places = arrays.get("items")
    chosen = rows[part.first : part.stop] if places is None else rows[part.first : part.stop][places]
    kinds = arrays["kinds"][chosen]
    nothing = np.empty(0, dtype=np.uint8)
    return Column(
        kinds,
        arrays["codes"][chosen] if "codes" in arrays else np.zeros(len(kinds), np.uint8),
        arrays["numbers"][chosen] if "numbers" in arrays else np.full(len(kinds), np.nan),
        Dictionary(arrays.get("dictionary", nothing), arrays.get("dictionary_ends", nothing)),
    )


def _places(part: Part, arrays: Arrays, rows: Mask) -> NDArray[np.int64]:
    """Return the numbers of the *rows* that `_column` returns."""
    places = arrays.get("items", np.arange(part.group.items))
    listed: NDArray[np.int64] = places[rows[part.first : part.stop][places]].astype(np.int64) + part.first
    return listed


def _ids(part: Part) -> Dictionary:
    return Dictionary(*(part.columns.array(part.group.arrays[name]) for name in ("ids", "id_ends")))


def _holds(node: Node, group: Group, columns: AttributeColumns) -> Mask:
    """Return, for each item of *group*, whether *node* holds for it, as a new array."""
    match node:
        case And(parts):
            mask = _holds(parts[0], group, columns)
            for part in parts[1:]:
                mask &= _holds(part, group, columns)
            return mask
        case Or(parts):
            mask = _holds(parts[0], group, columns)
            for part in parts[1:]:
                mask |= _holds(part, group, columns)
            return mask
        case Not(part):
            return ~_holds(part, group, columns)
        case _:
            return _test(node, group, columns)


def _test(test: Predicate, group: Group, columns: AttributeColumns) -> Mask:
    is_id = test.name.text == ID
    mask = passes(test, _id_arrays(group, columns)) if is_id else np.full(group.items, isinstance(test, IsNull))
    extents = group.attributes.get(test.name.text)
    if extents is not None:
        arrays = {name: columns.array(extent) for name, extent in extents.items()}
        places = arrays.get("items", slice(None))
        passed = passes(test, arrays)
        mask[places] = np.where(arrays["kinds"] == NULL, mask[places], passed) if is_id else passed
    return mask


def _id_arrays(group: Group, columns: AttributeColumns) -> Arrays:
    """Return the ids of *group* as the arrays of an attribute."""
    return {
        "kinds": np.full(group.items, TEXT, np.uint8),
        "codes": np.arange(1, group.items + 1),
        "dictionary": columns.array(group.arrays["ids"]),
        "dictionary_ends": columns.array(group.arrays["id_ends"]),
    }

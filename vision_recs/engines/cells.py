"""The attribute columns of records, made from those of the store: what `columns` says of a value, for many at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.base import Kind
from vision_recs.engines.columns import ID_KINDS, cells_of, column_name
from vision_recs.filters.filter import ID
from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.store.attributes.format import FALSE, NULL, NUMBER, OTHER, TRUE, UNREADABLE
from vision_recs.store.attributes.predicates import Arrays, Mask
from vision_recs.store.attributes.table import ItemTable, Part
from vision_recs.store.attributes.values import Values, values_of

if TYPE_CHECKING:
    import pyarrow as pa

    from vision_recs.store.items import Items

_CERTAIN = 2.0**63
"""The store keeps of a larger number only what float64 holds of it: its JSON says whether that is all."""


class Held(NamedTuple):
    """Some items: the *ids* and the *attributes*, as JSON text, of each."""

    ids: pa.Array
    attributes: Sequence[str]


def kinds_of_items(table: ItemTable, items: Items) -> dict[str, frozenset[Kind]]:
    """Return the kinds of columns that the attributes of *items*, whose rows are those of *table*, need.

    Every attribute is named, also one that only replaced items have. Raises StoreDamaged.
    """
    found: dict[str, set[Kind]] = {name: set() for name in [*table.attribute_types, ID]}
    found[ID] |= ID_KINDS
    for part in table.parts:
        alive = table.alive[part.first : part.stop]
        for name in part.group.attributes:
            values = values_of(arrays_of(part, name), 0, part.group.items)
            found[name] |= _certain_kinds(values.of(alive))
            rows = np.flatnonzero(_is_unsure(values) & alive) + part.first
            for attributes in items.attributes_of(table.ids(rows)).values():
                found[name] |= dict(cells_of(attributes[name])).keys()
    return {name: frozenset(own) for name, own in found.items()}


def arrays_of(part: Part, name: str) -> Arrays:
    """Return the arrays of the attribute *name* in *part*; none where it has none. Raises StoreDamaged."""
    try:
        return {key: part.columns.array(each) for key, each in part.group.attributes.get(name, {}).items()}
    except UNREADABLE as error:
        raise part.columns.damage(error) from error


def strings(texts: Dictionary) -> pa.Array:
    """Return all of *texts* as a large string array; their bytes are not copied."""
    import pyarrow as pa

    data, ends = texts.arrays
    offsets = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    return pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))


def attribute_cells(name: str, values: Values, kinds: frozenset[Kind], held: Held) -> dict[str, pa.Array]:
    """Return the columns of the attribute *name* for the items *held*, which have *values* there, by their names.

    *kinds* are the kinds of columns that it has.
    """
    cells = _Cells(values)
    for place in np.flatnonzero(_is_unsure(values)).tolist():
        cells.put(place, cells_of(json.loads(held.attributes[place])[name]))
    if name == ID:
        cells.name(held.ids)
    return {column_name(name, kind): cells.column(kind) for kind in kinds}


class _Cells:
    """The columns of an attribute while they are made: numbers and flags as arrays, texts by their codes."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._numbers = values.numbers + 0.0  # an engine may tell -0.0 from 0.0
        self._is_number = (values.kinds == NUMBER) & ~values.is_whole & (np.abs(values.numbers) < _CERTAIN)
        self._is_other = values.kinds == OTHER
        self._ids: pa.Array | None = None

    def put(self, place: int, cells: Iterable[tuple[Kind, Any]]) -> None:
        """Let the item at *place* have *cells*, as `cells_of` yields them of a number."""
        known = dict(cells)
        self._is_number[place] = "number" in known
        self._numbers[place] = known.get("number", 0.0)
        self._is_other[place] = "other" in known

    def name(self, ids: pa.Array) -> None:
        """Let the items without a value have their *ids* there."""
        self._ids = ids

    def column(self, kind: Kind) -> pa.Array:
        """Return the column of *kind*."""
        import pyarrow as pa

        values = self._values
        match kind:
            case "text":
                return self._texts()
            case "set":
                return pa.array(self._sets(), pa.list_(pa.string()))
            case "number":
                return pa.array(self._numbers, mask=~self._is_number)
            case "integer":
                return pa.array(values.wholes, mask=~values.is_whole)
            case "boolean":
                return pa.array(values.kinds == TRUE, mask=(values.kinds != FALSE) & (values.kinds != TRUE))
            case "other":
                return pa.array(self._is_other, mask=~self._is_other)

    def _texts(self) -> pa.Array:
        import pyarrow as pa
        from pyarrow import compute

        codes = self._values.codes
        chosen = pa.array(codes.astype(np.int64) - 1, mask=codes == 0)
        texts = strings(self._values.texts).take(chosen).cast(pa.string())
        return texts if self._ids is None else compute.if_else(pa.array(self._values.kinds == NULL), self._ids, texts)

    def _sets(self) -> list[list[str] | None]:
        codes = self._values.codes
        sets = dict(_sets_of(self._values.texts, np.unique(codes[codes > 0]) - 1))
        found = [sets.get(code - 1) for code in codes.tolist()]
        if self._ids is not None:
            for place in np.flatnonzero(self._values.kinds == NULL).tolist():
                found[place] = dict(cells_of(self._ids[place].as_py())).get("set")
        return found


def _is_unsure(values: Values) -> Mask:
    """Return for which items the numbers do not tell what the value is: very large ones, NaN and infinity."""
    is_unsure: Mask = (values.kinds == NUMBER) & ~values.is_whole & ~(np.abs(values.numbers) < _CERTAIN)
    return is_unsure


def _certain_kinds(values: Values) -> set[Kind]:
    """Return the kinds of all values, but for those that are unsure."""
    count = np.bincount(values.kinds, minlength=OTHER + 1)
    is_plain = (values.kinds == NUMBER) & ~values.is_whole & ~_is_unsure(values)
    codes = np.unique(values.codes[values.codes > 0]).astype(np.int64) - 1
    found: dict[Kind, bool] = {
        "text": len(codes) > 0,
        "set": any(True for _ in _sets_of(values.texts, codes)),
        "number": bool(is_plain.any()),
        "integer": bool(values.is_whole.any()),
        "boolean": bool(count[FALSE] + count[TRUE]),
        "other": bool(count[OTHER]),
    }
    return {kind for kind, is_there in found.items() if is_there}


def _sets_of(texts: Dictionary, codes: NDArray[np.integer]) -> Iterator[tuple[int, list[str]]]:
    """Yield those of the *codes*, counted from 0, whose texts are sets, and the elements of each."""
    data, ends = texts.arrays
    starts = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    begin = starts[codes]
    listed = codes[begin < starts[codes + 1]]
    listed = listed[data[starts[listed]] == ord("[")]
    for code in listed.tolist():
        elements = dict(cells_of(texts.text(code).decode())).get("set")
        if elements is not None:
            yield code, elements

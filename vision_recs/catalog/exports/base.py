"""Rows of an export, column by column, and how their cells are taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import compress
from types import MappingProxyType
from typing import TypeAlias, TypeGuard, TypeVar

from vision_recs.catalog.amounts import amount_of, number_of
from vision_recs.catalog.cell_types import bare
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.readers import Batch, Rows, require_few
from vision_recs.types import Attribute

Cells: TypeAlias = Sequence[object]
"""The cells of a column, a row each; a blank one is None."""

Texts: TypeAlias = Sequence[str | None]
"""The cells of a column as text; a blank one is None."""

Lists: TypeAlias = dict[str, list[object]]
"""The cells of some columns by their names, while they are set; one of them is `id`."""

_Value = TypeVar("_Value")
_TEXTS = frozenset({str, type(None)})
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_ADDRESSES = re.compile(r"\s*,\s*(?=[a-z][a-z0-9]*://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of an export: their numbers, and the cells of each column that is not blank in all of them.

    Before the translation, a column is called as `cell_types.bare` has it, without `g:`; after it, as visrec calls it.
    The number 0 is that of a row that only adds to the others of its item. *joint* is what stands between the values of
    a list, where a cell of a typed table is one.
    """

    lines: Sequence[int]
    columns: Mapping[str, Cells]
    joint: str = ","

    def cells(self, *names: str) -> Cells:
        """Return, for each row, its first cell in the columns *names* that is not blank, or None."""
        found = [self.columns[name] for name in names if name in self.columns]
        if not found:
            return [None] * len(self.lines)
        cells, *others = found
        for other in others:
            cells = [one if one is not None else another for one, another in zip(cells, other, strict=True)]
        return cells

    def texts(self, *names: str) -> Texts:
        """Return what `cells` does, as text."""
        cells = self.cells(*names)
        if is_text(cells):
            return cells
        return [_as_text(cell, self.joint) for cell in cells]

    def chosen(self, wanted: Sequence[bool]) -> Part:
        """Return the rows that are *wanted*."""
        if all(wanted):
            return self
        columns = {name: list(compress(cells, wanted)) for name, cells in self.columns.items()}
        return Part(list(compress(self.lines, wanted)), columns, self.joint)


def is_text(cells: Cells) -> TypeGuard[Texts]:
    """Whether each of *cells* is text or blank."""
    return _TEXTS.issuperset(map(type, cells))


def _as_text(cell: object, joint: str) -> str | None:
    """Return the *cell* of a typed table as an export would have it."""
    if isinstance(cell, list | tuple):
        return joint.join(text for each in cell if (text := _as_text(each, joint)) is not None) or None
    return cell if cell is None or isinstance(cell, str) else str(cell)


@dataclass(frozen=True, slots=True)
class Export:
    """An export: its *name* and *title*, and how it is recognized and translated.

    *recognizes* is given the names of the columns, as they are in a Part. *translate* is given the parts, what the
    columns are called in the file, and where to tell what is worth a note. *merges* is that of `Rows`. *joint* is that
    of the parts.
    """

    name: str
    title: str
    recognizes: Callable[[AbstractSet[str]], bool]
    translate: Callable[[Iterator[Part], Mapping[str, str], Findings], Iterator[Part]]
    merges: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    joint: str = ","

    def rows(self, rows: Rows, findings: Findings) -> Rows:
        """Return *rows* of this export in the columns of visrec."""
        titles = {bare(column).removeprefix("g:"): column for column in reversed(rows.columns)}
        columns = ["id", "image"]
        return Rows(
            rows.path,
            columns,
            _batches(rows.path, columns, self.translate(_parts(rows, self.joint), titles, findings)),
            open_ended=True,
            textual=rows.textual,
            unit=rows.unit,
            decimal_comma=rows.decimal_comma,
            merges=self.merges,
        )


def _parts(rows: Rows, joint: str) -> Iterator[Part]:
    names: list[str] = []
    for batch in rows.batches:
        if len(names) != len(rows.columns):
            names = [bare(column).removeprefix("g:") for column in rows.columns]
        columns: dict[str, Cells] = {}
        for name, cells in zip(names, map(_without_blanks, batch.columns), strict=True):
            if name and cells is not None:
                columns[name] = either(cells, columns[name]) if name in columns else cells
        yield Part(batch.lines, columns, joint)


def _without_blanks(cells: Cells) -> Cells | None:
    """Return *cells* with None in place of empty text; None where nothing is left."""
    if not any(cells) and all(cell is None or cell == "" for cell in cells):  # 0 and false are no blanks
        return None
    return [None if cell == "" else cell for cell in cells] if "" in cells else cells


def _batches(path: str, columns: list[str], parts: Iterator[Part]) -> Iterator[Batch]:
    """Yield *parts* as batches; what a part has beside *columns* is appended to them, unless it is blank."""
    known = set(columns)
    for part in parts:
        for name, cells in part.columns.items():
            if name not in known and (found := next((i for i, cell in enumerate(cells) if cell is not None), -1)) >= 0:
                columns.append(name)
                known.add(name)
                require_few(columns, path, part.lines[found])
        blank = [None] * len(part.lines)
        yield Batch(part.lines, [part.columns.get(name, blank) for name in columns])


def either(first: Sequence[_Value | None], second: Sequence[_Value | None]) -> Sequence[_Value | None]:
    """Return the values of *first*, and where it has none those of *second*."""
    return [one if one is not None else other for one, other in zip(first, second, strict=True)]


def mapped(function: Callable[[str | None], _Value], texts: Texts) -> list[_Value]:
    """Return what *function* makes of each of *texts*, calling it once for equal ones."""
    values = {text: function(text) for text in set(texts)}
    return [values[text] for text in texts]


def own_lists(columns: Mapping[str, Cells]) -> Lists:
    """Return a copy of *columns*, whose cells may be set."""
    return {name: list(cells) for name, cells in columns.items()}


def set_at(columns: Lists, name: str, row: int, value: object) -> None:
    """Set the cell of *row* in the column *name*, which may be new, to *value*."""
    cells = columns.get(name)
    if cells is None:
        cells = columns[name] = [None] * len(columns["id"])
    cells[row] = value


def with_additions(part: Part, additions: Sequence[tuple[str, Mapping[str, object]]]) -> Iterator[Part]:
    """Yield *part* after adding values to the items that *additions* name, then those that are not in it as rows.

    An added number is taken where it is lower, a text where there was none, as `Rows.merges` does with "min".
    """
    columns = own_lists(part.columns) if additions else {}
    places = {name: row for row, name in enumerate(columns.get("id", ())) if isinstance(name, str)}
    left: Lists = {}
    for name, values in additions:
        place = places.get(name)
        if place is None:
            for column, cell in ({"id": name, "image": None} | dict(values)).items():
                left.setdefault(column, []).append(cell)
            continue
        for column, value in values.items():
            before = columns[column][place] if column in columns else None
            set_at(columns, column, place, value if before is None else lowest([before, value]))
    yield Part(part.lines, columns) if additions else part
    if left:
        yield Part([0] * len(left["id"]), left)


def lowest(values: Iterable[_Value | None]) -> _Value | None:
    """Return the lowest of those *values* that are numbers, else the first one that is not None."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int | float)]
    return min(numbers) if numbers else known[0] if known else None


def set_in(text: str | None, separator: str) -> Attribute:
    """Return the parts of *text* as `as_set` does."""
    if text is None or separator not in text:
        return (text or "").strip() or None
    return as_set(text.split(separator))


def listed(text: str | None, separator: str = ",") -> list[str]:
    """Return the parts of *text* without space around them; an address keeps its own commas."""
    if not text:
        return []
    if separator not in text:
        return [text.strip()] if not text.isspace() else []
    parts = _ADDRESSES.split(text) if "://" in text and separator == "," else text.split(separator)
    return [part.strip() for part in parts if part.strip()]


def as_set(values: Iterable[str]) -> Attribute:
    """Return the distinct *values* as an attribute: None, the only one, or a list as JSON."""
    distinct = list(dict.fromkeys(value.strip() for value in values if value.strip()))
    return json.dumps(distinct, ensure_ascii=False) if len(distinct) > 1 else distinct[0] if distinct else None


def set_of(text: str | None) -> Attribute:
    """Return what *text* lists, with commas, as `as_set` does."""
    return as_set(listed(text)) if text else None


def price_of(text: str | None) -> float | None:
    """Return the price that *text* is, as a number, or None."""
    amount = amount_of(text) if text else None
    return number_of(amount.number) if amount else None


def truth_of(text: str | None) -> bool | None:
    """Return whether *text* says yes, or None where it says neither yes nor no."""
    return _TRUTH.get(text.lower()) if text else None

"""Rows of an export as records, and how their cells are taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from types import MappingProxyType
from typing import TypeAlias

from vision_recs.catalog.amounts import amount_of, number_of
from vision_recs.catalog.cell_types import bare
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.readers import Rows, record_rows
from vision_recs.types import Attribute

Record: TypeAlias = dict[str, str]
"""The cells of a row that are not blank, by the name of their column as `cell_types.bare` has it, without `g:`."""

Translated: TypeAlias = Iterator[tuple[int, dict[str, object]]]
"""Rows with the columns of visrec; those with the number 0 only add to the item that they name."""

_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_ADDRESSES = re.compile(r"\s*,\s*(?=[a-z][a-z0-9]*://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Export:
    """An export: its *name* and *title*, and how it is recognized and translated.

    *recognizes* is given the names of the columns, as they are in a Record. *translate* is given the records with the
    numbers of their rows, what the columns are called in the file, and where to tell what is worth a note. *merges* is
    that of `Rows`.
    """

    name: str
    title: str
    recognizes: Callable[[AbstractSet[str]], bool]
    translate: Callable[[Iterator[tuple[int, Record]], Mapping[str, str], Findings], Translated]
    merges: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def rows(self, rows: Rows, findings: Findings) -> Rows:
        """Return *rows* of this export in the columns of visrec."""
        titles = {bare(column).removeprefix("g:"): column for column in reversed(rows.columns)}
        translated = self.translate(_records(rows), titles, findings)
        return record_rows(
            rows.path,
            translated,
            columns=["id", "image"],
            sparse=True,
            textual=rows.textual,
            unit=rows.unit,
            decimal_comma=rows.decimal_comma,
            merges=self.merges,
        )


def _records(rows: Rows) -> Iterator[tuple[int, Record]]:
    names: list[str] = []
    for batch in rows.batches:
        if len(names) != len(rows.columns):
            names = [bare(column).removeprefix("g:") for column in rows.columns]
        filled = [(name, cells) for name, cells in zip(names, batch.columns, strict=True) if name and any(cells)]
        own = [name for name, _ in filled]
        rows_of_batch = zip(*(cells for _, cells in filled), strict=True) if filled else repeat(())
        for line, cells in zip(batch.lines, rows_of_batch, strict=False):
            yield line, {name: cell for name, cell in zip(own, cells, strict=True) if cell}


def first_of(record: Record, *names: str) -> str | None:
    """Return the first cell of *record* under one of *names*, or None."""
    for name in names:
        if name in record:
            return record[name]
    return None


def set_in(text: str | None, separator: str) -> Attribute:
    """Return the parts of *text* as `as_set` does."""
    if text is None or separator not in text:
        return (text or "").strip() or None
    return as_set(text.split(separator))


def others(record: Record, titles: Mapping[str, str], used: AbstractSet[str]) -> dict[str, object]:
    """Return the cells of *record* that are not *used*, by what their columns are called in the file."""
    return {titles.get(name, name): cell for name, cell in record.items() if name not in used}


def listed(text: str | None, separator: str = ",") -> list[str]:
    """Return the parts of *text* without space around them; an address keeps its own commas."""
    if not text:
        return []
    parts = _ADDRESSES.split(text) if "://" in text and separator == "," else text.split(separator)
    return [part.strip() for part in parts if part.strip()]


def as_set(values: Iterable[str]) -> Attribute:
    """Return the distinct *values* as an attribute: None, the only one, or a list as JSON."""
    return _as_set(tuple(values))


@lru_cache(maxsize=4096)  # a shop has few tags, and few of their combinations
def _as_set(values: tuple[str, ...]) -> Attribute:
    distinct = list(dict.fromkeys(value.strip() for value in values if value.strip()))
    return json.dumps(distinct, ensure_ascii=False) if len(distinct) > 1 else distinct[0] if distinct else None


@lru_cache(maxsize=4096)  # a shop has few prices
def price_of(text: str | None) -> float | None:
    """Return the price that *text* is, as a number, or None."""
    amount = amount_of(text) if text else None
    return number_of(amount.number) if amount else None


def truth_of(text: str | None) -> bool | None:
    """Return whether *text* says yes, or None where it says neither yes nor no."""
    return _TRUTH.get(text.lower()) if text else None

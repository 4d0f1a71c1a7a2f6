"""Changes of a catalog: items to add or to change, whole or in part, and items that are gone."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from operator import index
from pathlib import Path
from typing import NamedTuple, TypeAlias

from vision_recs.catalog.cell_types import (
    IN_STOCK,
    STOCK_NAMES,
    ColumnTypes,
    Converter,
    currency_of,
    is_price,
    plain,
    stock_of,
)
from vision_recs.catalog.columns import ID_NAMES, IMAGE_NAMES, CatalogOptions, id_text, image_references, same_name
from vision_recs.catalog.findings import Findings, First, count_first, short
from vision_recs.catalog.observations import CURRENCY, is_said, odd_note, stock_note, typed_converter
from vision_recs.catalog.places import extension_of
from vision_recs.catalog.readers import EXTENSIONS, json_objects, open_rows
from vision_recs.errors import CatalogError
from vision_recs.filters import AttributeType
from vision_recs.types import Attribute

_MOST_KNOWN = 10_000
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_INT64 = range(-(2**63), 2**63)
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the item *id*.

    Where it *is_row*, it is a row of a table, in which an item may have several, with an image each. Where it is
    *deleted*, the item is gone. Else *attributes* take the place of those of the same name, and *images*,
    if they are not None, that of all images. *version* orders the changes of an item: a change does nothing to an item
    that has a version at least as high.
    """

    id: str
    version: int | None = None
    deleted: bool = False
    images: tuple[str, ...] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    is_row: bool = False


def read_changes(
    path: str | Path,
    options: CatalogOptions,
    types: Callable[[], Mapping[str, AttributeType]] = dict,
    notes: dict[str, None] | None = None,
) -> Iterator[Change]:
    """Yield the changes in the table at *path*: JSON Lines, CSV, TSV or Parquet.

    Its columns are those of a catalog, all but the id may be missing. An empty cell says nothing; in JSON Lines null
    sets an attribute to null, and a key that is missing says nothing. Rows of CSV or Parquet that name images of one
    item add up, as in a catalog; of lines of JSON, which are messages, the last one counts. *types* returns those of
    the store's attributes, which the text of CSV becomes; nothing else asks for them. Of a column that the store does
    not know, all cells of the file decide, as in a catalog. The columns `version` and `deleted` are what `Change` says;
    *options* may name the columns of the ids and the images. *notes* gets what is worth a sentence, at the end. Raises
    CatalogError, which names the line; nothing is left out.
    """
    location = str(Path(path).absolute())
    extension = extension_of(location)
    if extension not in EXTENSIONS:
        kinds = ", ".join(EXTENSIONS)
        raise CatalogError(
            f"changes are read from {kinds}; rename the file, or give - to read JSON Lines", path=location
        )
    if not Path(location).is_file():
        raise CatalogError("there is no such file; give a table of changes, or - for standard input", path=location)
    findings = Findings(location)
    if notes is not None:
        findings.notes = notes
    if extension in {".jsonl", ".ndjson"}:
        records = json_objects(location, findings)
        yield from _changes(_as_written(records), _Keys(options), location, findings.note)
        return
    rows = open_rows(location, findings)
    try:
        keys = _Keys(options, rows.columns)
        reserved = keys.of_table or ()
    except ValueError as error:
        raise CatalogError(str(error), path=location) from error
    read = _TextCells(types(), findings, decimal_comma=rows.decimal_comma).value if rows.textual else _as_it_is

    def of_table() -> Iterator[_Record]:
        for line, cells in rows.cells():
            said = {name: cell for name, cell in zip(rows.columns, cells, strict=True) if name and is_said(cell)}
            yield line, {name: cell if name in reserved else read(name, cell) for name, cell in said.items()}, said

    for change in _changes(of_table(), keys, location, findings.note):
        yield replace(change, is_row=True)


def changes_of(
    records: Iterable[Mapping[str, object]], options: CatalogOptions, notes: dict[str, None] | None = None
) -> Iterator[Change]:
    """Yield the change that each of *records* says, as a line of JSON would; raises CatalogError.

    *notes* gets what is worth a sentence, at the end.
    """
    found: dict[str, None] = {} if notes is None else notes
    yield from _changes(_as_written(enumerate(records, 1)), _Keys(options), "the changes", found.setdefault)


_Record: TypeAlias = tuple[int, Mapping[str, object], Mapping[str, object]]
"""The number of a record, its values, and what was written in their places."""


def _as_written(records: Iterable[tuple[int, Mapping[str, object]]]) -> Iterator[_Record]:
    return ((line, record, record) for line, record in records)


def _changes(records: Iterable[_Record], keys: _Keys, location: str, note: Callable[[str], object]) -> Iterator[Change]:
    for line, record, written in records:
        try:
            yield keys.change(record, written)
        except UnicodeEncodeError as error:
            why = "a text holds half a character (a lone surrogate); write it anew"
            raise CatalogError(why, path=location, line=line) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise CatalogError(str(error), path=location, line=line) from error
    if keys.image_is_missing:
        note(f"no change has the key {short(keys.image_is_missing)} of the images; correct --image-column")
    for name, odd in keys.odd_stock.items():
        note(stock_note(f"the attribute {short(name)}", odd))


class _Keys:
    """Which keys of a record hold the id and the images: those of the record, or of the *columns* of its table."""

    def __init__(self, options: CatalogOptions, columns: Sequence[str] = ()) -> None:
        """Take the names that *options* give, or the usual ones; raises ValueError where *columns* have no id."""
        self._wanted = {
            "id": (options.id_column,) if options.id_column else ID_NAMES,
            "image": (options.image_column,) if options.image_column else IMAGE_NAMES,
        }
        self._known: dict[tuple[str, ...], _Names] = {}
        self._converters: dict[str, Converter] = {}
        self.odd_stock: dict[str, First] = {}
        """What does not say whether an item is in stock, by the name of the attribute."""
        self._options = options
        self.has_image = False
        """Whether a record had the key of the images that the options name."""
        self.of_table = self._choose(tuple(columns)) if columns else None
        if self.of_table and options.image_column and not self.has_image:
            raise ValueError(
                f"there is no column {options.image_column!r} among {_listed(columns)}; correct --image-column"
            )

    @property
    def image_is_missing(self) -> str:
        """The key of the images that the options name, if there were records and none had it; else nothing."""
        return (self._options.image_column or "") if self._known and not self.has_image else ""

    def change(self, record: Mapping[str, object], written: Mapping[str, object]) -> Change:
        """Return the change that *record* says, whose values are *written* like that in the file.

        Raises ValueError, TypeError or AttributeError.
        """
        known = self.of_table or self._names_in(tuple(record))
        deleted = _truth(record.get(known.deleted))
        item = id_text(record.get(known.id))
        derived = known.derived.values(written)
        if known.derived.stock is not None and IN_STOCK not in derived:
            self._tell_stock(known.derived.stock, written.get(known.derived.stock), item)
        change = Change(
            id=item,
            version=version_of(record.get(known.version)),
            deleted=deleted,
            images=None if known.image is None or deleted else _images(record.get(known.image)),
            attributes={name: self._value(name, value, item) for name, value in record.items() if name not in known}
            | derived,
        )
        json.dumps([change.id, change.images, change.attributes], ensure_ascii=False).encode()  # text that is none
        return change

    def _value(self, name: str, value: object, item: str) -> Attribute:
        if isinstance(value, float | Decimal) and math.isinf(value):
            raise ValueError(f"{short(name)} is larger than any number can be; correct it")
        if name not in self._converters:
            self._converters[name] = typed_converter(name)
        kept = plain(value)
        if kept is None and is_said(value):
            raise ValueError(f"{short(name)} is {short(value)}, which cannot be kept; correct it")
        converted = self._converters[name](kept)
        if converted is None:
            self._tell_stock(name, kept, item)
        return converted

    def _tell_stock(self, name: str, value: object, item: str) -> None:
        if is_said(value):
            count_first(self.odd_stock, name, First(value, item))

    def _names_in(self, names: tuple[str, ...]) -> _Names:
        if names not in self._known:
            if len(self._known) > _MOST_KNOWN:  # records with any keys must not fill the memory
                self._known, self._converters = {}, {}
            self._known[names] = self._choose(names)
        return self._known[names]

    def _choose(self, names: tuple[str, ...]) -> _Names:
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"the key {name!r} is not text")

        def named(*usual: str) -> str | None:
            return next((name for each in usual for name in names if same_name(name, each)), None)

        of_id = named(*self._wanted["id"])
        if of_id is None and self._options.id_column:
            raise ValueError(f"there is no key {self._options.id_column!r} among {_listed(names)}; correct --id-column")
        if of_id is None:
            raise ValueError(f"no known key of an id among {_listed(names)}; name it with --id-column")
        derived = _Derived(
            stock=None if IN_STOCK in names else named(*STOCK_NAMES),
            prices=() if named(CURRENCY) else tuple(sorted(filter(is_price, names), key=lambda name: name != "price")),
        )
        image = named(*self._wanted["image"])
        self.has_image = self.has_image or image is not None
        return _Names(of_id, image, named("version") or "version", named("deleted") or "deleted", derived)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20])) or "no key at all"


class _Derived(NamedTuple):
    """The keys that say what a record has no key for, as in a catalog: whether the item is in stock, its currency."""

    stock: str | None
    prices: tuple[str, ...]

    def values(self, written: Mapping[str, object]) -> dict[str, Attribute]:
        """Return the attributes that the values *written* say without a key of their own."""
        found: dict[str, Attribute] = {}
        in_stock = None if self.stock is None else stock_of(plain(written.get(self.stock)))
        if in_stock is not None:
            found[IN_STOCK] = in_stock
        for name in self.prices:
            currency = currency_of(plain(written.get(name)))
            if currency is not None:
                return {**found, CURRENCY: currency}
        return found


class _Names(NamedTuple):
    """The keys of a record that are not attributes, and those that say more than one."""

    id: str
    image: str | None
    version: str
    deleted: str
    derived: _Derived


def version_of(value: object) -> int | None:
    """Return *value*, a whole number or a time (ISO 8601), as a number; a time as microseconds since 1970, in UTC.

    Raises ValueError for anything else. A time without a zone is taken as UTC.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():  # as a table has them in which some are missing
        value = int(value)
    if not isinstance(value, str | bool | float) and hasattr(value, "__index__"):
        value = index(value)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, dt.datetime):
        return ((value if value.tzinfo else value.replace(tzinfo=dt.UTC)) - _EPOCH) // _MICROSECOND
    raise ValueError("a version is a whole number or a time such as 2026-11-28T09:30:00Z; correct it")


def _truth(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    found = _WORDS.get(str(value).strip().lower())
    if found is None:
        raise ValueError(f"deleted is true or false, not {value!r}; correct it")
    return found


def _images(value: object) -> tuple[str, ...] | None:
    """Return the images that *value* names, or None where it says nothing; raises ValueError for a list of none."""
    try:
        found = tuple(image_references(value))
    except ValueError as error:
        raise ValueError(f"{error}; correct it") from error
    is_list = isinstance(value, list | tuple) or (isinstance(value, str) and value.strip())
    if is_list and not found:
        raise ValueError(
            "the list of images is empty; leave it out to keep the images of the item, or write deleted as true to "
            "remove the item"
        )
    return found or None


def _as_it_is(_name: str, cell: object) -> object:
    return cell


class _TextCells:
    """Turns the cells of CSV into values.

    They are text where the store has text only. In a column that the store does not know, they are what all cells of
    the column can be; else each is what it looks like, so that one odd price does not make the others text.
    """

    def __init__(self, types: Mapping[str, AttributeType], findings: Findings, *, decimal_comma: bool) -> None:
        """Know the *types* of the store; a new column of the table of *findings* is read as soon as it is needed."""
        self._types = types
        self._location = findings.path
        self._note = findings.note
        self._decimal_comma = decimal_comma
        self._known: dict[tuple[str, str], object] = {}

    def value(self, name: str, cell: object) -> object:
        """Return the value of *cell* in the column *name*; raises CatalogError."""
        text = str(cell)
        if self._types.get(name) is AttributeType.TEXT:
            return text
        if name not in self._types:
            value = self._of_new_columns[name](text)
            return text if value is None else value
        if (name, text) not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            column = ColumnTypes([name], decimal_comma=self._decimal_comma)
            column.observe([[text]])
            value = column.converters()[0](text)
            self._known[name, text] = (
                text if value is None else value
            )  # that it says nothing of the stock is told later
        return self._known[name, text]

    @cached_property
    def _of_new_columns(self) -> dict[str, Converter]:
        """The converters of all columns, for which the whole table is read."""
        rows = open_rows(self._location, Findings(self._location))
        columns = ColumnTypes(rows.columns, decimal_comma=self._decimal_comma)
        for batch in rows.batches:
            columns.observe(batch.columns)
        for position in columns.are_text:
            if rows.columns[position] not in self._types:
                self._note(odd_note(rows.columns[position], columns.odd_cells[position], is_text=True))
        return dict(zip(rows.columns, columns.converters(), strict=True))

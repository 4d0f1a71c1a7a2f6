"""Cells become attributes: text, whole numbers, numbers, true or false, nothing."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from vision_recs.catalog.amounts import amount_of, has_decimal_comma, number_of
from vision_recs.catalog.findings import First, count_first
from vision_recs.types import Attribute, is_unicode, normal_form

Converter: TypeAlias = Callable[[Attribute], Attribute]

_INT64 = range(-(2**63), 2**63)
_TEXTS = frozenset({str, type(None)})
_EXACT_IN_FLOAT = 2**53
_MOST_DIGITS = 16  # of that number
# No leading zeros: 00123 is a code. An exponent needs its sign, as every program writes it: 12E5 is a code too.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-][0-9]+)?")
_COMMA = re.compile(r"-?[0-9]+,[0-9]+|-?[0-9]+")
_ODD_AT_MOST = 10  # one in so many distinct cells: then the column was meant to hold numbers

IN_STOCK = "in_stock"
"""The attribute that is true for an item that can be bought."""

_IN_STOCK = ("instock", "isinstock", "instock?", "available", "isavailable")
STOCK_NAMES = (*_IN_STOCK, "availability", "stockstatus")
"""Names of columns that say whether an item can be bought, the best first; spaces, hyphens and _ do not matter."""

_PRICES = {"price", "cost", "msrp", "rrp", "uvp", "preis", "prix", "precio", "prezzo", "prijs"}
_WORDS = dict.fromkeys(("true", "yes", "y", "1", "t", "ja", "oui", "si", "sí"), True) | dict.fromkeys(
    ("false", "no", "n", "0", "f", "nein", "non"), False
)
_STOCK_WORDS = dict.fromkeys(
    (
        *("instock", "available", "limitedavailability", "onlineonly", "instoreonly", "preorder", "presale"),
        *("backorder", "onbackorder", "availablefororder", "lagernd"),
    ),
    True,
) | dict.fromkeys(("outofstock", "soldout", "unavailable", "discontinued", "notavailable", "ausverkauft"), False)


class _Kind(NamedTuple):
    accepts: Callable[[str], bool]  # given text without space around it
    parse: Callable[[str], Attribute]  # given the cell


def _is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and int(text) in _INT64


def _is_decimal(text: str) -> bool:
    if _DECIMAL.fullmatch(text) is None:
        return False
    # A long run of digits names something, as an EAN does, and a float would lose its end.
    digits = text.lstrip("-")
    if not digits.isdigit():
        return math.isfinite(float(text))
    return len(digits) <= _MOST_DIGITS and int(digits) <= _EXACT_IN_FLOAT


def _is_truth(text: str) -> bool:
    return text.lower() in {"true", "false"}


_TRUTH = _Kind(_is_truth, lambda text: text.strip().lower() == "true")
_KINDS = (_Kind(_is_integer, int), _Kind(_is_decimal, float), _TRUTH)
_DECIMAL_COMMA = _Kind(
    lambda text: _COMMA.fullmatch(text) is not None and _is_decimal(text.replace(",", ".")),
    lambda text: float(text.replace(",", ".")),
)
_AMOUNT = _Kind(lambda text: amount_of(text) is not None, float)  # parsed with what the rest of the column tells


@lru_cache(maxsize=1024)
def _stock_of_text(text: str) -> Attribute:
    return stock_of(text)


_STOCK = _Kind(lambda _: True, _stock_of_text)
_AVAILABLE = _Kind(lambda text: stock_of(text) is not None, _stock_of_text)
_YES_OR_NO = _Kind(lambda text: text.lower() in _WORDS, lambda text: _WORDS[text.strip().lower()])


def stock_of(cell: object) -> bool | None:
    """Return whether *cell* says that an item can be bought: as true or false, a count, or the words of shops.

    What can be ordered before it is there is in stock: "preorder", "backorder". None where *cell* says nothing known.
    """
    if cell is None or isinstance(cell, bool):
        return cell
    if isinstance(cell, int | float | Decimal):
        return cell > 0
    text = str(cell).strip()
    if _is_decimal(text):
        return float(text) > 0
    text = re.sub(r"[\s_-]+", "", text.rpartition("/")[2]).lower()  # https://schema.org/InStock
    return _WORDS.get(text, _STOCK_WORDS.get(text))


def is_price(name: str) -> bool:
    """Whether a column of this *name* holds prices."""
    return bare(name) in _PRICES or bare(name).endswith("price")


def is_stock(name: str) -> bool:
    """Whether a column of this *name* is true for an item that can be bought."""
    return bare(name) in _IN_STOCK


def bare(name: str) -> str:
    """Return the *name* of a column without what does not matter: case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def _kinds_of(name: str, *, decimal_comma: bool) -> tuple[_Kind, ...]:
    kinds = (*_KINDS[:2], _DECIMAL_COMMA, *_KINDS[2:]) if decimal_comma else _KINDS
    if is_stock(name):
        return (_STOCK if "in" in bare(name) else _AVAILABLE, *kinds)
    if is_price(name):
        return (*kinds, _AMOUNT)
    return (_YES_OR_NO, *kinds) if name.lower().startswith(("is_", "has_", "is ", "has ")) else kinds


class ColumnTypes:
    """The types of the columns of a text table, found by looking at every cell.

    A column has the first of these types that suits all its cells that are not blank: whole number of 64 bits, number,
    true or false, text. Words like nan and inf are text, and so is what a number would lose: leading zeros, more digits
    than a float holds, exponents without a sign. The name of a column adds types: amounts of money for prices, yes and
    no for `is_...`, counts and "in stock" for the stock. With *decimal_comma*, 1,5 is a number. In a column of prices,
    a cell that is no number is text by itself, and the others are numbers.
    """

    def __init__(self, names: Sequence[str], *, decimal_comma: bool = False) -> None:
        """Start with the columns *names*, whose cells were not seen yet; more of them may come."""
        self._names = names
        self._decimal_comma = decimal_comma
        self._every: list[tuple[_Kind, ...]] = []
        self._possible: list[tuple[_Kind, ...]] = []
        self._before: dict[int, tuple[_Kind, ...]] = {}  # what a column could be until odd cells made it text
        self._has_comma: set[int] = set()
        self.odd_cells: dict[int, First] = {}
        """The cells that are no numbers in columns that are meant to hold some, by the position of the column."""

    @property
    def are_text(self) -> Collection[int]:
        """The columns that are text because of odd cells, also those of prices that hold none."""
        unseen = (position for position in self.odd_cells if self._possible[position] == self._every[position])
        return {*self._before, *unseen}

    def observe(self, columns: Sequence[Sequence[object]], items: Sequence[str] = ()) -> None:
        """Exclude the types that do not suit the cells of *columns*; what is neither text nor None has its type.

        *items* are the ids of their rows, if they are known.
        """
        for name in self._names[len(self._every) :]:
            self._every.append(_kinds_of(name, decimal_comma=self._decimal_comma))
            self._possible.append(self._every[-1])
        for position, cells in enumerate(columns):
            if self._possible[position] or position in self._before:
                texts = {cell.strip() for cell in set(cells) if isinstance(cell, str)} - {""}
                odd = self._exclude(position, texts)
                if odd:
                    self._count(position, odd, cells, items)

    def _exclude(self, position: int, texts: set[str]) -> set[str]:
        """Exclude the types that do not suit *texts*, and return those of them that are no numbers where these are."""
        before = self._possible[position]
        suitable = _suiting(before, texts)
        odd: set[str] = set()
        if not suitable and is_price(self._names[position]):
            numeric = tuple(kind for kind in self._every[position] if kind is not _TRUTH)
            odd = {text for text in texts if not _suits_any(numeric, text)}
            texts = texts - odd
            suitable = _suiting(before, texts)
        if suitable == (_AMOUNT,):
            numbers = (amount.number for amount in map(amount_of, texts) if amount)
            if any(has_decimal_comma(number) for number in numbers):
                self._has_comma.add(position)
        self._possible[position] = suitable
        return odd if suitable else self._making_text(position, before, texts | odd)

    def _making_text(self, position: int, before: tuple[_Kind, ...], texts: set[str]) -> set[str]:
        """Return those of *texts* that make a column of numbers text, which had the types *before*, if any."""
        meant = self._before.get(position, before)
        odd = {text for text in texts if not _suits_any(meant, text)}
        if before and odd and (before != self._every[position] or len(odd) * _ODD_AT_MOST <= len(texts)):
            self._before[position] = before
        return odd if position in self._before else set()

    def _count(self, position: int, odd: set[str], cells: Sequence[object], items: Sequence[str]) -> None:
        places = [place for place, cell in enumerate(cells) if isinstance(cell, str) and cell.strip() in odd]
        first = First(cells[places[0]], items[places[0]] if items else "", len(places))
        count_first(self.odd_cells, position, first)

    def converters(self) -> list[Converter]:
        """Return, for each column, the function that turns its text into a value; a blank cell becomes None."""
        return [self._converter(position) for position in range(len(self._possible))]

    def _converter(self, position: int) -> Converter:
        kinds = self._possible[position]
        if not kinds:
            return text_of
        kind = kinds[0]
        parse = kind.parse if kind is not _AMOUNT else _amount_parser(decimal_comma=position in self._has_comma)
        if position in self.odd_cells:
            return _converter(lambda text: parse(text) if kind.accepts(text.strip()) else text_of(text))
        return _converter(parse)


def _suiting(kinds: tuple[_Kind, ...], texts: set[str]) -> tuple[_Kind, ...]:
    return tuple(kind for kind in kinds if all(map(kind.accepts, texts)))


def _suits_any(kinds: tuple[_Kind, ...], text: str) -> bool:
    return any(kind.accepts(text) for kind in kinds)


def _amount_parser(*, decimal_comma: bool) -> Callable[[str], Attribute]:
    def parse(text: str) -> Attribute:
        amount = amount_of(text)
        return None if amount is None else number_of(amount.number, decimal_comma=decimal_comma)

    return parse


def currency_of(cell: Attribute) -> Attribute:
    """Return the currency that *cell*, a price as text, names; None where it names none."""
    amount = amount_of(cell) if isinstance(cell, str) else None
    return amount.currency if amount else None


def _converter(parse: Callable[[str], Attribute]) -> Converter:
    def convert(cell: Attribute) -> Attribute:
        if isinstance(cell, str):
            return parse(cell) if cell and not cell.isspace() else None
        return cell

    return convert


def text_of(cell: Attribute) -> Attribute:
    """Return *cell* in the normal form NFC of Unicode, or None where it is blank text."""
    if isinstance(cell, str):
        return _kept(cell) if cell and not cell.isspace() else None
    return cell


def converted(convert: Converter, cells: Sequence[Attribute]) -> Sequence[Attribute]:
    """Return the value of each of *cells*, those of a column: equal texts are converted once."""
    if not _TEXTS.issuperset(map(type, cells)):  # 1 and True are equal, and have each a value
        return list(map(convert, cells))
    if convert is text_of and _are_kept(cells):
        return [cell if cell and not cell.isspace() else None for cell in cells]  # type: ignore[union-attr]
    values = {cell: convert(cell) for cell in set(cells)}
    return [values[cell] for cell in cells]


def _are_kept(cells: Sequence[object]) -> bool:
    """Whether *cells*, texts or None, are all kept as they are: ASCII without an escape sequence."""
    text = "".join(filter(None, cells))  # type: ignore[arg-type]
    return text.isascii() and "\\" not in text


def _kept(text: str) -> str:
    """Return *text* in its normal form; in a list as JSON, characters stand in place of escape sequences."""
    if "\\" in text and text.startswith("["):
        with suppress(ValueError, RecursionError):
            written = json.dumps(json.loads(text), ensure_ascii=False, allow_nan=False)
            text = written if is_unicode(written) else text
    return normal_form(text)


def plain_cells(cells: Sequence[object]) -> Sequence[Attribute]:
    """Return `plain` of each of *cells*, those of a column."""
    types = set(map(type, cells))
    is_plain = types == {bool} or (types <= _TEXTS and _are_kept(cells))
    if types == {int}:
        is_plain = min(cells) in _INT64 and max(cells) in _INT64  # type: ignore[type-var, operator]
    elif types == {float}:
        is_plain = math.isfinite(sum(cells))  # type: ignore[arg-type]
    return cells if is_plain else list(map(plain, cells))  # type: ignore[return-value]


def plain(value: object) -> Attribute:
    """Return *value*, which was read from JSON or Parquet, as an attribute.

    Decimals become floats, dates and times ISO 8601 text, bytes the text that they encode in UTF-8, lists and objects
    JSON text, whole numbers beyond 64 bits text. What JSON cannot express (NaN, infinity, bytes that are not text)
    becomes None.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _kept(value)
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    return _plain_compound(value)


def _plain_compound(value: object) -> Attribute:
    if isinstance(value, list | tuple | dict):
        return normal_form(json.dumps(value, ensure_ascii=False, default=plain))
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return normal_form(value.decode())
        except UnicodeDecodeError:
            return None
    return str(value)

"""Cells become attributes: text, whole numbers, numbers, true or false, nothing."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from vision_recs.types import Attribute

Converter: TypeAlias = Callable[[Attribute], Attribute]

_INT64 = range(-(2**63), 2**63)
_EXACT_IN_FLOAT = 2**53
_MOST_DIGITS = 16  # of that number
# No leading zeros: 00123 is a code. An exponent needs its sign, as every program writes it: 12E5 is a code too.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-][0-9]+)?")


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


_KINDS = (
    _Kind(_is_integer, int),
    _Kind(_is_decimal, float),
    _Kind(_is_truth, lambda text: text.strip().lower() == "true"),
)


class ColumnTypes:
    """The types of the columns of a text table, found by looking at every cell.

    A column has the first of these types that suits all its cells that are not blank: whole number of 64 bits, number,
    true or false, text. Words like nan and inf are text, and so is what a number would lose: leading zeros, more digits
    than a float holds, exponents without a sign.
    """

    def __init__(self, width: int) -> None:
        """Start with *width* columns whose cells were not seen yet."""
        self._possible: list[tuple[_Kind, ...]] = [_KINDS] * width

    def observe(self, rows: Iterable[Sequence[object]]) -> None:
        """Exclude the types that do not suit the cells (text or None) of *rows*."""
        for position, cells in enumerate(zip(*rows, strict=True)):
            if self._possible[position]:
                texts = {str(cell).strip() for cell in set(cells) if cell} - {""}
                self._possible[position] = tuple(
                    kind for kind in self._possible[position] if all(map(kind.accepts, texts))
                )

    def converters(self) -> list[Converter]:
        """Return, for each column, the function that turns its text into a value; a blank cell becomes None."""
        return [_converter(kinds[0].parse) if kinds else _text for kinds in self._possible]


def _converter(parse: Callable[[str], Attribute]) -> Converter:
    def convert(cell: Attribute) -> Attribute:
        return parse(cell) if isinstance(cell, str) and cell and not cell.isspace() else None

    return convert


def _text(cell: Attribute) -> Attribute:
    return cell if isinstance(cell, str) and cell and not cell.isspace() else None


def plain(value: object) -> Attribute:
    """Return *value*, which was read from JSON or Parquet, as an attribute.

    Decimals become floats, dates and times ISO 8601 text, bytes the text that they encode in UTF-8, lists and objects
    JSON text, whole numbers beyond 64 bits text. What JSON cannot express (NaN, infinity, bytes that are not text)
    becomes None.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    return _plain_compound(value)


def _plain_compound(value: object) -> Attribute:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=plain)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return str(value)

"""Amounts of money as shops write them: `14.99 EUR`, `1.299,00 €`, `$1,299`, `CHF 12.-`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_SYMBOLS = {
    "€": "EUR", "$": "USD", "US$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW",
    "zł": "PLN", "zł.": "PLN", "Kč": "CZK", "Ft": "HUF", "R$": "BRL", "A$": "AUD", "C$": "CAD", "kr": "kr", "kr.": "kr",
    "₫": "VND", "฿": "THB", "₴": "UAH", "₪": "ILS", "lei": "RON", "Fr.": "CHF", "лв": "BGN", "лв.": "BGN",
}  # fmt: skip
_AMOUNT = re.compile(
    r"(?P<sign>-?)(?P<before>[^\W\d_]{1,3}\.?\$?|[^\w\s.,+\-]{1,2})?\s*(?P<number>-?[0-9][0-9.,'\u2019\s]*)(?:[-\u2013\u2014])?\s*"
    r"(?P<after>[^\W\d_]{1,3}\.?\$?|[^\w\s.,+\-]{1,2})?"
)
_THOUSAND = 3  # digits stand behind a separator of thousands


class Amount(NamedTuple):
    """A number as text, and its currency: three letters (ISO 4217) where the sign is known, or None."""

    number: str
    currency: str | None


@lru_cache(maxsize=1 << 14)  # a column of prices is looked at three times, and most shops have fewer of them
def amount_of(text: str) -> Amount | None:
    """Return the amount that *text* is, or None where it is something else: `ask us`, `5 kg`, `12 %`."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or (found["before"] and found["after"]):
        return None
    sign = found["before"] or found["after"]
    currency = None if sign is None else _currency(sign)
    number = re.sub("['\u2019\\s]", "", found["sign"] + found["number"]).rstrip(".,")
    if (sign is not None and currency is None) or number_of(number) is None:
        return None
    return Amount(number, currency)


def _currency(sign: str) -> str | None:
    if sign in _SYMBOLS:
        return _SYMBOLS[sign]
    return sign.upper() if re.fullmatch("[A-Z]{3}|[a-z]{3}", sign) and sign.upper() not in {"PCS", "KGS"} else None


def has_decimal_comma(number: str) -> bool | None:
    """Return whether the comma of *number* is that of decimals; None where it may as well be one of thousands."""
    point, comma = number.rfind("."), number.rfind(",")
    if point >= 0 and comma >= 0:
        return comma > point
    place = max(point, comma)
    if place < 0:
        return None
    is_comma = comma >= 0
    sign = number[place]
    if number.count(sign) > 1:
        return not is_comma  # it separates thousands, so the other one would separate decimals
    return None if len(number) - place - 1 == _THOUSAND else is_comma


def number_of(number: str, *, decimal_comma: bool = False) -> float | None:
    """Return the value of *number*, or None where its separators contradict each other.

    *decimal_comma* decides what only the rest of the column tells: whether `1,299` is more than a thousand.
    """
    known = has_decimal_comma(number)
    mark = "," if (decimal_comma if known is None else known) else "."
    whole, _, decimals = number.partition(mark)
    first, *groups = re.split("[.,]", whole)
    if not first or (decimals and not decimals.isdigit()) or any(len(group) != _THOUSAND for group in groups):
        return None
    return float(f"{first}{''.join(groups)}.{decimals or 0}")

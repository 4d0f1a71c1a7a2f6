"""What the cells of a table show beside their types: currencies, mixed types, words that say nothing of the stock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vision_recs.catalog.amounts import amount_of, number_of
from vision_recs.catalog.cell_types import (
    IN_STOCK,
    STOCK_NAMES,
    Converter,
    bare,
    currency_of,
    is_price,
    is_stock,
    plain_cells,
    stock_of,
)
from vision_recs.catalog.findings import Findings, First, count_first, short
from vision_recs.catalog.value_types import ValueTypes, mixed
from vision_recs.filters import AttributeType
from vision_recs.types import Attribute

CURRENCY = "currency"
"""The attribute that names the currency of the prices, where these do."""


class Observations:
    """Sees every cell of a table; what there is to say is told at the end. The memory does not grow with the rows."""

    def __init__(self, names: Sequence[str], *, typed: bool) -> None:
        """Start with the columns *names*, of which more may come; in a *typed* table each cell has its own type."""
        self._names = names
        self._typed = typed
        self._types = ValueTypes()
        self._lost: dict[int, First] = {}
        self._currencies: dict[int, dict[str, None]] = {}
        self._odd_stock: dict[int, First] = {}

    def values(self, position: int, cells: Sequence[object], items: Sequence[str]) -> Sequence[Attribute]:
        """Return the values of *cells*, those of *items* in a column of a typed table; what cannot be kept is None."""
        values = plain_cells(cells)
        if values is not cells:
            for place, (cell, value) in enumerate(zip(cells, values, strict=True)):
                if value is None and is_said(cell):
                    count_first(self._lost, position, First(cell, items[place]))
        return values

    def observe(self, columns: Sequence[Sequence[Attribute]], items: Sequence[str]) -> None:
        """See the cells of *columns*, those of *items*."""
        for position, (name, cells) in enumerate(zip(self._names, columns, strict=True)):
            if bare(name) in STOCK_NAMES:
                self._see_stock(position, cells, items)
                continue
            if is_price(name):
                found = (currency_of(cell) for cell in set(cells))
                currencies = dict.fromkeys(sorted(str(one) for one in found if one))
                self._currencies.setdefault(position, {}).update(currencies)
            if self._typed:
                self._types.see_column(name, list(map(_priced, cells)) if is_price(name) else cells, items)

    def _see_stock(self, position: int, cells: Sequence[Attribute], items: Sequence[str]) -> None:
        odd = {cell for cell in set(cells) if isinstance(cell, str) and cell.strip() and stock_of(cell) is None}
        for item, cell in zip(items, cells, strict=True) if odd else ():
            if cell in odd:
                count_first(self._odd_stock, position, First(cell, item))

    def derived(self) -> dict[str, tuple[int, Converter]]:
        """Return the attributes that no column has, each with a column and the function of its cells that gives it."""
        names = [bare(name) for name in self._names]
        derived: dict[str, tuple[int, Converter]] = {}
        stock = next((names.index(name) for name in STOCK_NAMES if name in names), None)
        if stock is not None and IN_STOCK not in self._names:
            derived[IN_STOCK] = (stock, stock_of)
        priced = [position for position, found in self._currencies.items() if found]
        if priced and CURRENCY not in names:
            best = next((position for position in priced if names[position] == "price"), priced[0])
            derived[CURRENCY] = (best, currency_of)
        return derived

    def tell(self, odd_cells: Mapping[int, First], are_text: Collection[int], findings: Findings) -> None:
        """Note in *findings* what a person should know; *odd_cells* are text in columns of numbers.

        The columns *are_text* became text because of them.
        """
        for position, odd in odd_cells.items():
            findings.note(odd_note(self._names[position], odd, is_text=position in are_text))
        for sentence in self._types.notes("column", "row"):
            findings.note(sentence)
        for position, lost in self._lost.items():
            findings.note(lost_note(self._names[position], lost))
        for position, currencies in self._currencies.items():
            if len(currencies) > 1:
                findings.note(
                    f"the prices in {self._names[position]!r} are in {' and '.join(currencies)}; filter by currency"
                )
        for position, odd in self._odd_stock.items():
            findings.note(stock_note(f"the column {short(self._names[position])}", odd))


def is_said(cell: object) -> bool:
    """Whether *cell*, which became null, held something: NaN holds nothing, as data frames write an empty cell."""
    return cell is not None and cell == cell and not (isinstance(cell, str) and not cell.strip())  # noqa: PLR0124


def odd_note(name: str, odd: First, *, is_text: bool) -> str:
    """Return the sentence that *odd* cells are text in the column *name*, or made all of it text."""
    if not is_text:
        return mixed(f"the column {short(name)}", AttributeType.NUMBER, {AttributeType.TEXT: odd}, "row")
    cells = "1 cell," if odd.count == 1 else f"{odd.count:,} cells, the first"
    return f"the column {short(name)} is text because of {cells} {odd}; to compare it, write numbers"


def lost_note(name: str, lost: First) -> str:
    """Return the sentence that values of the column *name* are null, since they cannot be kept."""
    values = "1 value," if lost.count == 1 else f"{lost.count:,} values, the first"
    return f"the column {short(name)} has {values} {lost}, that cannot be kept; null takes the place"


def stock_note(what: str, odd: First) -> str:
    """Return the sentence that values of *what*, a column or an attribute, do not say whether an item is in stock."""
    more = "" if odd.count == 1 else f" and {odd.count - 1:,} more"
    does = "does" if odd.count == 1 else "do"
    return f"{odd}{more} in {what} {does} not say whether an item is in stock"


def typed_converter(name: str) -> Converter:
    """Return the function that turns the cells of the column *name* of a typed table into values."""
    if is_stock(name):
        return stock_of
    return _priced if is_price(name) else _unchanged


def _priced(cell: Attribute) -> Attribute:
    amount = amount_of(cell) if isinstance(cell, str) else None
    return cell if amount is None else number_of(amount.number)


def _unchanged(cell: Attribute) -> Attribute:
    return cell

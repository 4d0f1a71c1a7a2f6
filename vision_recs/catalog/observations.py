"""What the cells of a table show beside their types: currencies, mixed types, words that say nothing of the stock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vision_recs.catalog.amounts import amount_of, number_of
from vision_recs.catalog.cell_types import (
    IN_STOCK,
    STOCK_NAMES,
    Converter,
    bare,
    currency_of,
    is_price,
    is_stock,
    stock_of,
)
from vision_recs.catalog.findings import Findings
from vision_recs.types import Attribute

_WORDS = {str: "text", bool: "true or false", int: "numbers", float: "numbers"}
_CURRENCY = "currency"


class Observations:
    """Sees every cell of a table; what there is to say is told at the end. The memory does not grow with the rows."""

    def __init__(self, names: Sequence[str], *, typed: bool) -> None:
        """Start with the columns *names*, of which more may come; in a *typed* table each cell has its own type."""
        self._names = names
        self._typed = typed
        self._kinds: dict[int, dict[str, object]] = {}  # column -> kind of value -> the first value of that kind
        self._currencies: dict[int, dict[str, None]] = {}
        self._odd_stock: dict[int, str] = {}

    def observe(self, columns: Sequence[Sequence[Attribute]]) -> None:
        """See the cells of *columns*."""
        for position, (name, cells) in enumerate(zip(self._names, columns, strict=True)):
            if self._typed or is_price(name) or bare(name) in STOCK_NAMES:
                self._see(position, set(cells) - {None})

    def _see(self, position: int, cells: set[Attribute]) -> None:
        name = self._names[position]
        if bare(name) in STOCK_NAMES:
            odd = (cell for cell in cells if isinstance(cell, str) and cell.strip() and stock_of(cell) is None)
            if (first := min(odd, default=None)) is not None:
                self._odd_stock.setdefault(position, first)
            return
        if is_price(name):
            found = (currency_of(cell) for cell in cells)
            self._currencies.setdefault(position, {}).update(dict.fromkeys(sorted(str(one) for one in found if one)))
            cells = {cell for cell in cells if not isinstance(cell, str) or amount_of(cell) is None}
        if self._typed:
            kinds = self._kinds.setdefault(position, {})
            for kind in {type(cell) for cell in cells}:
                if _WORDS[kind] not in kinds:
                    kinds[_WORDS[kind]] = min((cell for cell in cells if type(cell) is kind), key=repr)

    def derived(self) -> dict[str, tuple[int, Converter]]:
        """Return the attributes that no column has, each with a column and the function of its cells that gives it."""
        names = [bare(name) for name in self._names]
        derived: dict[str, tuple[int, Converter]] = {}
        stock = next((names.index(name) for name in STOCK_NAMES if name in names), None)
        if stock is not None and IN_STOCK not in self._names:
            derived[IN_STOCK] = (stock, stock_of)
        priced = [position for position, found in self._currencies.items() if found]
        if priced and _CURRENCY not in names:
            best = next((position for position in priced if names[position] == "price"), priced[0])
            derived[_CURRENCY] = (best, currency_of)
        return derived

    def tell(self, odd_cells: Mapping[int, str], findings: Findings) -> None:
        """Note in *findings* what a person should know; *odd_cells* have made columns of numbers text."""
        for position, cell in odd_cells.items():
            findings.note(
                f"the column {self._names[position]!r} is text because of {_short(cell)}; to compare it, write numbers"
            )
        for position, kinds in self._kinds.items():
            if len(kinds) > 1:
                shown = " and ".join(f"{kind} ({_short(value)})" for kind, value in sorted(kinds.items()))
                findings.note(f"the column {self._names[position]!r} holds {shown}; a filter finds those of one type")
        for position, currencies in self._currencies.items():
            if len(currencies) > 1:
                findings.note(
                    f"the prices in {self._names[position]!r} are in {' and '.join(currencies)}; filter by currency"
                )
        for position, cell in self._odd_stock.items():
            findings.note(
                f"{_short(cell)} in the column {self._names[position]!r} does not say whether an item is in stock"
            )


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


def _short(value: object) -> str:
    text = repr(value)
    limit = 40
    return text if len(text) <= limit else text[: limit - 3] + "..."

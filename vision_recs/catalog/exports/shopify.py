"""Products as Shopify exports them: several rows for each handle; the first one describes the product.

Two headers are read: the one with `Handle` and `Image Src`, and the later one with `URL handle` and
`Product image URL`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress
from operator import ne
from typing import NamedTuple, TypeAlias, TypeVar

from vision_recs.catalog.exports.base import (
    Cells,
    Export,
    Lists,
    Part,
    Texts,
    as_set,
    either,
    lowest,
    mapped,
    own_lists,
    price_of,
    set_at,
    set_of,
    truth_of,
)
from vision_recs.catalog.findings import Findings
from vision_recs.types import Attribute

_HANDLE = ("handle", "urlhandle")
_IMAGE = ("imagesrc", "productimageurl")
_OWN_IMAGE = ("variantimage", "variantimageurl")
_SKU = ("variantsku", "sku")
_PRICE = ("variantprice", "price")
_COMPARED = ("variantcompareatprice", "compareatprice")
_OPTIONS = tuple((f"option{number}name", f"option{number}value") for number in (1, 2, 3))
_OF_VARIANTS = ("option1value", *_PRICE, *_SKU)
_NO_OPTIONS = frozenset({"id", "image", "price", "compare_at_price", "in_stock", "sku"})
_WHOLE = re.compile("-?[0-9]+")
_LAST = 10**6  # the place of an image that has none


_Cell = TypeVar("_Cell")
_Rows: TypeAlias = "Sequence[Sequence[int]] | None"


class _Look(NamedTuple):
    """An item: a product, or those of its variants that have an image of their own in common.

    *first* is the first row of the product, *rows* are those of the variants. A look of several has a *group*.
    """

    first: int
    rows: Sequence[int]
    name: str
    images: Sequence[str]
    group: str | None = None


def _recognizes(names: AbstractSet[str]) -> bool:
    return bool(names & set(_HANDLE)) and bool(names & set(_IMAGE)) and "option1value" in names


def _translate(parts: Iterator[Part], titles: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    del titles
    for part in _whole_products(parts):
        handles = part.texts(*_HANDLE)
        for row, handle in enumerate(handles):
            if handle is None:
                findings.leave_out("no-id", "the row has no handle", place=part.lines[row], column="Handle")
        named = part.chosen([handle is not None for handle in handles])
        if named.lines:
            yield _items(named, _looks(named))


def _whole_products(parts: Iterator[Part]) -> Iterator[Part]:
    """Yield the rows of *parts* such that the rows of a product are together."""
    left = Part([], {})
    for part in parts:
        whole = _joined(left, part)
        handles = whole.cells(*_HANDLE)
        last = len(handles)
        while last and handles[-1] is not None and handles[last - 1] == handles[-1]:
            last -= 1
        if last:
            yield _rows_of(whole, slice(last))
        left = _rows_of(whole, slice(last, None))
    if left.lines:
        yield left


def _joined(one: Part, other: Part) -> Part:
    if not one.lines:
        return other
    names = dict.fromkeys((*one.columns, *other.columns))
    columns = {name: [*one.cells(name), *other.cells(name)] for name in names}
    return Part([*one.lines, *other.lines], columns, other.joint)


def _rows_of(part: Part, rows: slice) -> Part:
    return Part(part.lines[rows], {name: cells[rows] for name, cells in part.columns.items()}, part.joint)


def _looks(part: Part) -> list[_Look]:
    """Return the items in *part*, which are in the order of their rows."""
    handles, images, own_images = (part.texts(*names) for names in (_HANDLE, _IMAGE, _OWN_IMAGE))
    starts = [0, *compress(range(1, len(handles)), map(ne, handles[1:], handles))]
    looks: list[_Look] = []
    variants = _Variants(part)
    for first, end in zip(starts, [*starts[1:], len(handles)], strict=True):
        handle = str(handles[first])
        if end - first == 1:
            image = images[first] or own_images[first]
            looks.append(_Look(first, (first,), handle, [image] if image else []))
        else:
            looks += variants.looks(range(first, end), handle)
    return looks


class _Variants:
    """Finds the looks of products that have several rows."""

    def __init__(self, part: Part) -> None:
        self._images, self._own = part.texts(*_IMAGE), part.texts(*_OWN_IMAGE)
        self._is_variant = [cell is not None for cell in part.cells(*_OF_VARIANTS)]
        self._positions = mapped(_position, part.texts("imageposition"))
        self._skus = part.texts(*_SKU)
        self._options = [part.texts(value) for _, value in _OPTIONS]

    def looks(self, rows: range, handle: str) -> list[_Look]:
        """Return the product of *rows*, or a look for each image of its variants, if there are several."""
        own_images = self._own
        images = [image for row in sorted(rows, key=self._positions.__getitem__) if (image := self._images[row])]
        variants = list(compress(rows, self._is_variant[rows.start : rows.stop])) or rows[:1]
        own = list(dict.fromkeys([image for row in variants if (image := own_images[row])]))
        if len(own) < 2:  # noqa: PLR2004 - one look is that of the product
            return [_Look(rows[0], variants, handle, images or own)]
        shared = [image for image in images if image not in own]
        looks = []
        for number, image in enumerate(own, 1):
            shown = [row for row in variants if (own_images[row] or own[0]) == image]
            name = self._skus[shown[0]] or f"{handle}-{self._slug(shown[0]) or number}"
            looks.append(_Look(rows[0], shown, name, [image, *shared], handle))
        return looks

    def _slug(self, row: int) -> str:
        values = "-".join(option[row] or "" for option in self._options)
        return re.sub(r"\W+", "-", values).strip("-").lower()


def _items(part: Part, looks: Sequence[_Look]) -> Part:
    """Return *looks* with what their variants have in common with the product, and together.

    That is the lowest price, whether one is in stock, and their options.
    """
    firsts = [look.first for look in looks]
    rows = None if firsts == list(range(len(part.lines))) else [look.rows for look in looks]  # None: a row is a look

    def of_products(cells: Cells) -> Cells:
        return cells if rows is None else [cells[first] for first in firsts]

    category = of_products(part.cells("productcategory"))
    columns = own_lists(
        {
            "id": [look.name for look in looks],
            "image": [look.images for look in looks],
            "title": of_products(part.cells("title")),
            "category": either(of_products(part.cells("type")), category),
            "brand": of_products(part.cells("vendor")),
            "product_category": category,
            "tags": of_products(mapped(set_of, part.texts("tags"))),
            "status": of_products(part.cells("status")),
            "published": of_products(mapped(truth_of, part.texts("published", "publishedononlinestore"))),
            "price": _each(lowest, mapped(price_of, part.texts(*_PRICE)), rows),
            "compare_at_price": _each(lowest, mapped(price_of, part.texts(*_COMPARED)), rows),
            "in_stock": _each(_any, _in_stock(part), rows),
            "sku": _each(_together, mapped(_stripped, part.texts(*_SKU)), rows),
        }
    )
    _set_options(part, columns, firsts, rows)
    for place, look in enumerate(looks):
        if look.group is not None:
            set_at(columns, "variant_group", place, look.group)
    return Part([part.lines[first] for first in firsts], columns)


def _set_options(part: Part, columns: Lists, firsts: Sequence[int], rows: _Rows) -> None:
    """Set the columns that the options are called; the first one of a name counts."""
    before: list[Sequence[str | None]] = []
    for column, value in _OPTIONS:
        if column not in part.columns:
            continue
        names = mapped(_option, part.texts(column))
        of_looks = [names[first] for first in firsts]
        values = _each(_together, mapped(_stripped, part.texts(value)), rows)
        for place, (name, together) in enumerate(zip(of_looks, values, strict=True)):
            if name is not None and all(earlier[place] != name for earlier in before):
                set_at(columns, name, place, together)
        before.append(of_looks)


def _option(name: str | None) -> str | None:
    """Return what the option *name* is called, or None where it is none, or would take the place of a column."""
    if name is None or name == "Title":  # the only option of a product without variants
        return None
    option = "color" if name.lower() == "colour" else name.lower()
    return None if option in _NO_OPTIONS else option


def _each(function: Callable[[Sequence[_Cell]], object], cells: Sequence[_Cell], rows: _Rows) -> Cells:
    """Return what *function* makes of the cells of each look; one cell stays as it is."""
    if rows is None:
        return cells
    return [cells[of[0]] if len(of) == 1 else function([cells[row] for row in of]) for of in rows]


def _together(texts: Texts) -> Attribute:
    return as_set(text for text in texts if text is not None)


def _stripped(text: str | None) -> str | None:
    return (text or "").strip() or None


def _any(values: Sequence[bool | None]) -> bool | None:
    return True if True in values else False if False in values else None


def _in_stock(part: Part) -> list[bool | None]:
    policies = part.texts("variantinventorypolicy", "continuesellingwhenoutofstock")
    trackers = part.texts("variantinventorytracker", "inventorytracker")
    counts = part.texts("variantinventoryqty", "inventoryquantity")
    rows = list(zip(policies, trackers, counts, strict=True))
    known = {row: _is_in_stock(*row) for row in set(rows)}
    return [known[row] for row in rows]


def _is_in_stock(policy: str | None, tracker: str | None, count: str | None) -> bool | None:
    """Return whether a variant can be bought: it is there, not counted, or sold although it is not there."""
    if policy in {"continue", "TRUE", "true"}:
        return True
    is_counted = tracker is not None
    if count is None or not _WHOLE.fullmatch(count):
        return None if is_counted else True
    return not is_counted or int(count) > 0


def _position(position: str | None) -> int:
    return int(position) if position and position.isdecimal() else _LAST


EXPORT = Export("shopify", "products of Shopify", _recognizes, _translate)

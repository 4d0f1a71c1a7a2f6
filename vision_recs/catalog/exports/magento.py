"""Catalog products as Magento 2 and Adobe Commerce export them.

A product has a row, and one more for each store view that differs. The simple products of a configurable one are rows
of their own, shortly before it, and it names them in `configurable_variations`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from vision_recs.catalog.cell_types import stock_of
from vision_recs.catalog.exports.base import (
    Cells,
    Export,
    Lists,
    Part,
    as_set,
    listed,
    mapped,
    own_lists,
    price_of,
    set_at,
    set_in,
    with_additions,
)
from vision_recs.catalog.findings import Findings
from vision_recs.types import Attribute

_PRICES_KEPT = 10_000  # of simple products, for the configurable one that comes shortly after them
_PAIR = re.compile(r",(?=[a-z][a-z0-9_]*=)")  # a value may hold commas
_SKU = re.compile(r"(?:(?:^|\|)\s*|,)sku=([^|]*?)(?=,[a-z][a-z0-9_]*=|\||\Z)")
_NO_IMAGE = "no_selection"
_HIDDEN = "Not Visible Individually"
_KEYS = frozenset({"id", "image"})


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"sku", "producttype", "baseimage"} <= names


def _translate(parts: Iterator[Part], titles: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    del titles
    prices: OrderedDict[str, float] = OrderedDict()
    for every in parts:
        is_default = [code is None for code in every.cells("storeviewcode")]
        if not all(is_default):
            findings.note("rows of single store views are left out; the default values of each product are used")
        part = every.chosen(is_default)
        images = _images(part)
        columns = own_lists({"id": part.cells("sku"), "image": images, **_columns(part)})
        _set_attributes(part, columns)
        additions = _set_groups(part, columns, prices)
        wanted = [
            bool(shown) or visibility != _HIDDEN
            for shown, visibility in zip(images, columns["visibility"], strict=True)
        ]
        if not all(wanted):
            findings.note("products that are not visible individually and have no image are no items")
        yield from with_additions(Part(part.lines, columns).chosen(wanted), additions)


def _set_groups(part: Part, columns: Lists, prices: OrderedDict[str, float]) -> list[tuple[str, Mapping[str, object]]]:
    """Set the group, and where it has none the price, of configurable products; return the group of each variant.

    *prices* are those of the products before *part*; its own are added.
    """
    groups: list[tuple[str, Mapping[str, object]]] = []
    variants = mapped(_variants, part.texts("configurablevariations"))
    for row, (name, price, skus) in enumerate(zip(part.texts("sku"), columns["price"], variants, strict=True)):
        if isinstance(price, float) and name is not None:
            prices[name] = price
            if len(prices) > _PRICES_KEPT:
                prices.popitem(last=False)
        if skus:
            set_at(columns, "variant_group", row, name)
            groups += [(sku, {"variant_group": name}) for sku in skus]
            if price is None:
                set_at(columns, "price", row, min((prices[sku] for sku in skus if sku in prices), default=None))
    return groups


def _columns(part: Part) -> dict[str, Cells]:
    return {
        "title": part.cells("name"),
        "category": mapped(_categories, part.texts("categories")),
        "price": mapped(price_of, part.texts("price")),
        "sale_price": mapped(price_of, part.texts("specialprice")),
        "in_stock": mapped(stock_of, part.texts("isinstock")),
        "qty": part.cells("qty"),
        "product_type": part.cells("producttype"),
        "visibility": part.cells("visibility"),
        "online": mapped(_is_online, part.texts("productonline")),
        "url_key": part.cells("urlkey"),
    }


def _set_attributes(part: Part, columns: Lists) -> None:
    """Set the columns that `additional_attributes` names, where they have no value."""
    known: dict[str, tuple[str, Attribute]] = {}  # what pairs of names and values mean
    for row, text in enumerate(part.texts("additionalattributes")):
        for pair in _PAIR.split(text) if text else ():
            name, value = known.get(pair) or known.setdefault(pair, _attribute(pair))
            if name not in columns:
                set_at(columns, name, row, value)
            elif columns[name][row] is None and name not in _KEYS:
                columns[name][row] = value


def _attribute(pair: str) -> tuple[str, Attribute]:
    """Return the attribute that *pair* gives, and its value; that of one without a sign is `id`, which it cannot be."""
    name, sign, value = pair.partition("=")
    name = name.strip() if sign else "id"
    return "brand" if name == "manufacturer" else name, set_in(value, "|")


def _is_online(text: str | None) -> bool | None:
    return {"1": True, "2": False}.get(text or "")


def _categories(text: str | None) -> Attribute:
    return as_set(path.partition("/")[2] or path for path in listed(text))


def _variants(text: str | None) -> list[str]:
    """Return the ids of the variants that *text* describes: `sku=a,color=red|sku=b,color=blue`."""
    return [sku for found in _SKU.findall(text) if (sku := found.strip())] if text else []


def _images(part: Part) -> list[list[str]]:
    firsts = part.texts("baseimage", "smallimage", "thumbnailimage")
    others = mapped(listed, part.texts("additionalimages"))
    return [_distinct(first, more) for first, more in zip(firsts, others, strict=True)]


def _distinct(first: str | None, more: list[str]) -> list[str]:
    if more == [first] and first != _NO_IMAGE:  # as most are
        return more
    return [image for image in dict.fromkeys([first, *more]) if image is not None and image != _NO_IMAGE]


EXPORT = Export("magento", "catalog products of Magento 2", _recognizes, _translate, {"variant_group": "min"})

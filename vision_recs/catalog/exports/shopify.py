"""Products as Shopify exports them: several rows for each handle; the first one describes the product.

Two headers are read: the one with `Handle` and `Image Src`, and the later one with `URL handle` and
`Product image URL`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import groupby

from vision_recs.catalog.exports.base import Export, Record, Translated, as_set, first_of, listed, price_of, truth_of
from vision_recs.catalog.findings import Findings

_HANDLE = ("handle", "urlhandle")
_IMAGE = ("imagesrc", "productimageurl")
_OWN_IMAGE = ("variantimage", "variantimageurl")
_SKU = ("variantsku", "sku")
_PRICE = ("variantprice", "price")
_BEFORE = ("variantcompareatprice", "compareatprice")
_OPTIONS = (1, 2, 3)


def _recognizes(names: AbstractSet[str]) -> bool:
    return bool(names & set(_HANDLE)) and bool(names & set(_IMAGE)) and "option1value" in names


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del titles
    for handle, rows in groupby(records, key=lambda row: first_of(row[1], *_HANDLE)):
        numbered = list(rows)
        if handle is None:
            for line, _ in numbered:
                findings.leave_out("no-id", "the row has no handle", place=line, column="Handle")
            continue
        yield from _items(handle, numbered[0][0], [record for _, record in numbered])


def _items(handle: str, line: int, rows: list[Record]) -> Translated:
    """Yield the product, or an item for each of its variants that has an image of its own, if there are several."""
    product = _product(rows)
    images = [image for image in map(_image, sorted(rows, key=_position)) if image]
    variants = [row for row in rows if first_of(row, "option1value", *_PRICE, *_SKU)] or rows[:1]
    own = dict.fromkeys(image for row in variants if (image := first_of(row, *_OWN_IMAGE)))
    if len(own) < 2:  # noqa: PLR2004 - one look is that of the product
        yield line, {"id": handle, "image": images or list(own), **product, **_variants(rows[0], variants)}
        return
    shared = [image for image in images if image not in own]
    for number, image in enumerate(own):
        looks = [row for row in variants if (first_of(row, *_OWN_IMAGE) or next(iter(own))) == image]
        name = first_of(looks[0], *_SKU) or f"{handle}-{_slug(looks[0]) or number + 1}"
        item = {"id": name, "image": [image, *shared], **product, **_variants(rows[0], looks)}
        yield line, {**item, "variant_group": handle}


def _product(rows: list[Record]) -> dict[str, object]:
    first = rows[0]
    return {
        "title": first.get("title"),
        "category": first_of(first, "type", "productcategory"),
        "brand": first.get("vendor"),
        "product_category": first.get("productcategory"),
        "tags": as_set(listed(first.get("tags"))),
        "status": first.get("status"),
        "published": truth_of(first_of(first, "published", "publishedononlinestore")),
    }


def _variants(first: Record, variants: Iterable[Record]) -> dict[str, object]:
    """Return what *variants* have in common or together: the lowest price, whether one is in stock, their options."""
    rows = list(variants)
    prices = [price for row in rows if (price := price_of(first_of(row, *_PRICE))) is not None]
    before = [price for row in rows if (price := price_of(first_of(row, *_BEFORE))) is not None]
    stock = {_in_stock(row) for row in rows} - {None}
    found: dict[str, object] = {
        "price": min(prices, default=None),
        "compare_at_price": min(before, default=None),
        "in_stock": any(stock) if stock else None,
        "sku": as_set(sku for row in rows if (sku := first_of(row, *_SKU))),
    }
    for number in _OPTIONS:
        option = first.get(f"option{number}name")
        if option and option != "Title":  # the only option of a product without variants
            values = as_set(row.get(f"option{number}value", "") for row in rows)
            found.setdefault({"colour": "color"}.get(option.lower(), option.lower()), values)
    return found


def _in_stock(row: Record) -> bool | None:
    """Return whether a variant can be bought: it is there, not counted, or sold although it is not there."""
    if first_of(row, "variantinventorypolicy", "continuesellingwhenoutofstock") in {"continue", "TRUE", "true"}:
        return True
    count = first_of(row, "variantinventoryqty", "inventoryquantity")
    if count is None or not re.fullmatch("-?[0-9]+", count):
        return None if first_of(row, "variantinventorytracker", "inventorytracker") else True
    return int(count) > 0 or not first_of(row, "variantinventorytracker", "inventorytracker")


def _image(row: Record) -> str | None:
    return first_of(row, *_IMAGE)


def _position(row: Record) -> int:
    position = row.get("imageposition", "")
    return int(position) if position.isdecimal() else 10**6


def _slug(row: Record) -> str:
    values = "-".join(row.get(f"option{number}value", "") for number in _OPTIONS)
    return re.sub(r"\W+", "-", values).strip("-").lower()


EXPORT = Export("shopify", "products of Shopify", _recognizes, _translate)

"""Products as Shopify exports them: several rows for each handle; the first one describes the product.

Two headers are read: the one with `Handle` and `Image Src`, and the later one with `URL handle` and
`Product image URL`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import groupby

from vision_recs.catalog.exports.base import Export, Record, Translated, as_set, listed, price_of, truth_of
from vision_recs.catalog.findings import Findings
from vision_recs.types import Attribute

_HANDLE = ("handle", "urlhandle")
_IMAGE = ("imagesrc", "productimageurl")
_OPTIONS = tuple((f"option{number}name", f"option{number}value") for number in (1, 2, 3))
_OF_VARIANTS = ("option1value", "variantprice", "price", "variantsku", "sku")
_NO_OPTIONS = frozenset({"id", "image", "price", "compare_at_price", "in_stock", "sku"})
_WHOLE = re.compile("-?[0-9]+")


def _recognizes(names: AbstractSet[str]) -> bool:
    return bool(names & set(_HANDLE)) and bool(names & set(_IMAGE)) and "option1value" in names


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del titles
    for handle, rows in groupby(records, key=_handle):
        numbered = list(rows)
        if handle is not None:
            yield from _items(handle, numbered[0][0], [record for _, record in numbered])
            continue
        for line, _ in numbered:
            findings.leave_out("no-id", "the row has no handle", place=line, column="Handle")


# A record has no blank cells, so that `or` leads to the name that a later header has.


def _handle(row: tuple[int, Record]) -> str | None:
    return row[1].get("handle") or row[1].get("urlhandle")


def _sku(row: Record) -> str | None:
    return row.get("variantsku") or row.get("sku")


def _own_image(row: Record) -> str | None:
    return row.get("variantimage") or row.get("variantimageurl")


def _is_variant(row: Record) -> bool:
    return any(name in row for name in _OF_VARIANTS)


def _items(handle: str, line: int, rows: list[Record]) -> list[tuple[int, dict[str, object]]]:
    """Return the product, or an item for each of its variants that has an image of its own, if there are several."""
    first = rows[0]
    images = _images(rows)
    variants = rows if len(rows) == 1 else [row for row in rows if _is_variant(row)] or rows[:1]
    own = list(dict.fromkeys([image for row in variants if (image := _own_image(row))]))
    if len(own) < 2:  # noqa: PLR2004 - one look is that of the product
        return [(line, _item(handle, images or own, first, variants))]
    shared = [image for image in images if image not in own]
    items = []
    for number, image in enumerate(own):
        looks = [row for row in variants if (_own_image(row) or own[0]) == image]
        name = _sku(looks[0]) or f"{handle}-{_slug(looks[0]) or number + 1}"
        items.append((line, {**_item(name, [image, *shared], first, looks), "variant_group": handle}))
    return items


def _images(rows: list[Record]) -> list[str]:
    by_place = sorted(rows, key=_position) if len(rows) > 1 else rows
    return [image for row in by_place if (image := row.get("imagesrc") or row.get("productimageurl"))]


def _item(name: str, images: list[str], first: Record, rows: list[Record]) -> dict[str, object]:
    """Return the item of some variants, *rows*: what they have in common with the product, and together.

    That is the lowest price, whether one is in stock, and their options. *first* is the first row of the product.
    """
    prices = [text for row in rows if (text := row.get("variantprice") or row.get("price"))]
    before = [text for row in rows if (text := row.get("variantcompareatprice") or row.get("compareatprice"))]
    stock = [_in_stock(row) for row in rows]
    category = first.get("productcategory")
    item: dict[str, object] = {
        "id": name,
        "image": images,
        "title": first.get("title"),
        "category": first.get("type") or category,
        "brand": first.get("vendor"),
        "product_category": category,
        "tags": _tags(first.get("tags")),
        "status": first.get("status"),
        "published": truth_of(first.get("published") or first.get("publishedononlinestore")),
        "price": _lowest(prices),
        "compare_at_price": _lowest(before),
        "in_stock": True if True in stock else False if False in stock else None,
        "sku": _together([text for row in rows if (text := row.get("variantsku") or row.get("sku"))]),
    }
    taken = _NO_OPTIONS
    for option_name, option_value in _OPTIONS:
        option = first.get(option_name)
        if option and option != "Title":  # the only option of a product without variants
            option = "color" if option.lower() == "colour" else option.lower()
            if option not in taken:
                item[option] = _together([text for row in rows if (text := row.get(option_value))])
                taken |= {option}
    return item


@lru_cache(maxsize=4096)  # a shop has few combinations of tags
def _tags(text: str | None) -> Attribute:
    return as_set(listed(text))


def _lowest(texts: list[str]) -> float | None:
    if len(texts) == 1:
        return price_of(texts[0])
    return min((price for text in texts if (price := price_of(text)) is not None), default=None)


def _together(texts: list[str]) -> Attribute:
    return texts[0].strip() or None if len(texts) == 1 else as_set(texts)


def _in_stock(row: Record) -> bool | None:
    """Return whether a variant can be bought: it is there, not counted, or sold although it is not there."""
    policy = row.get("variantinventorypolicy") or row.get("continuesellingwhenoutofstock")
    if policy in {"continue", "TRUE", "true"}:
        return True
    is_counted = "variantinventorytracker" in row or "inventorytracker" in row
    count = row.get("variantinventoryqty") or row.get("inventoryquantity")
    if count is None or not _WHOLE.fullmatch(count):
        return None if is_counted else True
    return not is_counted or int(count) > 0


def _position(row: Record) -> int:
    position = row.get("imageposition", "")
    return int(position) if position.isdecimal() else 10**6


def _slug(row: Record) -> str:
    values = "-".join(row.get(value, "") for _, value in _OPTIONS)
    return re.sub(r"\W+", "-", values).strip("-").lower()


EXPORT = Export("shopify", "products of Shopify", _recognizes, _translate)

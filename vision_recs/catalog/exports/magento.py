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
from vision_recs.catalog.exports.base import Export, Record, Translated, as_set, first_of, listed, price_of
from vision_recs.catalog.findings import Findings

_PRICES_KEPT = 10_000  # of simple products, for the configurable one that comes shortly after them
_PAIR = re.compile(r",(?=[a-z][a-z0-9_]*=)")  # a value may hold commas
_NO_IMAGE = "no_selection"


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"sku", "producttype", "baseimage"} <= names


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del titles
    prices: OrderedDict[str, float] = OrderedDict()
    for line, record in records:
        if "storeviewcode" in record:
            findings.note("rows of single store views are left out; the default values of each product are used")
            continue
        name = record.get("sku")
        item = _item(record)
        price = item["price"]
        if isinstance(price, float) and name is not None:
            prices[name] = price
            if len(prices) > _PRICES_KEPT:
                prices.popitem(last=False)
        variants = [
            sku for pairs in listed(record.get("configurablevariations"), "|") if (sku := _pairs(pairs).get("sku"))
        ]
        if variants:
            item["variant_group"] = name
            if price is None:
                item["price"] = min((prices[sku] for sku in variants if sku in prices), default=None)
        hidden = record.get("visibility") == "Not Visible Individually"
        images = _images(record)
        if images or not hidden:
            yield line, {"id": name, "image": images, **item}
        else:
            findings.note("products that are not visible individually and have no image are no items")
        for sku in variants:
            yield 0, {"id": sku, "variant_group": name}


def _item(record: Record) -> dict[str, object]:
    categories = (path.partition("/")[2] or path for path in listed(record.get("categories")))
    item: dict[str, object] = {
        "title": record.get("name"),
        "category": as_set(categories),
        "price": price_of(record.get("price")),
        "sale_price": price_of(record.get("specialprice")),
        "in_stock": stock_of(record.get("isinstock")),
        "qty": record.get("qty"),
        "product_type": record.get("producttype"),
        "visibility": record.get("visibility"),
        "online": {"1": True, "2": False}.get(record.get("productonline", "")),
        "url_key": record.get("urlkey"),
    }
    for name, value in _pairs(record.get("additionalattributes", "")).items():
        known = {"manufacturer": "brand"}.get(name, name)
        if item.get(known) is None:
            item[known] = as_set(value.split("|"))
    return item


def _images(record: Record) -> list[str]:
    first = first_of(record, "baseimage", "smallimage", "thumbnailimage")
    images = [first or "", *listed(record.get("additionalimages"))]
    return list(dict.fromkeys(image for image in images if image and image != _NO_IMAGE))


def _pairs(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in _PAIR.split(text))
    return {name.strip(): value.strip() for name, sign, value in parts if sign}


EXPORT = Export("magento", "catalog products of Magento 2", _recognizes, _translate, {"variant_group": "min"})

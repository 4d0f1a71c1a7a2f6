"""Products of PrestaShop: the list of the back office as it is exported, and the table of its import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from vision_recs.catalog.cell_types import stock_of
from vision_recs.catalog.exports.base import Export, Record, Translated, as_set, first_of, listed, truth_of
from vision_recs.catalog.findings import Findings

_ID = ("productid", "id", "productid*", "idproduct")
_IMAGES = ("imageurls", "image", "imageurl", "cover")
_PRICE = ("pricetaxincl.", "pricetaxincluded", "finalprice", "pricetaxexcl.", "pricetaxexcluded", "price", "baseprice")


def _plain(name: str) -> str:
    """Return *name* without what PrestaShop explains in it: `Image URLs (x,y,z...)`, `Name *`, `Price (tax incl.)`."""
    name = re.sub(r"\((?:x,y,z.*?|0/1|name:.*?)\)|\*|#", "", name)
    return name.replace("(", "").replace(")", "")


def _recognizes(names: AbstractSet[str]) -> bool:
    plain = {_plain(name) for name in names}
    has_price = bool(plain & {"pricetaxincl.", "pricetaxexcl.", "pricetaxincluded", "pricetaxexcluded"})
    return bool(plain & set(_ID)) and bool(plain & set(_IMAGES)) and has_price


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del titles, findings
    for line, cells in records:
        record = {_plain(name): cell for name, cell in cells.items()}
        item: dict[str, object] = {
            "id": first_of(record, *_ID),
            "image": listed(first_of(record, *_IMAGES)),
            "title": record.get("name"),
            "category": as_set(listed(first_of(record, "categories", "category"))),
            "brand": first_of(record, "manufacturer", "brand"),
            "price": first_of(record, *_PRICE),
            "in_stock": stock_of(record.get("quantity")),
            "quantity": record.get("quantity"),
            "sku": first_of(record, "reference", "supplierreference"),
            "active": truth_of(first_of(record, "active", "status", "enabled")),
            "tags": as_set(listed(record.get("tags"))),
        }
        for feature in listed(record.get("feature")):
            name, _, value = feature.partition(":")
            item.setdefault(name.strip().lower(), value.partition(":")[0].strip())
        yield line, item


EXPORT = Export("prestashop", "products of PrestaShop", _recognizes, _translate)

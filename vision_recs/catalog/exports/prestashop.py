"""Products of PrestaShop: the list of the back office as it is exported, and the table of its import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache

from vision_recs.catalog.cell_types import stock_of
from vision_recs.catalog.exports.base import (
    Cells,
    Export,
    Part,
    either,
    listed,
    mapped,
    own_lists,
    set_at,
    set_of,
    truth_of,
)
from vision_recs.catalog.findings import Findings

_ID = ("productid", "id", "productid*", "idproduct")
_IMAGES = ("imageurls", "image", "imageurl", "cover")
_PRICE = ("pricetaxincl.", "pricetaxincluded", "finalprice", "pricetaxexcl.", "pricetaxexcluded", "price", "baseprice")


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    """Return *name* without what PrestaShop explains in it: `Image URLs (x,y,z...)`, `Name *`, `Price (tax incl.)`."""
    name = re.sub(r"\((?:x,y,z.*?|0/1|name:.*?)\)|\*|#", "", name)
    return name.replace("(", "").replace(")", "")


def _recognizes(names: AbstractSet[str]) -> bool:
    plain = {_plain(name) for name in names}
    has_price = bool(plain & {"pricetaxincl.", "pricetaxexcl.", "pricetaxincluded", "pricetaxexcluded"})
    return bool(plain & set(_ID)) and bool(plain & set(_IMAGES)) and has_price


def _translate(parts: Iterator[Part], titles: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    del titles, findings
    for each in parts:
        part = _plainly_named(each)
        columns = own_lists(
            {
                "id": part.cells(*_ID),
                "image": mapped(listed, part.texts(*_IMAGES)),
                "title": part.cells("name"),
                "category": mapped(set_of, part.texts("categories", "category")),
                "brand": part.cells("manufacturer", "brand"),
                "price": part.cells(*_PRICE),
                "in_stock": mapped(stock_of, part.texts("quantity")),
                "quantity": part.cells("quantity"),
                "sku": part.cells("reference", "supplierreference"),
                "active": mapped(truth_of, part.texts("active", "status", "enabled")),
                "tags": mapped(set_of, part.texts("tags")),
            }
        )
        own = frozenset(columns)
        for row, features in enumerate(mapped(_features, part.texts("feature"))):
            for name, value in features.items():
                if name not in own:
                    set_at(columns, name, row, value)
        yield Part(part.lines, columns)


def _plainly_named(part: Part) -> Part:
    columns: dict[str, Cells] = {}
    for name, cells in part.columns.items():
        plain = _plain(name)
        columns[plain] = either(cells, columns[plain]) if plain in columns else cells
    return Part(part.lines, columns, part.joint)


def _features(text: str | None) -> dict[str, str]:
    """Return the features that *text* lists as `Name:Value:Position`; of two of one name, the first counts."""
    found: dict[str, str] = {}
    for feature in listed(text):
        name, _, value = feature.partition(":")
        found.setdefault(name.strip().lower(), value.partition(":")[0].strip())
    return found


EXPORT = Export("prestashop", "products of PrestaShop", _recognizes, _translate)

"""Products as WooCommerce exports them: a row for each product, and one for each variation of it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from vision_recs.catalog.cell_types import stock_of
from vision_recs.catalog.exports.base import Export, Record, Translated, as_set, listed, price_of, truth_of
from vision_recs.catalog.findings import Findings

_PARENTS_KEPT = 10_000  # what variations take from their parents, which come shortly before them
_ATTRIBUTE = re.compile(r"attribute([0-9]+)name")


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"type", "sku", "name", "images", "regularprice"} <= names


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del titles
    parents: OrderedDict[str, dict[str, object]] = OrderedDict()
    for line, record in records:
        name = record.get("sku") or (f"id:{record['id']}" if "id" in record else None)
        images = listed(record.get("images"))
        kind = record.get("type", "")
        parent = record.get("parent")
        item = _item(record)
        if "variation" not in kind or not parent:
            if "variable" in kind and name is not None:
                item["variant_group"] = name
                parents[name] = {key: item[key] for key in ("category", "tags", "brand")}
                if len(parents) > _PARENTS_KEPT:
                    parents.popitem(last=False)
            yield line, {"id": name, "image": images, **item}
            continue
        yield 0, {"id": parent, "price": item["price"], "sale_price": item["sale_price"]}
        if images:
            inherited = {key: value for key, value in parents.get(parent, {}).items() if item[key] is None}
            yield line, {"id": name, "image": images, **item, **inherited, "variant_group": parent}
        else:
            findings.note("variations without an image of their own are not items; they belong to their products")


def _item(record: Record) -> dict[str, object]:
    item: dict[str, object] = {
        "title": record.get("name"),
        "category": as_set(listed(record.get("categories"))),
        "brand": as_set(listed(record.get("brands"))),
        "price": price_of(record.get("regularprice")),
        "sale_price": price_of(record.get("saleprice")),
        "in_stock": stock_of(record.get("instock?")),
        "stock": record.get("stock"),
        "tags": as_set(listed(record.get("tags"))),
        "published": truth_of(record.get("published")),
        "featured": truth_of(record.get("isfeatured?")),
    }
    for column, name in record.items():
        found = _ATTRIBUTE.fullmatch(column)
        if found:
            item.setdefault(name.strip().lower(), as_set(listed(record.get(f"attribute{found[1]}value(s)"))))
    return item


EXPORT = Export(
    "woocommerce", "products of WooCommerce", _recognizes, _translate, {"price": "min", "sale_price": "min"}
)

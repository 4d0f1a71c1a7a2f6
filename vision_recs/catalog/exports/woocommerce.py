"""Products as WooCommerce exports them: a row for each product, and one for each variation of it."""

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
    either,
    listed,
    mapped,
    own_lists,
    price_of,
    set_at,
    set_of,
    truth_of,
    with_additions,
)
from vision_recs.catalog.findings import Findings

_PARENTS_KEPT = 10_000  # what variations take from their parents, which come shortly before them
_INHERITED = ("category", "tags", "brand")
_OF_VARIATIONS = ("price", "sale_price")
_ATTRIBUTE = re.compile(r"attribute([0-9]+)name")


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"type", "sku", "name", "images", "regularprice"} <= names


def _translate(parts: Iterator[Part], titles: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    del titles
    parents: OrderedDict[str, tuple[object, ...]] = OrderedDict()
    for part in parts:
        names = either(part.cells("sku"), [None if name is None else f"id:{name}" for name in part.cells("id")])
        columns = own_lists({"id": names, "image": mapped(listed, part.texts("images")), **_columns(part)})
        _set_attributes(part, columns)
        wanted = [True] * len(names)
        additions = []
        inherited = list(zip(*(columns[name] for name in _INHERITED), strict=True))
        kinds, of_parents = part.texts("type"), part.texts("parent")
        rows = zip(names, map(_text, kinds), of_parents, columns["image"], inherited, strict=True)
        for row, (name, kind, parent, images, own) in enumerate(rows):
            if parent is None or "variation" not in kind:
                if "variable" in kind and name is not None:
                    set_at(columns, "variant_group", row, name)
                    parents[str(name)] = own
                    if len(parents) > _PARENTS_KEPT:
                        parents.popitem(last=False)
                continue
            additions.append((parent, {name: columns[name][row] for name in _OF_VARIATIONS}))
            wanted[row] = bool(images)
            if images:
                for column, before, value in zip(_INHERITED, own, parents.get(parent, own), strict=True):
                    if before is None and value is not None:
                        set_at(columns, column, row, value)
                set_at(columns, "variant_group", row, parent)
        if not all(wanted):
            findings.note("variations without an image of their own are not items; they belong to their products")
        yield from with_additions(Part(part.lines, columns).chosen(wanted), additions)


def _text(cell: str | None) -> str:
    return cell or ""


def _columns(part: Part) -> dict[str, Cells]:
    return {
        "title": part.cells("name"),
        "category": mapped(set_of, part.texts("categories")),
        "brand": mapped(set_of, part.texts("brands")),
        "price": mapped(price_of, part.texts("regularprice")),
        "sale_price": mapped(price_of, part.texts("saleprice")),
        "in_stock": mapped(stock_of, part.texts("instock?")),
        "stock": part.cells("stock"),
        "tags": mapped(set_of, part.texts("tags")),
        "published": mapped(truth_of, part.texts("published")),
        "featured": mapped(truth_of, part.texts("isfeatured?")),
    }


def _set_attributes(part: Part, columns: Lists) -> None:
    """Set the columns that the cells `Attribute 1 name` name; the first one of a name counts."""
    own = frozenset(columns)
    found = [(name, match[1]) for name in part.columns if (match := _ATTRIBUTE.fullmatch(name))]
    for column, number in reversed(found):  # so that the first one is the last to be set
        values = mapped(set_of, part.texts(f"attribute{number}value(s)"))
        for row, (name, value) in enumerate(zip(part.texts(column), values, strict=True)):
            if name is not None and (attribute := name.strip().lower()) not in own:
                set_at(columns, attribute, row, value)


EXPORT = Export(
    "woocommerce", "products of WooCommerce", _recognizes, _translate, {"price": "min", "sale_price": "min"}
)

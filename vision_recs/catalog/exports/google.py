"""The product feed of Google Merchant Center: as text (tabs or commas), and as RSS or Atom with the namespace `g:`."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # expat bounds what entities grow to, and loads none from outside
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from vision_recs.catalog.exports.base import Export, Record, Translated, as_set, first_of, listed, others
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import Place
from vision_recs.catalog.readers import Rows, record_rows
from vision_recs.catalog.text_files import opened
from vision_recs.errors import CatalogError, first_line

_USED = frozenset({"id", "title", "imagelink", "additionalimagelink", "itemgroupid", "producttype", "brand", "color"})
_ITEMS = {"item", "entry"}
_SEVERAL = "\n"  # between the values of an element that an item has several times


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"id", "imagelink"} <= names and bool(
        names & {"availability", "additionalimagelink", "itemgroupid", "googleproductcategory", "link"}
    )


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del findings
    for line, record in records:
        more = record.get("additionalimagelink", "")
        images = [record.get("imagelink", ""), *(more.split(_SEVERAL) if _SEVERAL in more else listed(more))]
        types = record.get("producttype", "").split(_SEVERAL)
        yield (
            line,
            {
                "id": record.get("id"),
                "image": images,
                "title": record.get("title"),
                "category": as_set(types) or first_of(record, "googleproductcategory"),
                "brand": record.get("brand"),
                "color": as_set(record.get("color", "").split("/")),
                "variant_group": record.get("itemgroupid"),
                **{
                    "sale_price" if name.lower() == "sale price" else name: as_set(str(cell).split(_SEVERAL))
                    for name, cell in others(record, titles, _USED).items()
                },
            },
        )


def feed_rows(place: str | Place) -> Rows:
    """Return the items of the feed at *place*, which is XML, as rows; raises CatalogError where it is damaged."""
    path, elements = str(place), _elements(place)
    first = next(elements, None)
    if first is None:
        raise CatalogError("the feed has no <item> and no <entry>; give a product feed", path=path)

    def all_elements() -> Iterator[tuple[int, dict[str, object]]]:
        yield 1, first
        yield from enumerate(elements, 2)

    return record_rows(path, all_elements(), columns=list(first), textual=True, unit="row")


def _elements(place: str | Place) -> Iterator[dict[str, object]]:
    try:
        with opened(place) as file:
            parents: list[ET.Element] = []
            for event, element in ET.iterparse(file, ("start", "end")):  # noqa: S314 - see the import
                if event == "start":
                    parents.append(element)
                    continue
                parents.pop()
                if _local(element.tag) in _ITEMS:
                    yield _cells(element)
                    element.clear()
                    parents[-1].remove(element)
    except ET.ParseError as error:
        raise CatalogError(f"malformed XML: {first_line(error)}; export the feed again", path=str(place)) from error


def _cells(item: ET.Element) -> dict[str, object]:
    cells: dict[str, object] = {}
    for child in item:
        text = (child.text or child.get("href") or "").strip()
        if text and not len(child):  # shipping and tax have parts of their own
            name = _local(child.tag)
            cells[name] = f"{cells[name]}{_SEVERAL}{text}" if name in cells else text
    return cells


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


EXPORT = Export("google", "a product feed of Google Merchant Center", _recognizes, _translate)

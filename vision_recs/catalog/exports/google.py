"""The product feed of Google Merchant Center: as text (tabs or commas), and as RSS or Atom with the namespace `g:`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from xml.parsers.expat import ExpatError

from vision_recs.catalog.exports.base import Export, Record, Translated, listed, set_in
from vision_recs.catalog.exports.feed import SEVERAL as _SEVERAL
from vision_recs.catalog.exports.feed import FeedReader
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import Place
from vision_recs.catalog.readers import Rows, record_rows
from vision_recs.catalog.text_files import opened
from vision_recs.errors import CatalogError, first_line

_USED = frozenset({"id", "title", "imagelink", "additionalimagelink", "itemgroupid", "producttype", "brand", "color"})
_BLOCK = 1 << 16


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"id", "imagelink"} <= names and bool(
        names & {"availability", "additionalimagelink", "itemgroupid", "googleproductcategory", "link"}
    )


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del findings
    names = {name: "sale_price" if title.lower() == "sale price" else title for name, title in titles.items()}
    for line, record in records:
        images = [record.get("imagelink", "")]
        if more := record.get("additionalimagelink"):
            images += more.split(_SEVERAL) if _SEVERAL in more else listed(more)
        item: dict[str, object] = {
            "id": record.get("id"),
            "image": images,
            "title": record.get("title"),
            "category": set_in(record.get("producttype"), _SEVERAL) or record.get("googleproductcategory"),
            "brand": record.get("brand"),
            "color": set_in(record.get("color"), "/"),
            "variant_group": record.get("itemgroupid"),
        }
        for name, cell in record.items():
            if name not in _USED:
                item[names.get(name, name)] = set_in(str(cell), _SEVERAL)
        yield line, item


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
    reader = FeedReader()
    try:
        with opened(place) as file:
            while block := file.read(_BLOCK):
                yield from reader.items(block)
            yield from reader.items(b"", is_end=True)
    except ExpatError as error:
        raise CatalogError(f"malformed XML: {first_line(error)}; export the feed again", path=str(place)) from error


EXPORT = Export("google", "a product feed of Google Merchant Center", _recognizes, _translate)

"""The product feed of Google Merchant Center: as text (tabs or commas), and as RSS or Atom with the namespace `g:`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from xml.parsers.expat import ExpatError

from vision_recs.catalog.exports.base import Cells, Export, Part, either, is_text, listed, mapped, set_in
from vision_recs.catalog.exports.feed import SEVERAL as _SEVERAL
from vision_recs.catalog.exports.feed import FeedReader
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import Place
from vision_recs.catalog.readers import Rows, record_rows
from vision_recs.catalog.text_files import opened
from vision_recs.errors import CatalogError, first_line
from vision_recs.types import Attribute

_USED = frozenset({"id", "title", "imagelink", "additionalimagelink", "itemgroupid", "producttype", "brand", "color"})
_BLOCK = 1 << 16


def _recognizes(names: AbstractSet[str]) -> bool:
    return {"id", "imagelink"} <= names and bool(
        names & {"availability", "additionalimagelink", "itemgroupid", "googleproductcategory", "link"}
    )


def _translate(parts: Iterator[Part], titles: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    del findings
    names = {name: "sale_price" if title.lower() == "sale price" else title for name, title in titles.items()}
    for part in parts:
        columns: dict[str, Cells] = {
            "id": part.cells("id"),
            "image": _images(part),
            "title": part.cells("title"),
            "category": either(mapped(_distinct, part.texts("producttype")), part.cells("googleproductcategory")),
            "brand": part.cells("brand"),
            "color": mapped(_colors, part.texts("color")),
            "variant_group": part.cells("itemgroupid"),
        }
        for name, cells in part.columns.items():
            if name not in _USED:
                title = names.get(name, name)
                values = mapped(_distinct, cells) if is_text(cells) else cells
                columns[title] = either(values, columns[title]) if title in columns else values
        yield Part(part.lines, columns)


def _images(part: Part) -> Cells:
    first, more = part.cells("imagelink"), part.texts("additionalimagelink")
    if "additionalimagelink" not in part.columns:
        return [[image] for image in first]
    others = mapped(lambda text: text.split(_SEVERAL) if text and _SEVERAL in text else listed(text), more)
    return [[image, *rest] for image, rest in zip(first, others, strict=True)]


def _distinct(text: str | None) -> Attribute:
    return set_in(text, _SEVERAL)


def _colors(text: str | None) -> Attribute:
    return set_in(text.replace(_SEVERAL, "/"), "/") if text else None


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


EXPORT = Export("google", "a product feed of Google Merchant Center", _recognizes, _translate, joint=_SEVERAL)

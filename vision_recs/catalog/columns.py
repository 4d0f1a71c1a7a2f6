"""The columns of a table that hold the ids and the images, and the meaning of their cells."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from vision_recs.catalog.readers import Rows
from vision_recs.errors import CatalogError

ID_NAMES = (
    *("id", "item_id", "product_id", "sku", "article_id", "asin", "variant_id", "variant_sku", "product_sku"),
    *("item_sku", "item", "product_code", "item_code", "article_code", "article_number", "product_number", "handle"),
)
"""Names of columns that hold ids, best first; case, spaces, hyphens and underscores do not matter."""

IMAGE_NAMES = (
    *("image", "image_path", "picture", "file", "filename", "path", "photo", "img", "image_file", "images", "pictures"),
    *("photos", "image_filename", "image_name", "image_paths", "picture_path", "photo_path", "img_path", "filepath"),
    *("main_image", "image_link", "image_url", "image_src"),
)
"""Names of columns that hold images, likewise."""

_MOST_NAMES_SHOWN = 20
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """How to read a catalog.

    *id_column* and *image_column* name columns of a table; without them the usual names are looked for.
    *image_attributes* are columns whose values describe one image (a view, a background) instead of the item.
    *item_per_folder* makes every folder that holds images one item.
    """

    id_column: str | None = None
    image_column: str | None = None
    image_attributes: tuple[str, ...] = ()
    item_per_folder: bool = False


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """The positions of the two columns that every table needs."""

    path: str
    id_name: str
    image_name: str
    id: int
    image: int

    @classmethod
    def choose(cls, rows: Rows, options: CatalogOptions) -> KeyColumns:
        """Return the columns that *options* names, else the first ones with a usual name; raises CatalogError."""
        id_position = _choose(rows, options.id_column, usual=ID_NAMES, what="ids", flag="--id-column")
        image = _choose(rows, options.image_column, usual=IMAGE_NAMES, what="images", flag="--image-column")
        return cls(rows.path, rows.columns[id_position], rows.columns[image], id_position, image)

    def identify(self, line: int, cells: Sequence[object]) -> tuple[str, list[str]]:
        """Return the id and the images of a row; raises CatalogError where a cell has none."""
        column = self.id_name
        try:
            name = id_text(cells[self.id])
            column = self.image_name
            return name, image_references(cells[self.image])
        except ValueError as error:
            raise CatalogError(str(error), path=self.path, line=line, column=column) from error


def column_position(rows: Rows, name: str, *, flag: str) -> int:
    """Return the position of the column *name*; case, spaces, hyphens and underscores need not agree."""
    if name in rows.columns:
        return rows.columns.index(name)
    tolerant = [_bare(column) for column in rows.columns]
    if _bare(name) in tolerant:
        return tolerant.index(_bare(name))
    raise CatalogError(f"there is no column {name!r} among {_listed(rows)}; correct {flag}", path=rows.path)


def _choose(rows: Rows, given: str | None, *, usual: tuple[str, ...], what: str, flag: str) -> int:
    if given is not None:
        return column_position(rows, given, flag=flag)
    columns = [_bare(column) for column in rows.columns]
    for name in map(_bare, usual):
        if name in columns:
            return columns.index(name)
    hint = "; is the separator another than the comma?" if len(columns) == 1 and rows.textual else ""
    raise CatalogError(f"no known column of {what} among {_listed(rows)}; name it with {flag}{hint}", path=rows.path)


def same_name(one: str, other: str) -> bool:
    """Whether two names of columns agree, apart from case, spaces, hyphens and underscores."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _listed(rows: Rows) -> str:
    names = ", ".join(map(repr, rows.columns[:_MOST_NAMES_SHOWN]))
    more = len(rows.columns) - _MOST_NAMES_SHOWN
    return f"{names} and {more} more" if more > 0 else names


def id_text(value: object) -> str:
    """Return an id as text without space around it.

    Text and whole numbers are ids. A number with a point is not an id, even 12.0: it may have been a code like 0012
    before a program made it a float. Raises ValueError.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if value is None or isinstance(value, str):
        text = (value or "").strip()
    elif isinstance(value, int | UUID) and not isinstance(value, bool):
        text = str(value)
    else:
        raise ValueError(f"an id is text or a whole number, not {value!r}; write it as text")
    if not text:
        raise ValueError("the id is empty; give every row one")
    if "\0" in text:
        raise ValueError(f"the id {text!r} holds a NUL character; remove it")
    return text


def image_references(value: object) -> list[str]:
    """Return the images that a cell names: a path, paths separated by `|`, or a list, which JSON text may be.

    A path is kept as it is written, without space around it. Raises ValueError for a cell without an image, for a URL
    other than file://, and for a value that is not text.
    """
    references = [reference for reference in _split(value) if reference]
    if not references:
        raise ValueError("no image is named; give every row one")
    for reference in references:
        if "://" in reference and _URL.match(reference) and not reference.lower().startswith("file://"):
            raise ValueError(f"images are read from files, not from {reference!r}; download them first")
        if "\0" in reference:
            raise ValueError(f"the path {reference!r} holds a NUL character; remove it")
    return references


def _split(value: object) -> list[str]:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        text = value.strip()
        listed = _json_list(text) if text.startswith("[") else None
        if listed is None:
            return [part.strip() for part in text.split("|")] if "|" in text else [text]
        value = listed
    if value is None:
        return []
    if not isinstance(value, list) or not all(part is None or isinstance(part, str) for part in value):
        raise ValueError(f"an image is a path or a list of paths, not {_short(value)}")
    return [part.strip() for part in value if part is not None]


def _json_list(text: str) -> list[object] | None:
    """Return the list that *text* is in JSON, or None: a file may be named `[1].jpg`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _short(value: object) -> str:
    text = repr(value)
    limit = 60
    return text if len(text) <= limit else text[:limit] + "..."

"""The columns of a table that hold the ids and the images, and the meaning of their cells."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeGuard
from urllib.parse import urlsplit
from uuid import UUID

from vision_recs.catalog.cell_types import bare
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.readers import Batch, Rows
from vision_recs.errors import CatalogError
from vision_recs.remote.options import RemoteOptions
from vision_recs.types import is_unicode, normal_form

ID_NAMES = (
    *("id", "item_id", "product_id", "sku", "article_id", "asin", "variant_id", "variant_sku", "product_sku"),
    *("item_sku", "item", "product_code", "item_code", "article_code", "article_number", "product_number", "handle"),
    "key",
)
"""Names of columns that hold ids, best first; case, spaces, hyphens and underscores do not matter."""

IMAGE_NAMES = (
    *("image", "image_path", "picture", "file", "filename", "path", "photo", "img", "image_file", "images", "pictures"),
    *("photos", "image_filename", "image_name", "image_paths", "picture_path", "photo_path", "img_path", "filepath"),
    *("main_image", "image_link", "image_url", "image_src", "file_name", "file_names", "jpg", "jpeg", "png", "webp"),
)
"""Names of columns that hold images, likewise."""

_MOST_NAMES_SHOWN = 20
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?=://)|(?:data|blob|javascript)(?=:)", re.IGNORECASE)
_HOST_FIRST = re.compile(r"//[\w-]+(?:\.[\w-]+)+/")
_ADDRESSES = {"file", "http", "https", "s3", "gs", "az"}
_PLAIN_ID = re.compile("[A-Za-z0-9_-]+")
_PLAIN_IMAGE = re.compile(r"(?:https?://[A-Za-z0-9.-]+/|(?!//))[\w./?=&%~+@-]+")
_PLAIN_IDS, _PLAIN_IMAGES = (re.compile(f"(?:(?:{plain.pattern})\n)+") for plain in (_PLAIN_ID, _PLAIN_IMAGE))
_ROUNDED = re.compile(r"[0-9][.,][0-9]*[eE]\+?[0-9]+")


class CellError(ValueError):
    """A cell that holds no id or no image; *reason* is a code of `errors.ROW_REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep the *reason* beside the *message*."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """How to read a catalog.

    *id_column* and *image_column* name columns of a table; without them the usual names are looked for.
    *image_attributes* are columns whose values describe one image (a view, a background) instead of the item.
    *item_per_folder* makes every folder that holds images one item. *format* is the name of an export in
    `catalog.exports`; without it the columns tell which one it is, and "table" says that it is none. *images* is the
    folder in which the images lie, by default that of the table. With *images_below*, images outside of that folder,
    to which absolute paths, `..` and links may lead, are skipped. *remote* says how images at addresses are fetched.
    """

    id_column: str | None = None
    image_column: str | None = None
    image_attributes: tuple[str, ...] = ()
    item_per_folder: bool = False
    format: str | None = None
    images: str | None = None
    images_below: str | None = None
    remote: RemoteOptions = field(default_factory=RemoteOptions)


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

    def identify(self, batch: Batch, findings: Findings) -> tuple[list[str | None], list[list[str] | None]]:
        """Return the id and the images of each row; the id is None where *findings* say why the row is left out.

        The images are None where the cell holds some, but none that can be read, which *findings* say too.
        """
        ids = batch.columns[self.id]
        cells = [cell[0] if type(cell) is list and len(cell) == 1 else cell for cell in batch.columns[self.image]]
        if _are_plain(ids, _PLAIN_IDS) and _are_plain(cells, _PLAIN_IMAGES):  # as most are, at a fifth of the time
            return list(ids), [[cell] for cell in cells]
        names: list[str | None] = []
        images: list[list[str] | None] = []
        for line, of_id, cell in zip(batch.lines, ids, batch.columns[self.image], strict=True):
            name = self._name(line, of_id, findings)
            names.append(name)
            images.append(None if name is None else self._images(line, name, cell, findings))
        return names, images

    def _name(self, line: int, cell: object, findings: Findings) -> str | None:
        if type(cell) is str and _PLAIN_ID.fullmatch(cell):
            return cell
        try:
            return id_text(cell)
        except CellError as error:
            findings.leave_out(error.reason, str(error), place=line, column=self.id_name)
            return None

    def _images(self, line: int, name: str, cell: object, findings: Findings) -> list[str] | None:
        only = cell[0] if type(cell) is list and len(cell) == 1 else cell
        if type(only) is str and _PLAIN_IMAGE.fullmatch(only):
            return [only]
        usable = []
        try:
            named = image_references(cell)
        except CellError as error:
            findings.leave_out(error.reason, str(error), place=line, column=self.image_name, item=name)
            return None
        for reference in named:
            try:
                usable.append(_required_address(reference))
            except CellError as error:
                findings.leave_out(error.reason, str(error), place=line, column=self.image_name, item=name)
        return usable if usable or not named else None


def _are_plain(cells: Sequence[object], plain: re.Pattern[str]) -> TypeGuard[Sequence[str]]:
    """Whether each of *cells* is text, and all of them, a line each, are *plain*."""
    if set(map(type, cells)) != {str}:
        return False
    lines = "\n".join([*cells, ""])  # type: ignore[list-item]
    return plain.fullmatch(lines) is not None and lines.count("\n") == len(cells)


def column_position(rows: Rows, name: str, *, flag: str) -> int:
    """Return the position of the column *name*; case, spaces, hyphens and underscores need not agree."""
    if name in rows.columns:
        return rows.columns.index(name)
    tolerant = [bare(column) for column in rows.columns]
    if bare(name) in tolerant:
        return tolerant.index(bare(name))
    raise CatalogError(f"there is no column {name!r} among {_listed(rows)}; correct {flag}", path=rows.path)


def _choose(rows: Rows, given: str | None, *, usual: tuple[str, ...], what: str, flag: str) -> int:
    if given is not None:
        return column_position(rows, given, flag=flag)
    columns = [bare(column) for column in rows.columns]
    for name in map(bare, usual):
        if name in columns:
            return columns.index(name)
    is_one = len(columns) == 1 and rows.textual
    hint = "; is the separator another than the comma, the semicolon and the tab?" if is_one else ""
    raise CatalogError(f"no known column of {what} among {_listed(rows)}; name it with {flag}{hint}", path=rows.path)


def same_name(one: str, other: str) -> bool:
    """Whether two names of columns agree, apart from case, spaces, hyphens and underscores."""
    return bare(one) == bare(other)


def _listed(rows: Rows) -> str:
    names = ", ".join(map(repr, rows.columns[:_MOST_NAMES_SHOWN]))
    more = len(rows.columns) - _MOST_NAMES_SHOWN
    return f"{names} and {more} more" if more > 0 else names


def id_text(value: object) -> str:
    """Return an id as text without space around it, in the normal form NFC of Unicode.

    Text and whole numbers are ids. A number with a point is not an id, even 12.0: it may have been a code like 0012
    before a program made it a float. Raises CellError.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if value is None or isinstance(value, str):
        text = (value or "").strip()
    elif isinstance(value, int | UUID) and not isinstance(value, bool):
        text = str(value)
    else:
        raise CellError("no-id", f"an id is text or a whole number, not {_short(value)}; write it as text")
    if not text:
        raise CellError("no-id", "the id is empty; give every row one")
    if "\0" in text or "\ufffd" in text:
        raise CellError("no-id", f"the id {text!r} holds a character that is no text; write it anew")
    if _ROUNDED.fullmatch(text):
        raise CellError(
            "rounded-id", f"a spreadsheet has rounded the id to {text}; format the column as text and export it again"
        )
    return normal_form(text)


def image_references(value: object) -> list[str]:
    """Return the images that a cell names: a path or address, several separated by `|`, or a list, also as JSON text.

    A path is kept as it is written, without space around it. The list is empty for a blank cell. Raises CellError for
    a value that is not text.
    """
    return [reference for reference in _split(value) if reference]


def _required_address(reference: str) -> str:
    """Return *reference*; raises CellError for an address of another kind than files, the web and buckets have."""
    scheme = _SCHEME.match(reference)
    if scheme and scheme[0].lower() not in _ADDRESSES:
        raise CellError("bad-address", f"no image can be read from {_short(reference)}; name a file or a web address")
    if "\0" in reference:
        raise CellError("bad-address", f"the path {reference!r} holds a NUL character; remove it")
    if not is_unicode(reference):
        raise CellError("bad-address", f"the path {reference!r} holds half a surrogate pair; write it anew")
    if _HOST_FIRST.match(reference):  # as pages write addresses
        reference = f"https:{reference}"
    if scheme or reference.startswith("https:"):
        try:
            _ = urlsplit(reference).port
        except ValueError as error:
            raise CellError("bad-address", f"{_short(reference)} is no address ({error}); correct it") from error
    return reference


def _split(value: object) -> list[str]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        listed = _json_list(text) if text.startswith("[") else None
        if listed is None:
            return [part.strip() for part in text.split("|")] if "|" in text else [text]
        value = listed
    if value is None or value != value:  # noqa: PLR0124 - NaN, as data frames write an empty cell
        return []
    if not isinstance(value, list | tuple) or not all(part is None or isinstance(part, str) for part in value):
        raise CellError("bad-address", f"an image is a path or a list of paths, not {_short(value)}")
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

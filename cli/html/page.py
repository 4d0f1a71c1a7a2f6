"""What the pages share: the templates, the card of an item, and images as data URLs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_recs.catalog.image_files import ImageFiles, image_bytes
from vision_recs.errors import ImageError
from vision_recs.store import Store
from vision_recs.types import Attribute, ImageSource

from ..output import READ_FIRST

_SIDE = 320
"""Pixels of the longer side of an image: sharp on a dense screen at the size of a card."""


@dataclass(frozen=True, slots=True)
class Card:
    """An item on a page; a source is a data URL, or None where the image cannot be read.

    *notes* say how the item counts in the query, or which rules changed its place; *explanation* has the lines of the
    scores and of the shared attributes.
    """

    title: str
    id: str
    sources: Sequence[str | None]
    attributes: Mapping[str, Attribute]
    score: float | None = None
    notes: Sequence[str] = ()
    explanation: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """The attributes that a person would read first, on one line."""
        return " · ".join(str(self.attributes[name]) for name in READ_FIRST if name in self.attributes)


def render(path: Path, template: str, **values: object) -> None:
    """Write to *path* the page that *template* makes of *values*."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    path.write_text(environment.get_template(template).render(**values), encoding="utf-8")


def title_of(item: str, attributes: Mapping[str, Attribute]) -> tuple[str, dict[str, Attribute]]:
    """Return the title of *item*, and the attributes that a page shows beside the title."""
    title = next((str(attributes[name]) for name in ("title", "name") if attributes.get(name)), item)
    rest: dict[str, Attribute] = {
        name: value for name, value in attributes.items() if value is not None and name not in ("title", "name")
    }
    return title, rest


def images_of(store: Store) -> ImageSource:
    """Return what reads the images of *store* for a page, without the patience of a run."""
    source = store.image_source
    return source.hurried() if isinstance(source, ImageFiles) else source


def data_url(images: ImageSource, reference: str, *, side: int = _SIDE) -> str | None:
    """Return an image as a data URL, its longer side at most *side* pixels, or None where it cannot be read."""
    from vision_recs.images import decode, thumbnail

    try:
        small = thumbnail(decode(image_bytes(images, reference)), max_side=side)
    except ImageError:
        return None  # the page says so in its place
    return "data:image/jpeg;base64," + base64.b64encode(small).decode()

"""A page of pictures in one file: the query, what is similar to it, scores and attributes."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_recs.catalog.files import PictureFiles
from vision_recs.errors import ImageError
from vision_recs.store import Store
from vision_recs.types import Attribute, Match

from .render import READ_FIRST

_SIDE = 320
"""Pixels of the longer side of a picture: sharp on a dense screen at the size of a card."""

_ASKED_PICTURES = 6
"""How many pictures of an asked item the page shows."""


@dataclass(frozen=True, slots=True)
class Card:
    """An item on the page; a source is a data URL, or None where the picture is not to be had."""

    title: str
    id: str
    sources: Sequence[str | None]
    attributes: Mapping[str, Attribute]
    score: float | None = None

    @property
    def summary(self) -> str:
        """The attributes that a person would read first, on one line."""
        return " · ".join(str(self.attributes[name]) for name in READ_FIRST if name in self.attributes)


def write_page(path: Path, store: Store, items: Sequence[str], image: Path | None, matches: Sequence[Match]) -> None:
    """Write to *path* a page that shows the *items* and the *image* asked for and their *matches*."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    files = PictureFiles(store.manifest.catalog.root)
    asked = list(_asked(store, files, items, image))
    similar = [
        _card(match.id, [_data_url(files, match.picture)], match.attributes, score=match.score) for match in matches
    ]
    name = ", ".join(card.title for card in asked)
    page = environment.get_template("similar.html").render(
        name=name, asked=asked, similar=similar, store=store.manifest
    )
    path.write_text(page, encoding="utf-8")


def _asked(store: Store, files: PictureFiles, items: Sequence[str], image: Path | None) -> Iterator[Card]:
    for item in items:
        sources = [_data_url(files, picture.picture) for picture in store.pictures(item)[:_ASKED_PICTURES]]
        yield _card(item, sources, store.attributes(item))
    if image is not None:
        yield Card(image.name, "", [_data_url(PictureFiles("."), str(image))], {})


def _card(
    item: str, sources: Sequence[str | None], attributes: Mapping[str, Attribute], score: float | None = None
) -> Card:
    title = next((str(attributes[name]) for name in ("title", "name") if attributes.get(name)), item)
    shown = {name: value for name, value in attributes.items() if value is not None and name not in ("title", "name")}
    return Card(title, item, sources, shown, score)


def _data_url(files: PictureFiles, reference: str) -> str | None:
    from vision_recs import images

    try:
        small = images.thumbnail(images.decode(files.read(reference)), max_side=_SIDE)
    except ImageError:
        return None  # the page says so in its place
    return "data:image/jpeg;base64," + base64.b64encode(small).decode()

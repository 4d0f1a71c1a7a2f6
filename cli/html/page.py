"""A page of images in one file: the query, what is similar to it, scores and attributes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_recs.catalog.files import ImageFiles
from vision_recs.errors import ImageError
from vision_recs.store import Store
from vision_recs.types import Attribute, Match

from ..explanation import explanation_lines, verdicts
from ..output import READ_FIRST
from ..query_summary import Asked

_SIDE = 320
"""Pixels of the longer side of an image: sharp on a dense screen at the size of a card."""

_ASKED_IMAGES = 6
"""How many images of an asked item the page shows."""


@dataclass(frozen=True, slots=True)
class Card:
    """An item on the page; a source is a data URL, or None where the image is not to be had.

    *notes* say how it counts in the question, or which rules had a say; *explanation* which images met and what is shared.
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


def write_page(path: Path, store: Store, asked: Sequence[Asked], matches: Sequence[Match]) -> None:
    """Write to *path* a page that shows what was *asked* with and its *matches*."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    files = ImageFiles(store.manifest.catalog.root)
    questions = [_question(store, files, each) for each in asked]
    name = ", ".join(card.title for card in questions)
    similar = [_answer(files, match) for match in matches]
    page = environment.get_template("similar.html").render(
        name=name, asked=questions, similar=similar, store=store.manifest
    )
    path.write_text(page, encoding="utf-8")


def _question(store: Store, files: ImageFiles, asked: Asked) -> Card:
    notes = [asked.note] if asked.note else []
    if asked.image is not None:
        return Card(asked.image.name, "", [data_url(ImageFiles("."), str(asked.image))], {}, notes=notes)
    if asked.words:
        return Card(f"“{asked.words}”", "", [], {}, notes=notes)
    sources = [data_url(files, image.image) for image in store.images(asked.item)[:_ASKED_IMAGES]]
    title, shown = titled(asked.item, store.attributes(asked.item))
    return Card(title, asked.item, sources, shown, notes=notes)


def _answer(files: ImageFiles, match: Match) -> Card:
    title, shown = titled(match.id, match.attributes)
    sources = [data_url(files, match.image)]
    return Card(
        title,
        match.id,
        sources,
        shown,
        match.score,
        notes=verdicts(match.explanation),
        explanation=explanation_lines(match),
    )


def titled(item: str, attributes: Mapping[str, Attribute]) -> tuple[str, dict[str, Attribute]]:
    """Return what the page calls *item*, and the attributes that it shows beside that."""
    title = next((str(attributes[name]) for name in ("title", "name") if attributes.get(name)), item)
    shown: dict[str, Attribute] = {
        name: value for name, value in attributes.items() if value is not None and name not in ("title", "name")
    }
    return title, shown


def data_url(files: ImageFiles, reference: str, *, side: int = _SIDE) -> str | None:
    """Return an image as a data URL, its longer side *side* pixels at most, or None where it cannot be read."""
    from vision_recs import images

    try:
        small = images.thumbnail(images.decode(files.read(reference)), max_side=side)
    except ImageError:
        return None  # the page says so in its place
    return "data:image/jpeg;base64," + base64.b64encode(small).decode()

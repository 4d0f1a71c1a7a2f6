"""A page of duplicates in one file: each group side by side, then the placeholders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.catalog.files import ImageFiles
from vision_recs.store import Store

from .page import Card, data_url, titled

if TYPE_CHECKING:
    from vision_recs.batch.duplicates import Duplicates, Group, Placeholder

_GROUPS = 200
"""Groups on a page: the images of so many open at once in any browser."""

_NAMED = 24
"""Items of a placeholder that are named."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A group as the page shows it."""

    group: Group
    cards: Sequence[Card]


@dataclass(frozen=True, slots=True)
class ShownPlaceholder:
    """A placeholder as the page shows it: *source* is a data URL, or None where the image is not to be had."""

    placeholder: Placeholder
    source: str | None
    named: Sequence[str]

    @property
    def others(self) -> int:
        """How many items are not named."""
        return len(self.placeholder.items) - len(self.named)


def write_page(path: Path, store: Store, found: Duplicates) -> None:
    """Write to *path* a page that shows what was *found*, or the first of it."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    files = ImageFiles(store.manifest.catalog.root)
    page = environment.get_template("duplicates.html").render(
        found=found,
        groups=[_shown(store, files, group) for group in found.groups[:_GROUPS]],
        left_out=max(0, len(found.groups) - _GROUPS),
        placeholders=[
            ShownPlaceholder(each, data_url(files, each.image), each.items[:_NAMED])
            for each in found.placeholders[:_GROUPS]
        ],
        store=store.manifest,
    )
    path.write_text(page, encoding="utf-8")


def _shown(store: Store, files: ImageFiles, group: Group) -> Shown:
    cards = []
    for item, image in zip(group.items, group.images, strict=True):
        title, shown = titled(item, store.attributes(item))
        cards.append(Card(title, item, [data_url(files, image)], shown))
    return Shown(group, cards)

"""The page of `visrec duplicates`: each group side by side, then the placeholders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.store import Store
from vision_recs.types import ImageSource

from .page import Card, data_url, images_of, render, title_of

if TYPE_CHECKING:
    from vision_recs.batch.duplicates import Duplicates, Group, Placeholder

_MAX_GROUPS = 200
"""Groups on a page: any browser can show the images of this many at once."""

_NAMED = 24
"""Items of a placeholder that are named."""


@dataclass(frozen=True, slots=True)
class GroupCards:
    """A group, and a card for each of its items."""

    group: Group
    cards: Sequence[Card]


@dataclass(frozen=True, slots=True)
class PlaceholderCard:
    """A placeholder; *source* is a data URL, or None where the image cannot be read."""

    placeholder: Placeholder
    source: str | None
    named: Sequence[str]

    @property
    def others(self) -> int:
        """How many items are not named."""
        return len(self.placeholder.items) - len(self.named)


def write_page(path: Path, store: Store, found: Duplicates) -> None:
    """Write to *path* a page that shows the first groups and placeholders of *found*."""
    images = images_of(store)
    render(
        path,
        "duplicates.html",
        found=found,
        groups=[_cards(store, images, group) for group in found.groups[:_MAX_GROUPS]],
        left_out=max(0, len(found.groups) - _MAX_GROUPS),
        placeholders=[
            PlaceholderCard(placeholder, data_url(images, placeholder.image), placeholder.items[:_NAMED])
            for placeholder in found.placeholders[:_MAX_GROUPS]
        ],
        manifest=store.manifest,
    )


def _cards(store: Store, images: ImageSource, group: Group) -> GroupCards:
    cards = []
    for item, image in zip(group.items, group.images, strict=True):
        title, attributes = title_of(item, store.attributes(item))
        cards.append(Card(title, item, [data_url(images, image)], attributes))
    return GroupCards(group, cards)

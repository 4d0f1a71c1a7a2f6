"""The items of a generation, remembered once they were read: a query by id asks SQLite some fifty small questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vision_recs.store.items import Items
from vision_recs.types import Attribute, ItemImage, Row

K = TypeVar("K")
V = TypeVar("V")

_REMEMBERED = 120_000
"""Of how many items, images and digests: some 250 MB where items have ten attributes."""


class RememberedItems(Items):
    """Items that are read once. What is returned is shared, and not to be changed; safe to use from several threads."""

    def __init__(self, path: Path, *, most: int = _REMEMBERED) -> None:
        """Open *path* as `Items` does, and remember at most *most* answers of each kind."""
        super().__init__(path)
        self._most = most
        self._attributes_of: dict[str, dict[str, Attribute] | None] = {}
        self._attributes_shown: dict[tuple[str, str], dict[str, Attribute]] = {}
        self._images_of: dict[str, list[ItemImage]] = {}
        self._rows_at: dict[tuple[int, int], list[Row]] = {}
        self._position_of: dict[str, int] = {}

    def attributes(self, item: str) -> dict[str, Attribute] | None:
        """Return what `Items.attributes` does."""
        known = self._attributes_of.get(item)
        if known is None:
            known = super().attributes(item)
            if known is not None:  # ids that strangers make up are not worth remembering
                self._remember(self._attributes_of, item, known)
        return known

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return what `Items.attributes_of` does."""
        known = {item: self.attributes(item) for item in items}
        return {item: attributes for item, attributes in known.items() if attributes is not None}

    def images(self, item: str) -> list[ItemImage]:
        """Return what `Items.images` does."""
        known = self._images_of.get(item)
        if known is None:
            known = super().images(item)
            if known:
                self._remember(self._images_of, item, known)
        return known

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[dict[str, Attribute] | None]:
        """Return what `Items.match_attributes` does."""
        return [self._attributes_shown.get(each) or self._shown(*each) for each in images]

    def rows(self, positions: Iterable[int], limit: int) -> dict[int, list[Row]]:
        """Return what `Items.rows` does."""
        asked = list(positions)
        known = {position: self._rows_at.get((position, limit)) for position in asked}
        missing = [position for position, rows in known.items() if rows is None]
        read = super().rows(missing, limit) if missing else {}
        for position, rows in read.items():
            self._remember(self._rows_at, (position, limit), rows)
        return {position: read[position] if rows is None else rows for position, rows in known.items()}

    def positions(self, digests: Iterable[str]) -> dict[str, int]:
        """Return what `Items.positions` does."""
        known = {digest: self._position_of.get(digest) for digest in digests}
        missing = [digest for digest, position in known.items() if position is None]
        read = super().positions(missing) if missing else {}
        for digest, position in read.items():
            self._remember(self._position_of, digest, position)
        return {digest: read[digest] if position is None else position for digest, position in known.items()}

    def _shown(self, item: str, image: str) -> dict[str, Attribute] | None:
        attributes = self.attributes(item)
        own = next((each.attributes for each in self.images(item) if each.image == image), None)
        if attributes is None or own is None:
            return None
        shown = {**attributes, **own} if own else attributes  # most images have none of their own, and no memory
        self._remember(self._attributes_shown, (item, image), shown)
        return shown

    def _remember(self, memory: dict[K, V], key: K, value: V) -> None:
        """Keep *value*; where there is no room, forget the oldest."""
        with self._lock:
            memory[key] = value
            if len(memory) > self._most:
                memory.pop(next(iter(memory)))

"""What a query asks of items: one statement reads all of it, and what was read last is kept for the next question."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from vision_recs.store.layers import ItemsDatabase, blob, key_of_id
from vision_recs.types import Attribute, ItemImage

FEW = 64
"""Items or positions that a query asks for at once: what is read of so few is kept, since it is asked for again."""

_KEPT = 1_024
"""Of how many items, and of how many images, it is kept at most."""

_decode = json.JSONDecoder().raw_decode  # for one value and nothing else: half the time of `json.loads`

_KNOWN = (
    "SELECT items.item_id, items.attributes, images.ordinal, images.image, vectors.digest, images.attributes,"
    " images.position FROM {wanted}"
    " CROSS JOIN {{layer}}.images AS images ON images.item_id = items.item_id"
    " LEFT JOIN {{layer}}.vectors AS vectors ON vectors.position = images.position WHERE {which}{{live}}"
)
_ONE = _KNOWN.format(wanted="{layer}.items AS items", which="items.item_id = ?1")
_SEVERAL = _KNOWN.format(
    wanted="json_each(?1) AS wanted CROSS JOIN {layer}.items AS items ON items.item_id = wanted.value", which="TRUE"
)

_T = TypeVar("_T")


class KnownImage(NamedTuple):
    """An image of an item with its own *attributes*; *position* is that of its vector."""

    ordinal: int
    image: str
    digest: str
    attributes: dict[str, Attribute]
    position: int


class KnownItem(NamedTuple):
    """What a query asks of an item: its attributes, and its images in the order of the catalog."""

    attributes: dict[str, Attribute]
    images: list[KnownImage]

    def attributes_with(self, image: str) -> dict[str, Attribute] | None:
        """Return the attributes of the item and of its *image*, as a new dictionary; None without such an image."""
        own = [each.attributes for each in self.images if each.image == image]
        return {**self.attributes, **own[-1]} if own else None

    def item_images(self) -> list[ItemImage]:
        """Return the images as those who ask for them get them, who may change what they got."""
        return [ItemImage(each.image, each.digest, dict(each.attributes)) for each in self.images]


class RecentItems:
    """Reads items of a generation, and keeps the last ones; safe to use from several threads."""

    def __init__(self, files: ItemsDatabase) -> None:
        """Read *files*, which somebody else closes."""
        self._files = files
        self._recent: dict[str, KnownItem] = {}
        self._places: dict[str, int] = {}  # the positions of images, by digest

    def read(self, items: Iterable[str]) -> dict[str, KnownItem]:
        """Return what is stored of each of *items*, which are few; an unknown id is left out. It may be shared."""
        recent = self._recent
        found = {item: known for item in items if (known := recent.get(item)) is not None}
        missing = [item for item in dict.fromkeys(items) if item not in found]
        if not missing:
            return found
        read: dict[str, KnownItem] = {}
        is_one = len(missing) == 1
        for each, ids in self._files.each(_ONE if is_one else _SEVERAL, "items.item_id", missing, key_of_id):
            rows = self._files.all(each, tuple(ids) if is_one else (json.dumps(ids),))
            with self._files.reading:
                for item, text, number, image, digest, own, position in rows:
                    known = read.get(item)
                    if known is None:
                        known = read[text_of(item)] = KnownItem(parsed(text), [])
                    shown = KnownImage(number, text_of(image), blob(digest).hex(), parsed(own), int(position))
                    known.images.append(shown)
        for known in read.values():
            if len(known.images) > 1:
                known.images.sort()
        _keep(recent, read)
        _keep(self._places, {image.digest: image.position for item in read.values() for image in item.images})
        return found | read

    def places(self, digests: Sequence[str]) -> dict[str, int]:
        """Return the positions of those images with *digests* that were read last, by digest."""
        places = self._places
        return {digest: place for digest in digests if (place := places.get(digest)) is not None}

    def keep_places(self, places: Mapping[str, int]) -> None:
        """Keep the positions of some images, by digest."""
        _keep(self._places, places)

    def forget(self) -> None:
        """Forget what was read last."""
        self._recent.clear()
        self._places.clear()


def _keep(kept: dict[str, _T], new: Mapping[str, _T]) -> None:
    """Add *new* to *kept*, which forgets all else where it would become too large."""
    if len(kept) + len(new) > _KEPT:
        kept.clear()
    kept.update(new)


def text_of(value: object) -> str:
    """Return *value*, which has to be text: SQLite keeps the type with each value, so a damaged file may give any."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where text belongs")
    return value


def parsed(text: str) -> dict[str, Attribute]:
    """Return the attributes in the JSON *text*."""
    if text == "{}":  # as most images have it
        return {}
    return parse(text, dict)


def parse(text: str, kind: type[_T]) -> _T:
    """Return the value of that *kind* in the JSON *text*; raises ValueError or TypeError."""
    value, end = _decode(text)
    if not isinstance(value, kind) or end != len(text):
        raise TypeError(f"{text!r} where another value belongs")
    return value

"""The items that show an image, and what an answer says of each, as bytes: made once, for all answers that show it."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import msgspec
import numpy as np

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Group, group_of
from vision_recs.recommend import Policy
from vision_recs.recommend.by_position import NearestPositions
from vision_recs.recommend.eligibility import IN_STOCK
from vision_recs.serve import convert
from vision_recs.store.recent_items import KnownItem
from vision_recs.types import Match

_encode = msgspec.json.Encoder().encode

_MAX_ENTRIES = 100_000
"""Images whose part of an answer is kept: some 100 MB for items with ten attributes."""

NOWHERE = -1
"""The position of what is no image, which no item shows."""

_SCORE = b',"score":0.0,'


def explanation(effects: bytes) -> bytes:
    """Return what an answer says of a match that had *effects*, as JSON."""
    return b',"explanation":{"terms":[],"shared":{},"effects":[%b],"relaxed":[]}' % effects


NO_EFFECTS = explanation(b"")


class Shown(NamedTuple):
    """An item that shows an image, and what an answer says of it: the bytes before and after the score.

    *cover* is what comes at the end where the query asks for covers.
    """

    item: str
    group: Group | None
    is_in_stock: bool
    before: bytes
    after: bytes
    cover: bytes


class ShownItems:
    """Knows the items that show the images at positions, for one thread."""

    def __init__(self, source: NearestPositions, policy: Policy) -> None:
        """Read the items of *source* for answers under *policy*, which is plain."""
        self._source = source
        self._one_per = policy.one_per
        self._shows_images_once = policy.shows_images_once(None)
        self._known: dict[int, tuple[Shown, ...]] = {NOWHERE: ()}  # by position

    def at(self, position: int) -> tuple[Shown, ...]:
        """Return the items that show the image at *position*; where one stands for all, it is the first."""
        if position not in self._known:
            self.read([position])
        return self._known[position]

    def read(self, positions: Iterable[int]) -> None:
        """Know which items show the images at *positions*; raises StoreDamaged."""
        missing = [position for position in positions if position not in self._known]
        if not missing:
            return
        missing = list(dict.fromkeys(missing))
        if len(self._known) + len(missing) > _MAX_ENTRIES:
            self._known = {NOWHERE: ()}
        places, rows = self._source.lookup.rows_at(np.array(missing, np.int64))
        ids = self._source.lookup.ids(rows)
        known = self._source.items.known(ids, rows.tolist())
        found: dict[int, dict[str, Shown]] = {position: {} for position in missing}
        for place, item in zip(places.tolist(), ids, strict=True):
            position = missing[place]
            found[position][item] = self._read_one(item, known.get(item), position)
        for position, shown in found.items():
            if not shown:
                raise StoreDamaged(f"no item shows the vector {position}")
            self._known[position] = tuple(sorted(shown.values(), key=self._before))

    def _before(self, shown: Shown) -> tuple[bool, str]:
        """Return what orders items that show the same image: where one stands for all, those in stock first."""
        return self._shows_images_once and not shown.is_in_stock, shown.item

    def _read_one(self, item: str, known: KnownItem | None, position: int) -> Shown:
        images = [] if known is None else [image for image in known.images if image.position == position]
        if known is None or not images:
            raise StoreDamaged(f"the item {item!r} does not show the vector {position}")
        image = min(images, key=attrgetter("image"))
        attributes = {**known.attributes, **image.attributes}
        match = convert.to_match(0, Match(item, 0.0, image.image, image.digest, attributes), None)
        before, _, after = _encode(match).partition(_SCORE)
        group = group_of(known.attributes, self._one_per)
        is_in_stock = known.attributes.get(IN_STOCK) is True
        cover = b',"cover":' + _encode(convert.thumbnail_of(convert.cover_of(known.item_images())))
        return Shown(item, group, is_in_stock, before.partition(b",")[2] + _SCORE[:9], b"," + after[:-1], cover)

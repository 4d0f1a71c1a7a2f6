"""What a finished items file changes: it is compared with the generation before, and keeps only what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.layers import ItemsDatabase
from vision_recs.store.stored_items import StoredImage, StoredItem, StoredItems

_TABLES = ("items", "images", "skipped", "stale", "skipped_items", "versions", "changed")
_NO_ITEM = StoredItem("", [])


@dataclass(frozen=True, slots=True)
class Difference:
    """What a finished items file changes: for how many items, and by how much it changes the counts of a generation.

    Of the *images*, *imageless* ones have an empty name: an item has them that has words alone.
    *removed* items are gone, *added* ones are new, and *altered* ones have other attributes or images.
    *skipped_reasons* says how many of the images that were read could not be used, and why, and *stale_reasons* how
    many could not be read now and keep their vectors. *positions_before* and *positions* are those of the vectors that
    the changed items had and have, ascending.
    """

    changed: int
    items: int
    images: int
    imageless: int
    skipped: int
    added: int
    removed: int
    altered: int
    positions_before: NDArray[np.int64]
    positions: NDArray[np.int64]
    skipped_reasons: Mapping[str, int] = field(default_factory=dict)
    stale_reasons: Mapping[str, int] = field(default_factory=dict)


def difference_from_nothing(made: ItemsDatabase) -> Difference:
    """Return what the items file *made* holds."""
    items, images, skipped, left_out = (_count(made, table) for table in ("items", "images", "skipped", "left_out"))
    ((imageless,),) = made.all("SELECT count(*) FROM main.images WHERE image = ''")
    nothing = np.empty(0, np.int64)
    return Difference(items, items, images, imageless, skipped + left_out, items, 0, 0, nothing, _positions(made))


def difference_from(base: StoredItems, made: ItemsDatabase, *, removed: Collection[str] | None) -> Difference:
    """Return by how much the items file *made* differs from *base*, and leave in it only what does: a delta.

    Its table `changed` names the items that may have changed. *removed* are those that an update says are gone; it is
    None where the file says all that there is. Items of which only signatures are new are kept if anything else
    changes: else nobody would ever write them.
    """
    return _Comparison(base, made).difference(removed)


class _Comparison:
    def __init__(self, base: StoredItems, made: ItemsDatabase) -> None:
        self._base = base
        self._made = made
        self._stored = StoredItems(made)
        self._connection = made.connection

    def difference(self, removed: Collection[str] | None) -> Difference:
        counts: Counter[str] = Counter(skipped=0)
        before: set[int] = set()
        only_signed: list[str] = []
        for some in self._stored.pages_of_changed():  # what is taken out of it has been passed by
            was, now = self._base.items(some), self._stored.items(some)
            versions = self._keep_versions(some)
            same = [item for item in some if item not in versions and now.get(item) == was.get(item)]
            self._take_out(same)
            for item in set(some).difference(same):
                old, new = was.get(item, _NO_ITEM), now.get(item, _NO_ITEM)
                if item not in versions and _is_same(old, new, _without_signature):
                    only_signed.append(item)
                _compare(old, new, counts)
                before.update(image.position for image in old.images if image.position is not None)
        counts["skipped"] += self._replace_left_out(removed)
        changed = _count(self._made, "changed")
        if changed == len(only_signed):
            self._take_out(only_signed)
            changed, before = 0, set()
        self._connection.execute("DELETE FROM main.vectors WHERE position NOT IN (SELECT position FROM main.images)")
        return Difference(
            changed,
            items=counts["items"],
            images=counts["images"],
            imageless=counts["imageless"],
            skipped=counts["skipped"],
            added=counts["added"],
            removed=counts["removed"],
            altered=counts["altered"],
            positions_before=np.array(sorted(before), np.int64),
            positions=_positions(self._made),
        )

    def _replace_left_out(self, removed: Collection[str] | None) -> int:
        """Note whether what the catalog left out is another than before, and return how much more it is."""
        now = self._stored.left_out()
        if removed is not None and not removed and not now:
            return 0
        before = self._base.left_out()
        if removed is not None:  # an update says nothing of the items that it does not name
            again = {(each.id, each.image) for each in now}
            now += [each for each in before if each.id not in removed and (each.id, each.image) not in again]
        self._connection.execute("DELETE FROM main.left_out")
        if now != before:
            self._connection.execute("INSERT INTO main.changed VALUES ('')")
            values = [(number, *each[:4]) for number, each in enumerate(now, 1)]
            self._connection.executemany("INSERT INTO main.left_out VALUES (?, ?, ?, ?, ?)", values)
        return len(now) - len(before)

    def _keep_versions(self, items: Sequence[str]) -> set[str]:
        """Keep the versions that the base has of *items* where the run has none; return the items with a new one."""
        was, now = self._base.versions(items), self._stored.versions(items)
        kept = [(item, version) for item, version in was.items() if item not in now]
        self._connection.executemany("INSERT INTO main.versions VALUES (?, ?)", kept)
        return {item for item, version in now.items() if was.get(item) != version}

    def _take_out(self, items: Sequence[str]) -> None:
        values = [(item,) for item in items]
        for table in _TABLES:
            self._connection.executemany(f"DELETE FROM main.{table} WHERE item_id = ?", values)  # noqa: S608


def _compare(old: StoredItem, new: StoredItem, counts: Counter[str]) -> None:
    """Add to *counts* by how much *new* is more than *old*, and whether the item was added, removed or altered."""
    old_count, new_count = (sum(image.position is not None for image in each.images) for each in (old, new))
    counts["items"] += bool(new_count) - bool(old_count)
    counts["added"] += bool(new_count) and not old_count
    counts["removed"] += bool(old_count) and not new_count
    counts["altered"] += bool(old_count and new_count) and not _is_same(old, new, _as_shown)
    counts["images"] += new_count - old_count
    counts["imageless"] += _imageless_in(new) - _imageless_in(old)
    counts["skipped"] += (len(new.images) - new_count) - (len(old.images) - old_count)


def _is_same(old: StoredItem, new: StoredItem, view: Callable[[StoredImage], StoredImage]) -> bool:
    """Return whether *old* and *new* have the same attributes, and the same in the *view* of each image."""
    return old.attributes == new.attributes and list(map(view, old.images)) == list(map(view, new.images))


def _without_signature(image: StoredImage) -> StoredImage:
    return image._replace(signature=None)


def _as_shown(image: StoredImage) -> StoredImage:
    """Return *image* without what only runs need: its signature, and whether it is stale where it has a vector."""
    if image.position is None:
        return image._replace(signature=None)
    return image._replace(signature=None, reason=None, message=None, stale=0)


def _imageless_in(stored: StoredItem) -> int:
    return sum(image.position is not None and not image.image for image in stored.images)


def _positions(made: ItemsDatabase) -> NDArray[np.int64]:
    """Return the positions of the vectors in *made*, ascending; of a hundred million they take 800 MB."""
    count = _count(made, "vectors")  # before the lock is taken, which it takes itself
    with made.lock:
        found = made.connection.execute("SELECT position FROM main.vectors ORDER BY 1")
        return np.fromiter((position for (position,) in found), np.int64, count)


def _count(made: ItemsDatabase, table: str) -> int:
    ((count,),) = made.all(f"SELECT count(*) FROM main.{table}")  # noqa: S608
    return int(count)

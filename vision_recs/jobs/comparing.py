"""Comparing a catalog with the last generation, many items at a time, so that only what differs is staged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.jobs.progress import Progress, ProgressCallback
from vision_recs.ordered_map import ordered_map
from vision_recs.store import Staging
from vision_recs.store.staging import attributes_text, images_of, is_list_of
from vision_recs.store.stored_items import StoredItem, StoredItems
from vision_recs.types import BulkImageSource, Catalog, Item

_AT_ONCE = 2_000

_FEWEST = 32


class Same(NamedTuple):
    """Items that are as they are stored, and of each image the id of its item, its name and its signature."""

    items: Sequence[Item]
    owners: Sequence[str]
    images: Sequence[str]
    signatures: Sequence[str]


def stage_catalog(catalog: Catalog, staging: Staging, progress: ProgressCallback, *, workers: int) -> None:
    """Add to *staging* the items of *catalog* that differ from its base, and remove those that the catalog lacks.

    The whole catalog is read before anything else is done, so that an error in it costs nothing. An item differs where
    its attributes, its images, or the signature of one of its images do; so does one of which an image was skipped for
    a reason that may pass. *workers* threads ask for signatures.
    """
    comparison = _Comparison(catalog, staging, progress)
    with ThreadPoolExecutor(workers) as pool:
        for changed in ordered_map(pool, comparison.with_other_images, comparison.unchanged(), window=2 * workers):
            stored = staging.base.items([item.id for item in changed]) if staging.base else {}
            for item in changed:
                staging.add(item, stored.get(item.id))
    comparison.remove_the_rest()


@dataclass
class _Comparison:
    catalog: Catalog
    staging: Staging
    progress: ProgressCallback
    matched: int = 0
    hashes: list[NDArray[np.int64]] = field(default_factory=list)

    def unchanged(self) -> Iterator[Same]:
        """Yield the items that are as they are stored, some at a time, as far as can be said without their images.

        All others are staged.
        """
        # a catalog of visrec tells what it leaves out
        read_items = getattr(self.catalog, "read_items", None)
        leave_out = self.staging.leave_out
        items = iter(self.catalog) if read_items is None else iter(read_items(lambda each: leave_out(*each)))
        total = 0
        while chunk := list(islice(items, _AT_ONCE)):
            total += _image_count(chunk)
            self.progress(Progress("reading the catalog", total, None))
            if self.staging.base is None:
                self.staging.add_new(chunk)
                continue
            self.hashes.append(np.fromiter((hash(item.id) for item in chunk), np.int64, len(chunk)))
            yield from self._compared(chunk, self.staging.base)

    def _compared(self, chunk: Sequence[Item], base: StoredItems) -> Iterator[Same]:
        """Yield what of *chunk* is as it is stored: all at once if it can be, else of each half, else item by item."""
        same = self._all_the_same(chunk, base)
        if same is not None:
            self.matched += len(chunk)
            yield same
        elif len(chunk) > _FEWEST:
            half = len(chunk) // 2
            yield from self._compared(chunk[:half], base)
            yield from self._compared(chunk[half:], base)
        else:
            yield self._one_by_one(chunk, base)

    def _all_the_same(self, chunk: Sequence[Item], base: StoredItems) -> Same | None:
        """Return *chunk* if all of its items are as they are stored, by comparing them as a whole, else None."""
        page = base.page([item.id for item in chunk]) if self.staging.trusts_all else None
        if page is None or not is_list_of([item.attributes for item in chunk], page.attributes):
            return None
        if (page.owners, page.images, page.own_attributes) != _images_in(chunk) or not all(page.signatures):
            return None
        return Same(chunk, page.owners, page.images, page.signatures)

    def _one_by_one(self, chunk: Sequence[Item], base: StoredItems) -> Same:
        stored = base.items([item.id for item in chunk])
        self.matched += len(stored)
        items: list[Item] = []
        images: list[tuple[str, str, str]] = []
        for item in chunk:
            before = stored.get(item.id)
            if before is None or not self._is_as(item, before):
                self.staging.add(item, before)
            else:
                images += [(item.id, image.image, image.signature or "") for image in before.images]
                items.append(item)
        return Same(items, *(zip(*images, strict=True) if images else ((), (), ())))

    def _is_as(self, item: Item, before: StoredItem) -> bool:
        return (
            attributes_text(item.attributes) == before.attributes
            and images_of(item) == [(image.image, image.attributes) for image in before.images]
            and all(image.signature and not image.stale and self.staging.is_settled(image) for image in before.images)
        )

    def with_other_images(self, same: Same) -> Sequence[Item]:
        """Return those of the items *same* of which an image has another signature; all, where nobody can tell."""
        source: Any = self.catalog.images
        if not isinstance(source, BulkImageSource):
            return same.items
        found = source.signatures(same.images)
        if found == list(same.signatures):
            return []
        each = zip(same.owners, same.images, found, same.signatures, strict=True)
        # an item that is found by its words alone has no image, which is ""
        changed = {owner for owner, image, now, before in each if image and now != before}
        return [item for item in same.items if item.id in changed]

    def remove_the_rest(self) -> None:
        """Note that the items of the base that the catalog lacks are gone; raises ValueError for an id twice."""
        base = self.staging.base
        if base is None:
            return
        hashes = np.sort(np.concatenate([np.empty(0, np.int64), *self.hashes]))
        twice = hashes[1:][hashes[1:] == hashes[:-1]]
        if len(twice):
            self._refuse_twice(set(twice.tolist()))
        if self.matched == base.count():
            return
        for ids in base.pages():
            own = np.fromiter(map(hash, ids), np.int64, len(ids))
            places = np.minimum(np.searchsorted(hashes, own), max(len(hashes) - 1, 0))
            gone = hashes[places] != own if len(hashes) else np.ones(len(own), np.bool_)
            self.staging.remove(self._listed([ids[number] for number in np.flatnonzero(gone)]))

    def _listed(self, items: list[str]) -> list[str]:
        """Return those of *items* that are gone, not only in a folder that cannot be listed at the moment."""
        folders = tuple(f"{folder}/" for folder in getattr(self.catalog, "unlisted", ()))
        base = self.staging.base
        if not folders or base is None:
            return items
        stored = base.items(items)
        return [item for item in items if not any(each.image.startswith(folders) for each in stored[item].images)]

    def _refuse_twice(self, hashes: set[int]) -> None:
        """Raise ValueError if ids whose hashes are equal are equal, too; the catalog is read once more."""
        seen: set[str] = set()
        for item in self.catalog:
            if hash(item.id) in hashes:
                if item.id in seen:
                    raise ValueError(f"the catalog yields the item {item.id!r} twice; merge its images into one Item")
                seen.add(item.id)


def _image_count(chunk: Sequence[Item]) -> int:
    """Return how many images the items of *chunk* have; one that is listed twice counts once."""
    counts = [len(item.images) for item in chunk]
    return len(counts) if max(counts) <= 1 else sum(len(set(item.images)) or 1 for item in chunk)


def _images_in(chunk: Sequence[Item]) -> tuple[list[str], list[str], list[str]]:
    """Return, for each image of the items of *chunk*, the id of its item, its name, and its attributes as JSON text."""
    only = [item.images[0] for item in chunk if len(item.images) == 1 and not item.image_attributes]
    if len(only) == len(chunk):
        return [item.id for item in chunk], only, ["{}"] * len(chunk)
    every = [(item.id, *image) for item in chunk for image in images_of(item)]
    return [owner for owner, _, _ in every], [image for _, image, _ in every], [own for _, _, own in every]

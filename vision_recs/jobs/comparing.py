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
from vision_recs.store.staging import attributes_text, images_of, list_text
from vision_recs.store.stored_items import StoredItem, StoredItems
from vision_recs.types import BulkImageSource, Catalog, Item

_AT_ONCE = 2_000

_FEWEST = 32


class Same(NamedTuple):
    """Items that are as they are stored, and their images: the number of the item, the image and its signature."""

    items: Sequence[Item]
    images: Sequence[tuple[int, str, str]]


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
            total += sum(map(_image_count, chunk))
            self.progress(Progress("reading the catalog", total, None))
            if self.staging.base is None:
                for item in chunk:
                    self.staging.add(item)
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
        rows = base.rows([item.id for item in chunk]) if self.staging.trusts_all else None
        if rows is None:
            return None
        attributes = {number: text for number, text, *_ in rows}
        if list(attributes) != list(range(len(chunk))):
            return None
        if list_text([item.attributes for item in chunk]) != f"[{','.join(attributes.values())}]":
            return None
        shown = [(number, *image) for number, item in enumerate(chunk) for image in images_of(item)]
        if shown != [(number, image, own) for number, _, image, own, _ in rows]:
            return None
        images = [(number, image, signature) for number, _, image, _, signature in rows if signature]
        return Same(chunk, images) if len(images) == len(rows) else None

    def _one_by_one(self, chunk: Sequence[Item], base: StoredItems) -> Same:
        stored = base.items([item.id for item in chunk])
        self.matched += len(stored)
        items: list[Item] = []
        images: list[tuple[int, str, str]] = []
        for item in chunk:
            before = stored.get(item.id)
            if before is None or not self._is_as(item, before):
                self.staging.add(item, before)
            else:
                images += [(len(items), image.image, image.signature or "") for image in before.images]
                items.append(item)
        return Same(items, images)

    def _is_as(self, item: Item, before: StoredItem) -> bool:
        return (
            attributes_text(item.attributes) == before.attributes
            and images_of(item) == [(image.image, image.attributes) for image in before.images]
            and all(image.signature and self.staging.is_settled(image) for image in before.images)
        )

    def with_other_images(self, same: Same) -> Sequence[Item]:
        """Return those of the items *same* of which an image has another signature; all, where nobody can tell."""
        source: Any = self.catalog.images
        if not isinstance(source, BulkImageSource):
            return same.items
        numbers, references, known = zip(*same.images, strict=True) if same.images else ((), (), ())
        found = source.signatures(references)
        if found == list(known):
            return []
        changed = {number for number, one, other in zip(numbers, found, known, strict=True) if one != other}
        return [same.items[number] for number in sorted(changed)]

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


def _image_count(item: Item) -> int:
    return len(item.images) if len(item.images) < 2 else len(set(item.images))  # noqa: PLR2004 - one is listed once

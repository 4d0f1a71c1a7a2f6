"""Several stores, searched as one: each item is in exactly one of them, such as by a hash of its id.

Scores are true cosines, so the answers of the partitions merge into the answer that one store of all items gives.
"""

from __future__ import annotations

import difflib
import heapq
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.errors import SpaceMismatch, StoreError, UnknownItem, VisionRecsError
from vision_recs.indexes.base import allowed
from vision_recs.types import Attribute, EncoderSpec, ItemImage, ItemSource, Match, SearchRequest, VectorIndex, Vectors

if TYPE_CHECKING:  # a query without a filter does not load the language of filters
    from vision_recs.filters import AttributeType
    from vision_recs.store import Store

_PLACES_KEPT = 200_000
_NAMED = 3
_PAGE = 10_000  # ids


class PartitionedItems:
    """The items of several sources together; an `ItemSource`. Every partition has vectors of the same space."""

    def __init__(self, partitions: Sequence[ItemSource]) -> None:
        """Join *partitions*, one at least, that have no item in common; raises SpaceMismatch where spaces differ."""
        for other in partitions[1:]:
            _require_same_space(partitions[0], other)
        self.partitions = tuple(partitions)
        self._places: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def generation(self) -> int:
        """The sum of the generations, which grows when a partition has a new one."""
        return sum(each.generation for each in self.partitions)

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return self.partitions[0].fingerprint

    @property
    def item_count(self) -> int:
        """How many items there are."""
        return sum(each.item_count for each in self.partitions)

    @property
    def image_count(self) -> int:
        """How many images the items have together."""
        return sum(each.image_count for each in self.partitions)

    @property
    def encoder(self) -> EncoderSpec:
        """The encoder that made the vectors."""
        return self.partitions[0].encoder

    @property
    def weights_file(self) -> str | None:
        """The path of the encoder's weights, where they are not the published ones."""
        return self.partitions[0].weights_file

    @property
    def canary(self) -> Vectors:
        """The vector (dim of the encoder,) of the canary image."""
        return self.partitions[0].canary

    def attribute_types(self) -> Mapping[str, AttributeType]:
        """Return the types of the values that the items have for each attribute."""
        types: dict[str, AttributeType] = {}
        for partition in self.partitions:
            for name, held in partition.attribute_types().items():
                types[name] = types[name] | held if name in types else held
        return types

    def ids(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the ids greater than *after*, ascending, the first *limit* of them."""
        pages = [partition.ids(after=after, limit=limit) for partition in self.partitions]
        return list(islice(heapq.merge(*pages), limit))

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        found: dict[str, Mapping[str, Attribute]] = {}
        for partition in self.partitions:
            missing = [item for item in items if item not in found]
            if not missing:
                break
            found.update(partition.attributes_of(missing))
        return found

    def images(self, item: str) -> Sequence[ItemImage]:
        """Return the images of *item* in the order of the catalog; raises UnknownItem."""
        errors: list[UnknownItem] = []
        for number, partition in enumerate(self.partitions):
            try:
                images = partition.images(item)
            except UnknownItem as error:
                errors.append(error)
                continue
            self.remember(number, (image.digest for image in images))
            return images
        raise _unknown(item, errors)

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[Mapping[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where either is unknown."""
        found: dict[tuple[str, str], Mapping[str, Attribute]] = {}
        for partition in self.partitions:
            missing = [image for image in dict.fromkeys(images) if image not in found]
            known = partition.match_attributes(missing) if missing else []
            found.update((image, each) for image, each in zip(missing, known, strict=False) if each is not None)
        return [found.get(image) for image in images]

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return the unit vectors (n, dim) of the n images with *digests*, in that order."""
        places = [self._place(digest) for digest in digests]
        vectors: dict[int, Vectors] = {}
        for number in set(places):
            wanted = [digest for digest, place in zip(digests, places, strict=True) if place == number]
            vectors[number] = self.partitions[number].vectors_of(wanted)
        rows = {number: iter(found) for number, found in vectors.items()}
        if not digests:
            return self.partitions[0].vectors_of([])
        return np.stack([next(rows[place]) for place in places])

    def sample_vectors(self, count: int) -> Vectors:
        """Return at most *count* vectors (n, dim), always the same ones: of each partition as many as its size asks."""
        ends = [0, *accumulate(partition.image_count for partition in self.partitions)]
        shares = np.diff([end * count // max(1, ends[-1]) for end in ends]).tolist()
        return np.concatenate(
            [each.sample_vectors(share) for each, share in zip(self.partitions, shares, strict=True) if share]
        )

    def project(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim of the encoder) in the space of the items, of unit length."""
        return self.partitions[0].project(vectors)

    def remember(self, number: int, digests: Iterable[str]) -> None:
        """Remember for some time that the partition *number* has the vectors of the images with *digests*."""
        with self._lock:
            for digest in digests:
                self._places[digest] = number
                self._places.move_to_end(digest)
            while len(self._places) > _PLACES_KEPT:
                self._places.popitem(last=False)

    def _place(self, digest: str) -> int:
        """Return the number of a partition that has the vector of the image with *digest*."""
        place = self._places.get(digest)
        if place is not None:
            return place
        for number, partition in enumerate(self.partitions[:-1]):
            try:
                partition.vectors_of([digest])
            except (VisionRecsError, KeyError):
                continue
            return number
        return len(self.partitions) - 1  # which says what is wrong, if it has no such vector


class PartitionedIndex:
    """The indexes of several partitions together; a `VectorIndex`."""

    def __init__(self, items: PartitionedItems, indexes: Sequence[VectorIndex]) -> None:
        """Search *indexes*, one for each partition of *items*."""
        self._items = items
        self._indexes = tuple(indexes)

    @property
    def source(self) -> tuple[str, int]:
        """The space, and the sum of the generations, that are searched."""
        return self._items.fingerprint, self._items.generation

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`."""
        if request.where is not None:
            request.where.check(self._items.attribute_types())
        answers: list[list[list[Match]]] = []
        for number, index in enumerate(self._indexes):
            found = _search_partition(index, self._items.partitions[number], request)
            self._items.remember(number, (match.digest for answer in found for match in answer))
            answers.append(found)
        return [self._merged(each, request) for each in zip(*answers, strict=True)]

    def _merged(self, answers: Sequence[Sequence[Match]], request: SearchRequest) -> list[Match]:
        """Return the best of *answers* to one query, each of which is sorted."""
        merged = heapq.merge(*answers, key=lambda match: (-match.score, match.id, match.image))
        return allowed(list(merged), self._items, request)


def require_partitions(stores: Sequence[Store]) -> None:
    """Raise StoreError unless *stores* have no item in common, and are all the partitions of a catalog that is split.

    Partitions that visrec made say which they are; of others all ids are compared.
    """
    marked: dict[int, dict[int, Store]] = {}
    for store in stores:
        if store.manifest.partition is not None:
            number, count = store.manifest.partition
            other = marked.setdefault(count, {}).setdefault(number, store)
            if other is not store:
                raise StoreError(
                    f"{other.layout.root} and {store.layout.root} are both partition {number} of {count} of a catalog; "
                    "name each partition once"
                )
    for count, parts in marked.items():
        missing = next((number for number in range(count) if number not in parts), None)
        if missing is not None:
            raise StoreError(
                f"partition {missing} of {count} is missing beside {next(iter(parts.values())).layout.root}; name all "
                "partitions, or the folder that has them"
            )
    if len(marked) != 1 or any(store.manifest.partition is None for store in stores):
        require_disjoint({str(store.layout.root): store for store in stores})


def require_disjoint(partitions: Mapping[str, ItemSource]) -> None:
    """Raise StoreError where two of *partitions*, which are given by name, have an item in common; reads all ids."""
    ids = heapq.merge(*(_named_ids(name, partition) for name, partition in partitions.items()))
    for (item, first), (other, second) in pairwise(ids):
        if item == other:
            raise StoreError(
                f"the item {item!r} is in {first} and in {second}; stores that are searched together need items of "
                "their own: index each part of the catalog with --partition"
            )


def _named_ids(name: str, partition: ItemSource) -> Iterator[tuple[str, str]]:
    last = ""
    while page := partition.ids(after=last, limit=_PAGE):
        yield from ((item, name) for item in page)
        last = page[-1]


def _search_partition(index: VectorIndex, items: ItemSource, request: SearchRequest) -> list[list[Match]]:
    if request.where is None:
        return index.search(request)
    from vision_recs.filters.folding import fold

    where = fold(request.where, items.attribute_types())
    if where is False:
        index.search(replace(request, where=None, k=min(request.k, 1)))  # which says what is wrong with the vectors
        return [[] for _ in request.vectors]
    return index.search(replace(request, where=None if where is True else where))


def _require_same_space(first: ItemSource, other: ItemSource) -> None:
    if first.fingerprint != other.fingerprint:
        raise SpaceMismatch(
            f"stores that are searched together need vectors of one space, but these have {first.fingerprint} "
            f"({first.encoder.name}) and {other.fingerprint} ({other.encoder.name}); index them with one encoder, and "
            "without a projection of their own"
        )


def _unknown(item: str, errors: Sequence[UnknownItem]) -> UnknownItem:
    """Return the error of the partition that skipped *item*, or else one that names the nearest ids of all."""
    skipped = next((error for error in errors if not error.nearest), None)
    if skipped is not None:
        return skipped
    known = sorted({each for error in errors for each in error.nearest})
    nearest = tuple(difflib.get_close_matches(item, known, n=_NAMED, cutoff=0.0))
    return UnknownItem(f"no item has the id {item!r}; the nearest are {', '.join(nearest)}", item=item, nearest=nearest)

"""`find_duplicates`: pairs of alike images become pairs of items, and these become groups by complete linkage."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np

from vision_recs.batch.duplicates.copies import find_copies
from vision_recs.batch.duplicates.pairs import ImageUsage, ItemPairs, alike_items, nearest_images
from vision_recs.batch.duplicates.report import DuplicateOptions, Duplicates, Group, Progress
from vision_recs.batch.duplicates.threshold import background_scores, estimate_threshold
from vision_recs.batch.duplicates.without_words import images_alone
from vision_recs.batch.item_arrays import ItemArrays, masks_and_groups
from vision_recs.knn_join import pairs_above
from vision_recs.recommend.query import VARIANTS
from vision_recs.recommend.rules import require_attribute
from vision_recs.store import Store
from vision_recs.types import VectorReader
from vision_recs.vectors import exact_cosine

_Links: TypeAlias = dict[int, float]


def find_duplicates(
    store: str | Path | Store, options: DuplicateOptions | None = None, *, progress: Progress = lambda *_: None
) -> Duplicates:
    """Return the groups of duplicates in *store*, and the placeholder images, which are left out of the comparison.

    All images are compared with all, exactly; the time grows with the square of their number. Groups are made by
    complete linkage, so that every two items of a group are alike: see `complete_linkage`. An item is in at most one
    group. Raises StoreError, PolicyError for an attribute that no item has, and TooManyPairs where too many items
    are alike.
    """
    if not isinstance(store, Store):
        with Store.open(store) as opened:
            opened.pin()
            return find_duplicates(opened, options, progress=progress)
    options = options or DuplicateOptions()
    if options.one_per not in {None, VARIANTS}:
        require_attribute(str(options.one_per), store.attribute_types(), key="one per")
    every = ItemArrays.of(store)
    _, groups = masks_and_groups(store, every, [], options.one_per)
    images, arrays = images_alone(store, every)
    usage = ImageUsage.of(arrays, groups, placeholder=options.placeholder)
    threshold, copies, device = options.threshold, None, options.device
    if threshold is None:
        nearest = nearest_images(images, usage, device=device)
        threshold = estimate_threshold(background_scores(usage, nearest))
        copies = find_copies(store, usage, nearest, partial(progress, "looking"))
    alike = chain([copies.pairs] if copies else [], pairs_above(images, usage.positions, threshold, device=device))
    pairs = alike_items(usage, alike, partial(progress, "comparing"))
    found = [_group(images, usage, pairs, members) for members in complete_linkage(pairs.triples())]
    found.sort(key=lambda group: (group.kind != "exact", -group.score, group.items))
    return Duplicates(
        groups=tuple(found),
        placeholders=usage.named_placeholders(),
        threshold=threshold,
        is_estimated=options.threshold is None,
        looked_at=copies.looked_at if copies else 0,
        unread=copies.unread if copies else 0,
        items=len(arrays.ids),
        images=len(arrays.positions),
        generation=store.generation,
    )


def complete_linkage(pairs: Iterable[tuple[int, int, float]]) -> list[list[int]]:
    """Return the groups that *pairs* (one, other, score) make, each of two or more numbers, ascending.

    In a group, every two numbers are a pair, so a chain of pairs does not become one group. Each number begins as a
    group of its own. The two groups with the highest least score between a member of the one and a member of the other
    become one group, again and again, until no two groups are left in which every two members are a pair. Of equal
    scores, the groups with the lowest first numbers come first. A pair that is given twice counts with its lower score.
    Time and memory grow with the number of pairs, not with the square of the numbers.
    """
    links = _links(pairs)
    members = {number: [number] for number in links}
    # A group goes by its first number. The heap keeps entries of groups that have changed since; they are passed over.
    heap = [(-score, one, other) for one in links for other, score in links[one].items() if one < other]
    heapq.heapify(heap)
    while heap:
        least, one, other = heapq.heappop(heap)
        if links.get(one, {}).get(other) != -least:
            continue
        members[one] = sorted(members[one] + members.pop(other))
        for third, score in _join(links, one, other).items():
            heapq.heappush(heap, (-score, min(one, third), max(one, third)))
    return [members[first] for first in sorted(members) if len(members[first]) > 1]


def _links(pairs: Iterable[tuple[int, int, float]]) -> dict[int, _Links]:
    """Return the scores of each number with the numbers that it is paired with, in both directions."""
    links: dict[int, _Links] = {}
    for one, other, score in pairs:
        if one == other:
            continue
        lowest = min(score, links.get(one, {}).get(other, score))
        links.setdefault(one, {})[other] = lowest
        links.setdefault(other, {})[one] = lowest
    return links


def _join(links: dict[int, _Links], one: int, other: int) -> _Links:
    """Merge the group *other* into the group *one*, and return the links of the merged group."""
    first, second = links.pop(one), links.pop(other)
    for third in {*first, *second} - {one, other}:
        links[third].pop(one, None)
        links[third].pop(other, None)
    both = {third: min(first[third], second[third]) for third in first.keys() & second.keys()}
    for third, score in both.items():
        links[third][one] = score
    links[one] = both
    return both


def _group(images: VectorReader, usage: ImageUsage, pairs: ItemPairs, members: list[int]) -> Group:
    arrays = usage.arrays
    places = pairs.among(members)
    shown = [set(arrays.positions[arrays.starts[item] : arrays.starts[item + 1]].tolist()) for item in members]
    # the pairs of the first member come first, since its number is the lowest
    best = max(places[: len(members) - 1], key=lambda place: pairs.scores[place])
    return Group(
        kind="exact" if set.intersection(*shown) & usage.compared else "near",
        score=min(float(pairs.scores[place]) for place in places),
        items=tuple(arrays.ids[item] for item in members),
        images=tuple(arrays.images[row] for row in _alike_rows(images, arrays, members, pairs.one_row[best])),
    )


def _alike_rows(images: VectorReader, arrays: ItemArrays, members: list[int], shown: int) -> Iterator[int]:
    """Yield the row *shown* of the first of *members*, and for each other member the row with the nearest vector."""
    vector = images.vectors(arrays.positions[[shown]])[0]
    yield int(shown)
    for item in members[1:]:
        rows = np.arange(arrays.starts[item], arrays.starts[item + 1])
        yield int(rows[np.argmax(exact_cosine(images.vectors(arrays.positions[rows]), vector))])

"""`find_duplicates`: pairs of alike images become pairs of items, and those become groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vision_recs.batch.duplicates.image_usage import Showing
from vision_recs.batch.duplicates.linkage import complete_linkage
from vision_recs.batch.duplicates.pairs import ItemPairs, alike_items, usual_scores
from vision_recs.batch.duplicates.report import DuplicateOptions, Duplicates, Group, Progress
from vision_recs.batch.duplicates.threshold import find_threshold
from vision_recs.batch.item_arrays import Inventory, Traits
from vision_recs.recommend.policy import VARIANTS
from vision_recs.recommend.rules import require
from vision_recs.store import Store
from vision_recs.vectors import exact_cosine


def find_duplicates(
    store: str | Path | Store, options: DuplicateOptions | None = None, *, progress: Progress = lambda *_: None
) -> Duplicates:
    """Return the groups of duplicates in *store*, and the placeholders, which count for nothing in the groups.

    All images are compared with all, exactly; the time grows with the square of their number. Groups are made by
    complete linkage, so that every two items of a group are alike: see `complete_linkage`. An item is in one group at
    most. Raises StoreError, PolicyError for an attribute that no item has, and VisionRecsError where so much is alike
    that there are no groups to be seen.
    """
    options = options or DuplicateOptions()
    if not isinstance(store, Store):
        store = Store.open(store)
        store.pin()
    if options.one_per not in {None, VARIANTS}:
        require(str(options.one_per), store.attribute_types(), key="one per")
    inventory = Inventory.of(store)
    groups = Traits.of(store, inventory, [], options.one_per).groups
    showing = Showing.of(inventory, groups, placeholder=options.placeholder)
    threshold = options.threshold
    if threshold is None:
        threshold = find_threshold(usual_scores(store, showing, device=options.device))
    pairs = alike_items(store, showing, threshold, device=options.device, progress=progress)
    found = [_group(store, showing, pairs, members) for members in complete_linkage(pairs.triples())]
    found.sort(key=lambda group: (group.kind != "exact", -group.score, group.items))
    return Duplicates(
        groups=tuple(found),
        placeholders=showing.as_placeholders(),
        threshold=threshold,
        found_on_data=options.threshold is None,
        items=len(inventory.ids),
        images=len(inventory.positions),
        generation=store.generation,
    )


def _group(store: Store, showing: Showing, pairs: ItemPairs, members: list[int]) -> Group:
    inventory = showing.inventory
    places = pairs.among(members)
    shown = [set(inventory.positions[inventory.starts[item] : inventory.starts[item + 1]].tolist()) for item in members]
    # the pairs of the first member come first, changed_since it is below the others
    best = max(places[: len(members) - 1], key=lambda place: pairs.scores[place])
    return Group(
        kind="exact" if set.intersection(*shown) & showing.counted else "near",
        score=min(float(pairs.scores[place]) for place in places),
        items=tuple(inventory.ids[item] for item in members),
        images=tuple(inventory.images[row] for row in _alike_rows(store, inventory, members, pairs.one_row[best])),
    )


def _alike_rows(store: Store, inventory: Inventory, members: list[int], shown: int) -> Iterator[int]:
    """Yield the row *shown*, of the first of *members*, and of each other one the row that is most like it."""
    vector = store.vectors(inventory.positions[[shown]])[0]
    yield int(shown)
    for item in members[1:]:
        rows = np.arange(inventory.starts[item], inventory.starts[item + 1])
        yield int(rows[np.argmax(exact_cosine(store.vectors(inventory.positions[rows]), vector))])

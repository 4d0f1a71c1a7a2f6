"""The lists of all items of one generation, some items at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_recs._version import __version__
from vision_recs.batch.item_arrays import Inventory, Traits
from vision_recs.batch.neighbors.candidates import Shortlister, Shortlists, askers
from vision_recs.batch.neighbors.diversity import Variety
from vision_recs.batch.neighbors.eligible import Answering
from vision_recs.batch.neighbors.options import NeighborsOptions
from vision_recs.batch.neighbors.retrieve import ExactNear, IndexNear, Near
from vision_recs.batch.neighbors.with_rules import DEEP, PreparedRecommender, Ruled
from vision_recs.indexes import open_index
from vision_recs.indexes.recall import measure_recall
from vision_recs.knn_join.matmul import workers
from vision_recs.store import Selection, Store
from vision_recs.types import VectorIndex

_EXACT_UP_TO = 300_000
"""With so many images on either side, comparing all takes minutes; the time grows with the product of the two."""

_MORE = 3  # groups looked at beyond those needed


@dataclass(frozen=True, slots=True)
class Lists:
    """What the lists of one generation are made from, and how: *method* is "exact" or the name of an index.

    *items* are those that get a list.
    """

    store: Store
    inventory: Inventory
    items: NDArray[np.int64]
    answering: Answering
    groups: NDArray[np.int64]
    options: NeighborsOptions
    method: str
    recall: float

    @classmethod
    def of(cls, store: Store, options: NeighborsOptions) -> Lists:
        """Read the items of *store*, and measure its index if that is to be asked.

        Raises FilterError, PolicyError and StoreError.
        """
        policy = options.policy
        if policy.names_attributes:
            policy.check(store.attribute_types())
        inventory = Inventory.of(store)
        traits = Traits.of(store, inventory, [options.where, policy.where, options.query_filter], policy.one_per)
        is_target = traits.matches[0] & traits.matches[1]
        is_target &= np.array([item not in policy.exclude for item in inventory.ids], dtype=np.bool_)
        answering = _answering(inventory, is_target, traits.groups, options)
        items = np.flatnonzero(traits.matches[2])
        method, recall = _method(store, options, len(inventory.rows_of(items)) * len(answering.positions))
        return cls(store, inventory, items, answering, traits.groups, options, method, recall)

    def plan(self) -> dict[str, Any]:
        """Return all that decides the lists, and how they are made, as JSON takes it."""
        manifest = self.store.manifest
        return {
            "visrec": __version__,
            "generation": self.store.generation,
            "created": manifest.created,
            "encoder": manifest.encoder.name,
            "fingerprint": self.store.fingerprint,
            **self.options.describe(),
            "method": self.method,
            "recall": self.recall,
        }

    def images(self, items: int) -> int:
        """Return how many images the first *items* have."""
        return len(self.inventory.rows_of(self.items[:items]))

    def after(self, done: int) -> Iterator[Shortlists]:
        """Yield the lists of all items but the first *done*, in their order."""
        items = self.items[done:]
        if not len(items):
            return
        near = self._near(items)
        policy = self.options.policy
        if policy.rules is not None:
            yield from self._ruled(near).lists(items)
            return
        shortlister = Shortlister(self.inventory, self.answering, near, self.groups, self.count, policy.min_score)
        variety = Variety(self.inventory, near.vectors, self.options.k, policy.diversity)
        with workers() as pool:
            for lists in shortlister.shortlists(items, self.count + _MORE):
                yield variety.choose(lists, pool) if policy.diversity else lists

    @property
    def count(self) -> int:
        """Out of how many candidates the items of a list are chosen."""
        policy = self.options.policy
        return policy.pool(self.options.k) if policy.diversity else self.options.k

    def _near(self, items: NDArray[np.int64]) -> Near:
        policy = self.options.policy
        if self.method == "exact":
            rough = policy.diversity > 0 and policy.rules is None  # candidates to choose from, of which few are shown
            return ExactNear(
                self.store, askers(self.inventory, items, rough=rough), self.answering, device=self.options.device
            )
        where = self.options.policy.matching(self.options.where)
        within = None if where is None else Selection(self.store, where)
        return IndexNear(self.store, _index(self.store), self.inventory, self.answering, within=within)

    def _ruled(self, near: Near) -> Ruled:
        where = self.options.policy.matching(self.options.where)
        recommender = PreparedRecommender(self.store, _index(self.store), where=where)
        options = self.options
        return Ruled(self.inventory, self.answering, near, recommender, options.k, options.where, options.policy)


def _method(store: Store, options: NeighborsOptions, pairs: int) -> tuple[str, float]:
    """Return how lists are made, and the recall of that."""
    has_index = store.layout.index_dir(store.manifest.index_type, store.generation).is_dir()
    if options.method == "exact" or not has_index or (options.method == "auto" and pairs <= _EXACT_UP_TO**2):
        return "exact", 1.0
    return store.manifest.index_type, measure_recall(_index(store), store, k=options.k)


def _answering(
    inventory: Inventory, is_target: NDArray[np.bool_], groups: NDArray[np.int64], options: NeighborsOptions
) -> Answering:
    count = options.policy.pool(options.k)
    if options.policy.rules is None:
        return Answering.of(inventory, is_target, groups, count=count)
    # rules may leave out any item, so that those of a group do not stand for one another
    return Answering.of(inventory, is_target, np.arange(len(groups)), count=DEEP * count)


def _index(store: Store) -> VectorIndex:
    directory = store.layout.index_dir(store.manifest.index_type, store.generation)
    return open_index(store.manifest.index_type if directory.is_dir() else "exact", store, directory)

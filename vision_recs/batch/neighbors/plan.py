"""The plan of a neighbors file: which items of a generation get a list, from which vectors, and by which method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_recs._version import __version__
from vision_recs.batch.item_arrays import ItemArrays, masks_and_groups
from vision_recs.batch.neighbors.candidates import CandidateGenerator, CandidateLists
from vision_recs.batch.neighbors.diversity import DiversityReranker
from vision_recs.batch.neighbors.options import NeighborsOptions
from vision_recs.batch.neighbors.retrieve import ExactRetriever, IndexRetriever, QueryVectors, Retriever, TargetVectors
from vision_recs.batch.neighbors.source import Source
from vision_recs.batch.neighbors.with_rules import PreparedIndex, RuledNeighbors
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import IsTrue, Name
from vision_recs.knn_join.matmul import workers
from vision_recs.recommend.eligibility import IN_STOCK
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store import Store
from vision_recs.store.whole_items import WholeItems

_EXACT_UP_TO = 300_000
"""Comparing so many images with as many takes minutes; the time grows with the product of the two numbers."""

_MORE = 3
"""Groups that a search looks at beyond those that are needed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the lists of the *items* of one generation are made; *method* is "exact" or the type of an index.

    `groups[i]` is the group of item i. *in_stock* is that of `CandidateGenerator`. *recall* is that of the index, or 1.
    """

    source: Source
    arrays: ItemArrays
    items: NDArray[np.int64]
    targets: TargetVectors
    groups: NDArray[np.int64]
    in_stock: NDArray[np.bool_] | None
    options: NeighborsOptions
    method: str
    recall: float

    @classmethod
    def of(cls, opened: Store | OpenedStores, options: NeighborsOptions) -> Plan:
        """Read the items of what is open, and measure the recall of its index where the index is to be searched.

        Raises FilterError, PolicyError and StoreError.
        """
        policy, source = options.policy, Source.of(opened)
        store = source.items
        if policy.names_attributes:
            policy.check(store.attribute_types())
        arrays = ItemArrays.of(store)
        images_once = policy.shows_images_once(options.where)
        filters = [
            options.where,
            policy.where,
            options.query_filter,
            _stock_filter(store, arrays) if images_once else None,
        ]
        (by_options, by_policy, is_query, stock), groups = masks_and_groups(store, arrays, filters, policy.one_per)
        in_stock = stock if images_once else None
        is_target = by_options & by_policy
        is_target &= np.array([item not in policy.exclude for item in arrays.ids], dtype=np.bool_)
        targets = _targets(arrays, is_target, groups, in_stock, options)
        items = np.flatnonzero(is_query)
        method, recall = _method(source, options, len(arrays.rows_of(items)) * len(targets.positions))
        return cls(source, arrays, items, targets, groups, in_stock, options, method, recall)

    @property
    def k(self) -> int:
        """How many neighbors an item can have: the k of the options, or all items."""
        return max(1, min(self.options.k, len(self.arrays.ids)))

    def describe(self) -> dict[str, Any]:
        """Return all that decides the lists, and how they are made, as values of JSON."""
        items = self.source.items
        return {
            "visrec": __version__,
            "generation": items.generation,
            "created": self.source.created,
            "encoder": items.encoder.name,
            "space": items.fingerprint,
            **self.options.describe(),
            "method": self.method,
            "recall": self.recall,
        }

    def image_count(self, items: int) -> int:
        """Return how many images the first *items* items have."""
        return len(self.arrays.rows_of(self.items[:items]))

    def lists(self, *, after: int) -> Iterator[CandidateLists]:
        """Yield the lists of all items but the first *after*, some items at a time, in their order."""
        items = self.items[after:]
        if not len(items):
            return
        retriever = self._retriever(items)
        policy = self.options.policy
        if policy.is_by_query:
            yield from self._with_rules(retriever).lists(items)
            return
        generator = CandidateGenerator(
            self.arrays, self.targets, retriever, self.groups, self._candidate_count, policy.min_score, self.in_stock
        )
        reranker = DiversityReranker(self.arrays, retriever.rows_at, self.k, policy.diversity)
        with workers() as pool:
            for lists in generator.generate(items, self._candidate_count + _MORE):
                yield reranker.rerank(lists, pool) if policy.diversity else lists

    @property
    def _candidate_count(self) -> int:
        """How many candidates the items of a list are chosen from."""
        policy = self.options.policy
        return policy.pool(self.k) if policy.diversity else self.k

    def _retriever(self, items: NDArray[np.int64]) -> Retriever:
        if self.method == "exact":
            queries = QueryVectors.of(self.arrays, items)
            return ExactRetriever(self.source.items, queries, self.targets, device=self.options.device)
        where = self.options.policy.matching(self.options.where)
        return IndexRetriever(self.source.items, self.source.open_index(), self.arrays, self.targets, where=where)

    def _with_rules(self, retriever: Retriever) -> RuledNeighbors:
        options = self.options
        where = options.policy.matching(options.where)
        index = PreparedIndex(self.source.open_index(), where=where)
        return RuledNeighbors(
            self.arrays, self.targets, retriever, self.source.items, index, self.k, options.where, options.policy
        )


def _method(source: Source, options: NeighborsOptions, pairs: int) -> tuple[str, float]:
    """Return the method for so many *pairs* of images, and its recall."""
    index_type = source.index_type
    if options.method == "exact" or index_type is None or (options.method == "auto" and pairs <= _EXACT_UP_TO**2):
        return "exact", 1.0
    return index_type, source.recall_at(options.k)


def _stock_filter(store: WholeItems, arrays: ItemArrays) -> Filter | None:
    """Return the filter that items in stock match, or None where that makes no difference to the lists."""
    is_shared = len(np.unique(arrays.positions)) < len(arrays.positions)
    has_stock = AttributeType.BOOLEAN in store.attribute_types().get(IN_STOCK, AttributeType(0))
    return Filter(IsTrue(Name(IN_STOCK))) if is_shared and has_stock else None


def _targets(
    arrays: ItemArrays,
    is_target: NDArray[np.bool_],
    groups: NDArray[np.int64],
    in_stock: NDArray[np.bool_] | None,
    options: NeighborsOptions,
) -> TargetVectors:
    if not options.policy.is_by_query:
        count = options.policy.pool(options.k)
        return TargetVectors.of(arrays, is_target, groups, count=count, in_stock=in_stock)
    # rules may exclude any item, so none stands for another, neither of its group nor with the same image
    return TargetVectors.of(arrays, is_target, np.arange(len(groups)), count=len(arrays.positions))

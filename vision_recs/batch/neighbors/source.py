"""What a neighbors file is made of: the generation of one store, or of several as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vision_recs.indexes import open_published
from vision_recs.indexes.exact import measure_recall
from vision_recs.recommend.joined import JoinedStores
from vision_recs.recommend.partitions import PartitionedIndex
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store import Store
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import VectorIndex


@dataclass(frozen=True, slots=True)
class Source:
    """All *items* with their vectors, and how their index is opened.

    *created* is when they were published. *index_type* is None where there is no index. *recall_at* measures the recall
    of the index for lists of k.
    """

    items: WholeItems
    created: str
    index_type: str | None
    open_index: Callable[[], VectorIndex]
    recall_at: Callable[[int], float]

    @classmethod
    def of(cls, opened: Store | OpenedStores) -> Source:
        """Return the source of what is open."""
        return _of_store(opened) if isinstance(opened, Store) else _of_stores(opened)


def _of_store(store: Store) -> Source:
    directory = store.layout.index_of(store.manifest)
    has_index = directory is not None and directory.is_dir()
    return Source(
        store,
        store.manifest.created,
        store.manifest.index_type if has_index else None,
        lambda: open_published(store),
        lambda k: measure_recall(open_published(store), store, k=k),
    )


def _of_stores(opened: OpenedStores) -> Source:
    """Return the source of several stores; where one has no index, all are compared exactly. Recall is the lowest."""
    parts = [_of_store(store) for store in opened.stores]
    items = JoinedStores(opened.stores)
    types = [part.index_type for part in parts]
    return Source(
        items,
        max(part.created for part in parts),
        None if None in types else ", ".join(dict.fromkeys(map(str, types))),
        lambda: PartitionedIndex(items, [part.open_index() for part in parts]),
        lambda k: min(part.recall_at(k) for part in parts),
    )

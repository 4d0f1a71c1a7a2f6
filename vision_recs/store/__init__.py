"""The store: immutable shards and generations, one writer, readers that never lock.

layout          where the files lie, and the manifest of a generation
store           reading a generation
items, vectors, projections   the parts of a generation as they are read; items lie in layers: a base and deltas
stored_items    items as the next run needs them; recent_items as a query does
added           the attributes that a store adds: the colors that images show, and where the encoder looked
attributes/     the attributes by column, and the part of a generation that a filter selects
partitions      several stores that have a catalog together: which item is in which, and the list of them
item_vectors    items with the vectors of all their images, in memory; `whole_items` is what they are read from
writer          publishing the next generation; staging collects its items, shards writes its vectors
difference      what a finished items file changes, which is all that a delta holds
shard_use       which shards a generation uses, and copying what is in use out of those that are better removed
lock            the folder while one process writes to it
atomic_files    files that are there whole or not at all
pending         which vectors an index lacks, and which it has too much
bucket/         stores in buckets: a copy on this machine is pulled, and pushed
ledgers         what workers of a cluster have embedded, until it is published
gc, verification   removing what is not used any more; checking every byte
repair          mending what is derived from items files
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.store.attributes.bitmaps import FilteredStore
    from vision_recs.store.gc import Reclaimed, garbage_collect
    from vision_recs.store.item_vectors import attributes_where, load_encoder_vectors, load_item_vectors
    from vision_recs.store.items import StoredRow
    from vision_recs.store.layout import (
        CatalogEntry,
        IndexPending,
        Layout,
        Manifest,
        canary_text,
        canary_vector,
        encoder_spec,
        space_of,
        store_size,
    )
    from vision_recs.store.projections import Projection
    from vision_recs.store.shards import Embedded
    from vision_recs.store.staging import Counts, Staged, Staging
    from vision_recs.store.store import Store
    from vision_recs.store.verification import verify
    from vision_recs.store.writer import Draft, Writer, open_writer

_HOMES = {
    "CatalogEntry": "layout",
    "Counts": "staging",
    "Draft": "writer",
    "Embedded": "shards",
    "FilteredStore": "attributes.bitmaps",
    "IndexPending": "layout",
    "Layout": "layout",
    "Manifest": "layout",
    "Projection": "projections",
    "Reclaimed": "gc",
    "Staged": "staging",
    "Staging": "staging",
    "Store": "store",
    "StoredRow": "items",
    "Writer": "writer",
    "attributes_where": "item_vectors",
    "canary_text": "layout",
    "canary_vector": "layout",
    "encoder_spec": "layout",
    "garbage_collect": "gc",
    "load_encoder_vectors": "item_vectors",
    "load_item_vectors": "item_vectors",
    "open_writer": "writer",
    "space_of": "layout",
    "store_size": "layout",
    "verify": "verification",
}

__all__ = [
    "CatalogEntry",
    "Counts",
    "Draft",
    "Embedded",
    "FilteredStore",
    "IndexPending",
    "Layout",
    "Manifest",
    "Projection",
    "Reclaimed",
    "Staged",
    "Staging",
    "Store",
    "StoredRow",
    "Writer",
    "attributes_where",
    "canary_text",
    "canary_vector",
    "encoder_spec",
    "garbage_collect",
    "load_encoder_vectors",
    "load_item_vectors",
    "open_writer",
    "space_of",
    "store_size",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)

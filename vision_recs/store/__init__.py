"""The store: immutable shards and generations, one writer, readers that never lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.store.filtered import Selection
    from vision_recs.store.gc import Reclaimed, collect
    from vision_recs.store.item_vectors import attributes_where, gather
    from vision_recs.store.items import StoredRow
    from vision_recs.store.layout import Layout, size
    from vision_recs.store.manifest import CatalogEntry, Manifest, canary_text, canary_vector
    from vision_recs.store.projections import Projection
    from vision_recs.store.shards import Embedded
    from vision_recs.store.staging import Counts, Staged, Staging
    from vision_recs.store.store import Store
    from vision_recs.store.verification import verify
    from vision_recs.store.writer import Draft, Writer, open_writer

_HOMES = {
    "CatalogEntry": "manifest",
    "Counts": "staging",
    "Draft": "writer",
    "Embedded": "shards",
    "Layout": "layout",
    "Manifest": "manifest",
    "Projection": "projections",
    "Reclaimed": "gc",
    "Selection": "filtered",
    "Staged": "staging",
    "Staging": "staging",
    "Store": "store",
    "StoredRow": "items",
    "Writer": "writer",
    "attributes_where": "item_vectors",
    "collect": "gc",
    "gather": "item_vectors",
    "open_writer": "writer",
    "canary_text": "manifest",
    "canary_vector": "manifest",
    "size": "layout",
    "verify": "verification",
}

__all__ = [
    "CatalogEntry",
    "Counts",
    "Draft",
    "Embedded",
    "Layout",
    "Manifest",
    "Projection",
    "Reclaimed",
    "Selection",
    "Staged",
    "Staging",
    "Store",
    "StoredRow",
    "Writer",
    "attributes_where",
    "collect",
    "gather",
    "open_writer",
    "canary_text",
    "canary_vector",
    "size",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
